"""`%%pgoutcome`: what a cell's statements did, one row each."""

from __future__ import annotations

import itertools
from typing import Any

import psycopg
import pytest
from IPython.core.error import UsageError

from pgmagic.watch.outcome_frame import OutcomeFrame

DECLARE = """%%pgtrigger
class Post(models.Model):
    title = models.CharField(max_length=200, unique=True)
    is_active = models.BooleanField(default=True)
    status = models.CharField(max_length=20, default="draft")
    locked = models.BooleanField(default=False)
    class Meta:
        triggers = [
            pgtrigger.Protect(name="keep", operation=pgtrigger.Delete, condition=pgtrigger.Q(old__locked=True)),
            pgtrigger.SoftDelete(name="soft", field="is_active", value=False),
            pgtrigger.ReadOnly(name="fixed", fields=["locked"]),
            pgtrigger.FSM(
                name="cycle", field="status", transitions=[("draft", "published"), ("published", "inactive")]
            ),
            pgtrigger.Trigger(
                name="trim", when=pgtrigger.Before, operation=pgtrigger.Insert | pgtrigger.Update,
                func="IF NEW.title = '' THEN RETURN NULL; END IF; NEW.title = trim(NEW.title); RETURN NEW;",
            ),
        ]

class Comment(models.Model):
    post = models.ForeignKey(Post, on_delete=models.DO_NOTHING)
    text = models.TextField()

class Account(models.Model):
    balance = models.IntegerField()
    class Meta:
        triggers = [
            pgtrigger.Trigger(
                name="sum", when=pgtrigger.After, operation=pgtrigger.Update, timing=pgtrigger.Deferred,
                func='''
                    IF (SELECT sum(balance) <> 0 FROM notebook_account) THEN RAISE EXCEPTION 'out of balance'; END IF;
                    RETURN NULL;''',
            )
        ]
"""
DATA = """
from django.db import connection, transaction
from django.db.utils import InternalError, ProgrammingError, IntegrityError
draft = Post.objects.create(title="draft")
safe = Post.objects.create(title="safe", locked=True)
left, right = Account.objects.create(balance=-5), Account.objects.create(balance=5)
"""

FSM_REASON = (
    'pgtrigger: Invalid transition of field "status" from "draft" to "gone" on table notebook_post '
    '(From "draft" it may go to "published".)'
)
FSM_ROW = '; row id 1: status: "draft" → "gone"'


@pytest.fixture
def cells(shell: Any) -> Any:
    shell.run(DECLARE)
    shell.run(DATA)
    return shell


@pytest.fixture
def other(shell: Any) -> Any:
    from django.db import connection

    parameters = connection.get_connection_params()
    with psycopg.connect(**{**parameters, "cursor_factory": None, "context": None}, autocommit=True) as second:
        yield second


def statuses(shell: Any) -> list[str]:
    return list(shell.run("list(Post.objects.order_by('pk').values_list('status', flat=True))"))


def values_of(frame: OutcomeFrame, *columns: str) -> list[tuple[Any, ...]]:
    listed = frame[list(columns)].astype(object).where(frame[list(columns)].notna(), None)
    return list(listed.itertuples(index=False, name=None))


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        # (verdict, rows, table, trigger, reason)
        ("Post.objects.create(title='new')", ("applied", 1, "notebook_post", None, None)),
        (
            "Post.objects.create(title=' new ')",
            ("rewritten", 1, "notebook_post", "notebook.Post:trim", 'title: " new " → "new"'),
        ),
        (
            "Post.objects.bulk_create([Post(title=f' {n}') for n in range(3)])",
            ("rewritten", 3, "notebook_post", "notebook.Post:trim", 'title: " 0" → "0" (and 2 more rows)'),
        ),
        (
            "Post.objects.create(title='draft')",
            (
                "rejected", 0, "notebook_post", None,
                'duplicate key value violates unique constraint "notebook_post_title_key"',
            ),
        ),
        ("draft.status = 'published'; draft.save()", None),
        ("Post.objects.update(status='published')", ("applied", 2, "notebook_post", None, None)),
        ("Post.objects.filter(pk=0).update(status='x')", ("no rows", 0, "notebook_post", None, None)),
        (
            "Post.objects.filter(title='draft').update(status='gone')",
            ("rejected", 0, "notebook_post", "notebook.Post:cycle", FSM_REASON + FSM_ROW),
        ),
        (
            "Post.objects.filter(title='draft').update(title='')",
            ("suppressed", 0, "notebook_post", "notebook.Post:trim", "update swallowed"),
        ),
        (
            "Post.objects.update(locked=True)",
            (
                "rejected", 0, "notebook_post", "notebook.Post:fixed",
                "pgtrigger: Cannot update rows from notebook_post table (These fields are read-only: locked.); "
                "row id 1: locked: false → true",
            ),
        ),
        (
            "safe.delete()",
            (
                "rejected", 0, "notebook_post", "notebook.Post:keep",
                "pgtrigger: Cannot delete rows from notebook_post table; row id 2",
            ),
        ),
        (
            "draft.delete()",
            (
                "rewritten", 1, "notebook_post", "notebook.Post:soft",
                "delete → update of is_active: true → false",
            ),
        ),
        ("Post.objects.count()", ("read", 1, None, None, None)),
        ("list(Post.objects.all())", ("read", 2, "notebook_post", None, None)),
        ("Post.objects.all()", (None, None, None, None, None)),
        ("x = 1", (None, None, None, None, None)),
        (
            "with connection.cursor() as cursor: cursor.execute(\"DELETE FROM notebook_post WHERE title = 'safe'\")",
            (
                "rejected", 0, "notebook_post", "notebook.Post:keep",
                "pgtrigger: Cannot delete rows from notebook_post table; row id 2",
            ),
        ),
        (
            "with pgtrigger.ignore('notebook.Post:cycle'): Post.objects.filter(title='draft').update(status='gone')",
            ("applied", 1, "notebook_post", None, None),
        ),
        (
            "Comment.objects.create(post_id=99999, text='lost')",
            ("applied", 1, "notebook_comment", None, None),
        ),
    ],
)  # fmt: skip
def test_verdicts(cells: Any, statement: str, expected: tuple[Any, ...] | None) -> None:
    if expected is None:
        frame = cells.run(f"%%pgoutcome\n{statement}")
        assert values_of(frame, "statement", "verdict") == [
            ("draft.status = 'published'", None),
            ("draft.save()", "applied"),
        ]
        return
    # The foreign key is checked at COMMIT, so nothing of that case is to be kept.
    frame = cells.run(
        f"%%pgoutcome\n{statement}"
        if "99999" not in statement
        else f"%%pgoutcome\n{statement}\nComment.objects.all().delete()"
    )
    assert values_of(frame, "verdict", "rows", "table", "trigger", "reason")[0] == expected
    assert frame["statement"][0] == statement


def test_ignore_survives_what_is_rolled_back(cells: Any) -> None:
    """A rollback takes back the setting of the session, so the state of the task has to be sent again."""
    gone = "Post.objects.filter(title='draft').update(status='gone')"
    frame = cells.run(
        "%%pgoutcome --rollback\n"
        "block = pgtrigger.ignore('notebook.Post:cycle')\n"
        "with transaction.atomic():\n"
        "    Post.objects.count()\n"
        "    block.__enter__()\n"
        "    transaction.set_rollback(True)\n"
        f"{gone}\n"
    )
    assert frame["verdict"].iloc[2] == "applied"
    # The whole cell was rolled back, too.
    cells.run(f"{gone}\nblock.__exit__(None, None, None)")
    assert statuses(cells)[0] == "gone"


def test_frame_is_the_value_and_keeps_its_contract(cells: Any) -> None:
    frame = cells.run("%%pgoutcome -o kept\nprint('hello')\nPost.objects.count()\n'not shown'")
    assert type(frame) is OutcomeFrame
    assert cells["kept"] is frame
    assert dict(frame.dtypes.astype(str)) == dict(OutcomeFrame.columns_contract)
    assert list(frame["step"]) == [1, 2, 3]
    assert frame["elapsed_ms"].notna().tolist() == [False, True, False]


def test_output_of_the_cell_appears_and_values_do_not(cells: Any, capsys: pytest.CaptureFixture[str]) -> None:
    cells.run("%%pgoutcome -o out\nprint('printed')\n'a value'")
    shown = capsys.readouterr().out
    assert "printed" in shown
    assert "\n'a value'\n" not in shown


def test_statements_are_shown_as_written(cells: Any) -> None:
    frame = cells.run(
        "%%pgoutcome\n# a comment\n@transaction.atomic\ndef work():\n    return Post.objects.count()\n\n"
        "for n in range(2):\n    work()\na = 1; b = 2\n"
    )
    assert list(frame["statement"]) == [
        "@transaction.atomic\ndef work():\n    return Post.objects.count()",
        "for n in range(2):\n    work()",
        "a = 1",
        "b = 2",
    ]


def test_rejection_does_not_spoil_the_rest(cells: Any) -> None:
    frame = cells.run(
        "%%pgoutcome\nPost.objects.update(status='published')\nPost.objects.update(status='draft')\n"
        "Post.objects.update(status='inactive')"
    )
    assert list(frame["verdict"]) == ["applied", "rejected", "applied"]
    assert statuses(cells) == ["inactive", "inactive"]


def test_loop_with_its_own_try(cells: Any) -> None:
    """Both classes that user code catches, by either of its names."""
    frame = cells.run(
        "%%pgoutcome\n"
        "for wanted, error in [('gone', InternalError), ('published', InternalError), ('draft', ProgrammingError)]:\n"
        "    try:\n"
        "        draft.status = wanted\n"
        "        draft.save()\n"
        "    except error:\n"
        "        print('no', wanted)\n"
    )
    [(verdict, rows, trigger, reason)] = values_of(frame, "verdict", "rows", "trigger", "reason")
    assert (verdict, rows, trigger) == ("rejected", 1, "notebook.Post:cycle")
    assert reason == f"2 of 3 statements rejected: {FSM_REASON} (and 1 other message){FSM_ROW}"
    assert statuses(cells)[0] == "published"


def test_rejected_commit_takes_every_row_back(cells: Any) -> None:
    frame = cells.run(
        "%%pgoutcome\nAccount.objects.filter(pk=left.pk).update(balance=-3)\nPost.objects.count()\n"
        "Post.objects.update(status='gone')\nx = 1"
    )
    assert values_of(frame, "verdict", "trigger", "reason")[0] == (
        "rolled back",
        "notebook.Account:sum",
        "out of balance",
    )
    assert list(frame["verdict"].fillna("-")) == ["rolled back", "read", "rejected", "-"]
    assert frame.notes == [
        "COMMIT was rejected by notebook.Account:sum, so nothing of this cell was kept: out of balance"
    ]
    assert cells.run("Account.objects.get(pk=left.pk).balance") == -5


def test_deferred_trigger_that_is_content(cells: Any) -> None:
    frame = cells.run(
        "%%pgoutcome\nfor a, b in ((left, -3), (right, 3)):\n    Account.objects.filter(pk=a.pk).update(balance=b)"
    )
    assert values_of(frame, "verdict", "rows") == [("applied", 2)]
    assert cells.run("Account.objects.get(pk=left.pk).balance") == -3


def test_rollback_keeps_nothing_but_asks_what_commit_would_say(cells: Any) -> None:
    frame = cells.run("%%pgoutcome --rollback\nPost.objects.update(status='published')")
    assert list(frame["verdict"]) == ["applied"]
    assert frame.notes == ["--rollback: nothing of this cell was kept."]
    assert statuses(cells) == ["draft", "draft"]
    frame = cells.run("%%pgoutcome --rollback\nAccount.objects.update(balance=1)")
    assert list(frame["verdict"]) == ["rolled back"]


def test_error_of_python_rolls_the_cell_back_and_shows_the_cell(cells: Any, capsys: pytest.CaptureFixture[str]) -> None:
    error = cells.error("%%pgoutcome\nPost.objects.update(status='published')\n1 / 0")
    assert isinstance(error, ZeroDivisionError)
    shown = capsys.readouterr().out
    assert "1 / 0" in shown.replace("\x1b[39m", "").replace("\x1b[32m", "") or "ZeroDivisionError" in shown
    assert "db/observe" not in shown
    assert statuses(cells) == ["draft", "draft"]
    assert list(cells.run("%%pgoutcome\nPost.objects.update(status='published')")["verdict"]) == ["applied"]


@pytest.mark.filterwarnings("ignore:To exit")
@pytest.mark.parametrize("raised", ["KeyboardInterrupt", "SystemExit"])
def test_interrupt_rolls_the_cell_back(cells: Any, other: Any, raised: str) -> None:
    cells.shell.run_cell(f"%%pgoutcome\nPost.objects.update(status='published')\nraise {raised}")
    assert statuses(cells) == ["draft", "draft"]
    probes = "SELECT count(*) FROM pg_trigger WHERE strpos(tgname, chr(1)) > 0"
    assert other.execute(probes).fetchone() == (0,)


def test_messages_are_shown_under_their_step(cells: Any) -> None:
    frame = cells.run(
        "%%pgoutcome\nPost.objects.count()\nwith connection.cursor() as cursor:\n"
        "    cursor.execute(\"DO $$BEGIN RAISE NOTICE 'checked: %', 7; END$$\")"
    )
    assert frame.attached == {1: ["NOTICE: checked: 7"]}


def test_hooks_run_once_after_the_commit(cells: Any) -> None:
    cells.run(
        "%%pgoutcome\nran = []\nwith transaction.atomic():\n    transaction.on_commit(lambda: ran.append('in'))\n"
        "transaction.on_commit(lambda: ran.append('out'))\nassert ran == []"
    )
    assert cells["ran"] == ["in", "out"]


def test_generator_left_open_takes_nothing_along(cells: Any) -> None:
    frame = cells.run(
        "%%pgoutcome\nrows = Post.objects.iterator(chunk_size=1)\nnext(rows)\nPost.objects.update(status='published')"
    )
    assert list(frame["verdict"].fillna("-")) == ["-", "read", "applied"]
    assert statuses(cells) == ["published", "published"]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("Post.objects.update(", "SyntaxError in line 1 of the cell"),
        ("Post.objects.update(status='published')\nreturn 1", "SyntaxError in line 2 of the cell"),
        ("Post.objects.update(status='published')\nconnection.close()", "closed the database connection"),
        (
            "Post.objects.update(status='published')\nconnection.cursor().execute('COMMIT')",
            "may not say BEGIN, COMMIT",
        ),
        (
            "Post.objects.update(status='published')\nget_ipython().run_cell_magic('pgoutcome', '', 'x = 1')",
            "A transaction is already open",
        ),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_kept(cells: Any, cell: str, message: str) -> None:
    error = cells.error(f"%%pgoutcome\n{cell}")
    assert isinstance(error, UsageError)
    assert message in str(error)
    assert "\n" not in str(error)
    assert statuses(cells) == ["draft", "draft"]
    assert list(cells.run("%%pgoutcome\nPost.objects.update(status='published')")["verdict"]) == ["applied"]


def test_error_after_a_swallowed_row_names_the_trigger(cells: Any) -> None:
    """Code fails on the row that is not there; the trigger is named beside the error."""
    error = cells.error(
        "%%pgoutcome\ndef work():\n    Post.objects.bulk_create([Post(pk=8, title=''), Post(pk=9, title='')])\n"
        "    [][0]\nwork()"
    )
    assert "notebook.Post:trim swallowed 2 row(s) of the INSERT on notebook_post" in error.__notes__[0]


def test_everything_about_the_connection_is_as_before(cells: Any) -> None:
    from django.db import connections

    def state() -> tuple[Any, ...]:
        connection: Any = connections["default"]
        own = {
            name
            for name in vars(connection)
            if name.startswith(("_commit", "_rollback", "_set", "make", "on_", "run_and"))
        }
        return (
            own,
            list(connection.execute_wrappers),
            connection.connection._notice_handlers,
            connection.autocommit,
        )

    before = state()
    for cell in (
        "Post.objects.count()",
        "1 / 0",
        "Post.objects.update(status='gone')",
        "raise KeyboardInterrupt",
    ):
        cells.shell.run_cell(f"%%pgoutcome\n{cell}")
        assert state() == before


def test_every_table_with_history_or_rules_can_be_outcome_of_one_cell(cells: Any) -> None:
    """Many savepoints, one transaction: the steps of a long cell do not disturb each other."""
    statements = itertools.chain.from_iterable(
        (f"Post.objects.create(title=' {n}')", f"Post.objects.filter(title='{n}').update(status='gone')")
        for n in range(20)
    )
    frame = cells.run("%%pgoutcome\n" + "\n".join(statements))
    assert list(frame["verdict"]) == ["rewritten", "rejected"] * 20
    assert len(statuses(cells)) == 22


def test_rows_of_other_tables_are_named_beside_a_rewritten_one(shell):
    shell.run("""%%pgtrigger
class Parent(models.Model):
    active = models.BooleanField(default=True)
    class Meta:
        triggers = [pgtrigger.SoftDelete(name="soft", field="active")]
class Child(models.Model):
    parent = models.ForeignKey(Parent, models.CASCADE)
""")
    shell.run("parent = Parent.objects.create(); Child.objects.bulk_create([Child(parent=parent) for _ in range(2)])")
    frame = shell.run("%%pgoutcome\nparent.delete()")
    [row] = frame.itertuples()
    assert (row.verdict, row.rows) == ("rewritten", 3)
    assert row.reason == "delete → update of active: true → false"
    assert frame.attached == {0: ["in notebook_parent: 1 row updated", "in notebook_child: 2 rows deleted"]}
