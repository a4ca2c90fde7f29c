"""`%%pgwhatif`: what would a cell have done under other triggers?"""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from IPython.core.error import UsageError

from pgmagic.watch.whatif_frame import WhatIfFrame
from tests.watch.test_trace import cells, other  # noqa: F401 - fixtures

COLUMNS = ["step", "table", "row", "field", "as_is", "what_if"]


def values_of(frame: WhatIfFrame) -> list[tuple[Any, ...]]:
    return [
        tuple("nothing" if value is pd.NA else value for value in row)
        for row in frame[["step", "table", "row", "field", "as_is", "what_if"]].itertuples(index=False, name=None)
    ]


def state(shell: Any) -> Any:
    return shell.run(
        "list(Post.objects.order_by('pk').values_list()), list(Account.objects.order_by('pk').values_list())"
    )


REJECTED = "rejected by notebook.Post:keep: pgtrigger: Cannot delete rows from notebook_post table; row id 2"


def test_verdicts_and_rows_that_differ(cells, other):  # noqa: F811
    before = state(cells)
    frame = cells.run(
        "%%pgwhatif --ignore notebook.Post:keep\n"
        "draft.title = ' x '; draft.save()\n"
        "safe.delete()\n"
        "print('once')\n"
        "added = Post.objects.create(title='added')\n"
        "Comment.objects.create(post=added, text='c')"
    )
    assert isinstance(frame, WhatIfFrame)
    verdict, row = values_of(frame)
    # Without the protection, the soft delete has its say; new rows and their keys are the same in both runs.
    assert verdict[:4] == (3, "notebook_post", None, "verdict")
    assert verdict[4] == REJECTED
    assert verdict[5].startswith("rewritten 1 row by notebook.Post:soft")
    assert row == (3, "notebook_post", 2, "is_active", True, False)
    assert frame["statement"].tolist() == ["safe.delete()"] * 2
    assert frame.caption == "What if without notebook.Post:keep"
    assert state(cells) == before
    assert (cells["draft"].title, cells["safe"].pk) == ("draft", 2)
    assert "added" not in cells.shell.user_ns
    leftovers = "SELECT count(*) FROM pg_proc WHERE proname ~ '^pgmagic_(captured|asked|seen)'"
    assert other.execute(leftovers).fetchone() == (0,)


def test_rows_that_are_there_in_one_run_only(cells):  # noqa: F811
    frame = cells.run(
        "%%pgwhatif --ignore notebook.Post:soft --ignore notebook.Post:keep\nPost.objects.all().delete()\n"
        "Post.objects.create(title='z')"
    )
    rows = [row for row in values_of(frame) if row[3] != "verdict"]
    assert [(row[0], row[2], row[4]["title"], row[5]) for row in rows] == [
        (1, 1, "draft", "nothing"),
        (1, 2, "safe", "nothing"),
    ]


def test_swallowed_insert_is_there_without_the_trigger(cells):  # noqa: F811
    frame = cells.run(
        "%%pgwhatif --ignore notebook.Post:trim -o kept\n"
        "with connection.cursor() as cursor:\n"
        '    cursor.execute("INSERT INTO notebook_post (title, is_active, status, locked) "\n'
        "                   \"VALUES ('', true, 'draft', false)\")"
    )
    assert cells["kept"] is frame
    verdict, row = values_of(frame)
    assert verdict[4:] == ("suppressed 0 rows by notebook.Post:trim: insert swallowed", "applied 1 row")
    assert row[:5] == (1, "notebook_post", "new 1", "nothing", "nothing")
    assert row[5]["title"] == ""


def test_another_declaration(cells):  # noqa: F811
    before = state(cells)
    cells.run(
        "cycle = pgtrigger.FSM(name='cycle', field='status', transitions=[('draft', 'gone')])\n"
        "other = pgtrigger.Protect(name='any', operation=pgtrigger.Update)"
    )
    cell = (
        "Post.objects.filter(pk=draft.pk).update(status='gone')\nPost.objects.filter(pk=2).update(status='published')"
    )
    frame = cells.run(f"%%pgwhatif --with cycle\n{cell}")
    assert frame.caption == "What if with another notebook.Post:cycle"
    assert [row[:4] for row in values_of(frame)] == [
        (1, "notebook_post", None, "verdict"),
        (1, "notebook_post", 1, "status"),
        (2, "notebook_post", None, "verdict"),
        (2, "notebook_post", 2, "status"),
    ]
    assert [row[4:] for row in values_of(frame)][1::2] == [("draft", "gone"), ("published", "draft")]
    frame = cells.run(f"%%pgwhatif --with notebook.Post:cycle=other\n{cell}")
    assert {row[5].partition(": ")[0] for row in values_of(frame) if row[3] == "verdict"} == {
        "rejected by notebook.Post:any"
    }
    assert state(cells) == before
    assert "notebook.Post:any" not in str(cells.run("%pgtrigger ls"))


def test_refused_commit_and_times_of_the_run(cells):  # noqa: F811
    frame = cells.run("%%pgwhatif --ignore notebook.Account:sum\nleft.balance = -9; left.save()")
    verdict, row = values_of(frame)
    assert verdict[4].startswith("rolled back")
    assert row == (2, "notebook_account", 1, "balance", -5, -9)
    assert any(note.startswith("As it is: COMMIT was rejected") for note in frame.notes)
    cells.run("%%pgsql\nCREATE TABLE clock (id serial PRIMARY KEY, at timestamptz DEFAULT clock_timestamp(), day date)")
    frame = cells.run(
        "%%pgwhatif --ignore notebook.Post:keep\nsql('INSERT INTO clock DEFAULT VALUES')\nPost.objects.count()"
    )
    assert len(frame) == 0
    assert frame.notes[0] == "Nothing differs."


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("", "Say what is to be different: --ignore URI, or --with NAME"),
        ("--ignore notebook.Post:no", 'URI "notebook.Post:no" not found'),
        (
            "--with draft",
            "--with takes the name of a variable that holds a trigger, but draft holds <Post: Post object (1)>.",
        ),
        ("--with nothing", "but nothing holds None"),
    ],
)
def test_mistakes(cells, line, sentence):  # noqa: F811
    error = cells.error(f"%%pgwhatif {line}\npass")
    assert isinstance(error, UsageError)
    assert sentence in str(error)


def test_error_of_the_cell_keeps_nothing(cells):  # noqa: F811
    before = state(cells)
    error = cells.error("%%pgwhatif --ignore notebook.Post:keep\ndraft.title = 'y'; draft.save()\n1 / 0")
    assert isinstance(error, ZeroDivisionError)
    assert state(cells) == before
    assert cells["draft"].title == "draft"


def test_notes_report_that_python_code_runs_twice(cells, capsys):  # noqa: F811
    cells.run("calls = []")
    capsys.readouterr()
    frame = cells.run(
        "%%pgwhatif --ignore notebook.Post:keep\ncalls.append(1)\nprint('printed')\n"
        "transaction.on_commit(lambda: calls.append('hook'))\nsafe.delete()"
    )
    assert cells["calls"] == [1, 1]
    assert capsys.readouterr().out.count("printed") == 1
    assert frame.notes[:2] == [
        "The cell ran twice, and both runs were rolled back: the database kept nothing. What the cell did beside it, "
        "in files or on the network, it did twice.",
        "What was given to transaction.on_commit did not run.",
    ]


@pytest.fixture
def second(cells, schema, monkeypatch):  # noqa: F811
    """Another alias of the same database, with Django's own engine."""
    from django.db import connection, connections

    connection.ensure_connection()
    info = connection.connection.info
    monkeypatch.setitem(connections.settings, "second", {
        "ENGINE": "django.db.backends.postgresql", "NAME": info.dbname, "USER": info.user, "HOST": info.host,
        "PORT": info.port, "PASSWORD": info.password, "OPTIONS": {"options": f"-c search_path={schema}"},
    })  # fmt: skip
    connections.configure_settings(connections.settings)
    yield cells
    connections["second"].close()
    del connections["second"]


def test_other_databases(second):
    before = state(second)
    cell = "Post.objects.using('second').filter(pk=2).delete()"
    frame = second.run(f"%%pgwhatif --database second --ignore notebook.Post:keep\n{cell}")
    assert [row[:4] for row in values_of(frame)] == [
        (1, "notebook_post", None, "verdict"),
        (1, "notebook_post", 2, "is_active"),
    ]
    # What is done in another one is taken back, too, and not compared.
    frame = second.run(f"%%pgwhatif --ignore notebook.Post:keep\n{cell}")
    assert {row[3] for row in values_of(frame)} == {"verdict"}
    unseen = "What the cell did in second is not in this table: --database chooses which database is looked at."
    assert unseen in frame.notes
    assert state(second) == before
    traced = second.run("%%pgtrace --database second\nPost.objects.using('second').filter(pk=1).update(title=' q ')")
    assert "notebook.Post:trim" in set(traced["trigger"])
    assert len(second.run("%pgbypass --database second notebook.Post:keep")) == 12
    assert second.run("%%pgsql --database second\nSELECT title FROM notebook_post WHERE id = 1")["title"].tolist() == [
        "q"
    ]
    kept = second.run("%%pgtrace\nPost.objects.using('second').filter(pk=1).update(title='r')")
    assert (len(kept), kept.notes) == (0, [unseen])
    assert "there is no database 'third'" in str(second.error("%%pgtrace --database third\npass"))


def test_error_that_only_the_other_triggers_cause_has_a_note(cells):  # noqa: F811
    before = state(cells)
    error = cells.error(
        "%%pgwhatif --ignore notebook.Post:keep --ignore notebook.Post:soft\nsafe.delete()\n"
        "assert Post.objects.filter(title='safe').exists()"
    )
    assert isinstance(error, AssertionError)
    assert error.__notes__ == [
        "pgmagic: as it is, the cell ran without an error; this happened without notebook.Post:keep and without "
        "notebook.Post:soft."
    ]
    assert state(cells) == before
