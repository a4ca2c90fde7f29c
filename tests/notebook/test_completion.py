"""Tab completion on the lines of magics, as a terminal and as Jupyter ask for it."""

from __future__ import annotations

import re

import pytest
from IPython.core.completer import provisionalcompleter, rectify_completions

from pgmagic.notebook.name_completion import names_for

CELL = """%%pgtrigger
@pghistory.track(pghistory.Snapshot("snapshot"))
class Post(models.Model):
    title = models.TextField()
    class Meta:
        triggers = [pgtrigger.Protect(name="keep it", operation=pgtrigger.Delete),
                    pgtrigger.Protect(name="stay", operation=pgtrigger.Delete)]
class Plain(models.Model):
    title = models.TextField()
"""

COMMANDS = ["ls", "sql", "diff", "install", "uninstall", "enable", "disable", "prune"]

CASES = [
    ("%pgtrigger dis", ["disable"]),
    ("%pgtrigger ls --", ["--all", "--database", "--output"]),
    ("%pgtrigger ls --database x --", ["--all", "--output"]),
    ("%pgtrigger sql notebook.Post:snapshot_", ["notebook.Post:snapshot_insert", "notebook.Post:snapshot_update"]),
    ("%pgtrigger diff --database ", ["default"]),
    ("%pgtrigger sql notebook.Post:st", ["notebook.Post:stay"]),
    ("%pgtrigger enable notebook.Post:stay notebook.Post:sta", []),
    ("found = %pgtrigger di", ["diff", "disable"]),
    ("a = 1\n%pgtrigger di", ["diff", "disable"]),
    ("\n%%pgtrigger --dr", ["--dry-run"]),
    ("%%pgtrigger --app no", ["notebook"]),
    ("%%pgtrigger --rename Post.t", ["Post.title="]),
    ("%%pgoutcome --r", ["--rollback"]),
    ("%pghistory ", ["Post", "one"]),
    ("%pghistory Post --l", ["--label", "--limit"]),
    ("%pghistory --diff P", ["Post"]),
]  # fmt: skip

NOTHING = [
    "%pgtrigger sql notebook.Post:nope",
    "%pgtrigger nope",
    "%pgoutcome --",
    "a = 1\n%%pgtrigger --",
    "%%pgtrigger\n%%pgtrigger --",
    "%%pgtrigger --app x\n--",
    "print(--",
    "%timeit --",
    "%pgreset --",
]


@pytest.fixture
def loaded(shell):
    shell.run(CELL)
    shell.run("one, other = Post.objects.create(title='a'), Plain.objects.create(title='a')")
    return shell.shell


@pytest.fixture(params=[False, True], ids=["without Jedi", "with Jedi"])
def completed(request, loaded):
    """What a text can become, as Jupyter shows it."""
    loaded.Completer.use_jedi = request.param

    def complete(text):
        with provisionalcompleter():
            found = list(rectify_completions(text, loaded.Completer.completions(text, len(text))))
        return [text[: completion.start] + completion.text for completion in found]

    return complete


def test_sub_commands_come_in_the_order_of_the_manual(completed):
    found = [text.removeprefix("%pgtrigger ") for text in completed("%pgtrigger ")]
    assert [word for word in found if word in COMMANDS] == COMMANDS
    assert len(found) == len(COMMANDS) + ("fsm" in found)


@pytest.mark.parametrize(("text", "words"), CASES, ids=[text for text, _ in CASES])
def test_line_is_completed(completed, text, words):
    start = text[: len(text) - len(text.rpartition(" ")[2])]
    assert completed(text) == [start + word for word in words] or (not words and not set(completed(text)) & {text})


@pytest.mark.parametrize("text", NOTHING)
def test_other_lines_get_no_suggestions_of_pgmagic(completed, text):
    assert [found for found in completed(text) if found.startswith(text) and "notebook" in found[len(text) :]] == []
    assert not [found for found in completed(text) if found.endswith(("--output", "--app", "--dry-run"))]


@pytest.mark.parametrize(("text", "words"), [case for case in CASES if "\n" not in case[0]], ids=str)
def test_terminal_completes_as_jupyter_does(loaded, text, words):
    assert [found for found in loaded.complete(None, text, len(text))[1] if found in words] == words


def test_unloaded_extension_completes_nothing(loaded):
    from pgmagic.notebook import extension

    extension.unload(loaded)
    assert "disable" not in loaded.complete(None, "%pgtrigger dis", 14)[1]
    assert loaded.Completer.custom_matchers == []


ORDER = """%%pgtrigger
@pghistory.track()
class Order(models.Model):
    title = models.TextField(default="")
    total = models.IntegerField(default=0)
    state = models.CharField(max_length=9, default="open")
    kind = models.CharField(max_length=9, default="a", choices=[("a", "A")])
    class Meta:
        triggers = [pgtrigger.FSM(name="flow", field="state", transitions=[("open", "paid")])]
"""

DECLARING = """%%pgtrigger
class Invoice(models.Model):
    number = models.IntegerField()
    note: str = models.TextField()
    class Meta:
        triggers = [
            pgtrigger.Protect(name="keep", operation=pgtrigger.Delete,
                condition=pgtrigger.Q("""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("%pgtrigger fsm Or", ["Order.kind", "Order.state"]),
        ("pgtrigger.Q(old__st", ["old__state"]),
        ("pgtrigger.Q(old__t", ["old__title", "old__total"]),
        ("pgtrigger.Q(old__title='a', new__to", ["new__total"]),
        ("pgtrigger.Q(old__title=pgtrigger.F('new__ti", ["new__title"]),
        ("pgtrigger.Q(a=len('b'), new__k", ["new__kind"]),
        (DECLARING + "old__n", ["old__number", "old__note"]),
        (DECLARING + "old__st", []),
        ("Order.objects.filter(ti", ["title="]),
        ("Order.objects.filter(title='a', st", ["state="]),
        ("Order.objects.exclude(id=3).order_by('id').filter(tot", ["total="]),
        ("Order.objects.filter(", ["id=", "title=", "total=", "state=", "kind="]),
        ("len(Order.objects.get(k", ["kind="]),
        ("%%pgsql\nSELECT * FROM notebook_o", ["notebook_order", "notebook_orderevent"]),
        ("%%pgsql\nSELECT 1;\nUPDATE notebook_ordere", ["notebook_orderevent"]),
    ],
)
@pytest.mark.parametrize("jedi", [False, True])
def test_names_of_fields_and_tables_are_completed(shell, text, words, jedi):
    shell.run(ORDER)
    shell.shell.Completer.use_jedi = jedi
    with provisionalcompleter():
        found = list(rectify_completions(text, shell.shell.Completer.completions(text, len(text))))
    start = re.search(r"[\w.]*$", text)[0] if "fsm" in text else re.search(r"\w*$", text)[0]
    made = [text[: each.start] + each.text for each in found]
    expected = [text.removesuffix(start) + word for word in words]
    assert [each for each in made if each in expected] == expected
    assert [each for each in made if each.endswith("=") and "Order." in each] == (
        expected if "Order.ob" in text else []
    )
    if not words:
        assert not [each for each in made if each.endswith("old__state")]


@pytest.mark.parametrize("text", ["filter(ti", "nothing.objects.filter(ti", "SELECT * FROM notebook_o", "x(old__ti"])
def test_other_code_gets_no_names_of_fields(shell, text):
    shell.run(ORDER)
    assert names_for(text, shell.shell.user_ns) == ("", [])


def test_tables_are_completed_where_a_table_may_stand(shell):
    shell.run(ORDER)
    assert "notebook_order" in names_for("%%pgsql\nSELECT * FROM ", shell.shell.user_ns)[1]
    assert names_for("%%pgsql\nSELECT ", shell.shell.user_ns) == ("", [])
    assert names_for("%%pgsql --data", shell.shell.user_ns) == ("", [])
