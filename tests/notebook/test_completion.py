"""Tab completion on the lines of magics, as a terminal and as Jupyter ask for it."""

from __future__ import annotations

import pytest
from IPython.core.completer import provisionalcompleter, rectify_completions

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
