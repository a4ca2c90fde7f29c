"""`%%pgtrace`: each trigger that was considered, and why it did or did not fire."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import psycopg
import pytest
from IPython.core.error import UsageError

from pgmagic.watch.trace_frame import TraceFrame
from tests.watch.test_outcome import DATA, DECLARE

SETUP = """
from django.db import connection, transaction
def sql(text):
    with connection.cursor() as cursor:
        cursor.execute(text)
"""


@pytest.fixture
def cells(shell: Any) -> Any:
    shell.run(DECLARE)
    shell.run(DATA)
    shell.run(SETUP)
    return shell


@pytest.fixture
def bare(shell: Any) -> Any:
    """A shell with hand-written triggers of nobody's declaration."""
    shell.run(SETUP)
    return shell


@pytest.fixture
def other(shell: Any) -> Any:
    from django.db import connection

    connection.ensure_connection()
    parameters = connection.get_connection_params()
    with psycopg.connect(**{**parameters, "cursor_factory": None, "context": None}, autocommit=True) as second:
        yield second


def trace(shell: Any, cell: str) -> TraceFrame:
    frame = shell.run(f"%%pgtrace\n{cell}")
    assert isinstance(frame, TraceFrame)
    return frame


def values_of(frame: TraceFrame, *columns: str) -> list[tuple[Any, ...]]:
    part = frame[list(columns)].astype(object)
    return [
        tuple(None if isinstance(value, float) and value != value else value for value in row)
        for row in part.where(part.notna(), None).itertuples(index=False, name=None)
    ]


def assert_nothing_left(other: Any) -> None:
    """Nothing of the instruments is in the catalogs, as another session sees them."""
    triggers = "SELECT count(*) FROM pg_trigger WHERE tgname ~ '^\x01' OR tgfoid::regproc::text ~ 'pgmagic_trace'"
    assert other.execute(triggers).fetchone() == (0,)
    functions = "SELECT count(*) FROM pg_proc WHERE proname ~ '^pgmagic_(trace|listed|image)'"
    assert other.execute(functions).fetchone() == (0,)


def function(name: str, body: str) -> str:
    return f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN {body} END $f$;"


def test_skipped_trigger_shows_the_clause_that_was_false(cells, other):
    frame = trace(cells, "draft.delete()")
    assert values_of(frame, "step", "seq", "depth", "trigger", "row", "fired", "condition")[:2] == [
        (1, 1, 1, "notebook.Post:keep", 1, False, {"old__locked=True": False}),
        (1, 2, 1, "notebook.Post:soft", 1, True, None),
    ]
    assert frame["notice"][1] == "returned NULL: the row was swallowed"
    # The soft delete's own UPDATE fires the triggers on UPDATE, one level down.
    assert set(frame["depth"][2:]) == {2}
    assert_nothing_left(other)


def test_raising_trigger_is_the_one_that_fired(cells):
    frame = trace(cells, "safe.delete()\ndraft.title = 'y'\ndraft.save()")
    assert values_of(frame, "step", "trigger", "fired", "condition", "notice")[0] == (
        1, "notebook.Post:keep", True, {"old__locked=True": True},
        "ERROR: pgtrigger: Cannot delete rows from notebook_post table",
    )  # fmt: skip
    assert frame.notes[0] == (
        "Step 1 was rejected by notebook.Post:keep: pgtrigger: Cannot delete rows from notebook_post table; row id 2"
    )
    assert set(frame["step"][1:]) == {3}
    assert cells.run("Post.objects.get(pk=draft.pk).title") == "y"


def test_before_and_after_are_what_the_trigger_changed(cells):
    frame = trace(cells, "draft.title = ' x '; draft.save()")
    [row] = [
        row for row in values_of(frame, "trigger", "before", "after", "elapsed_ms") if row[0] == "notebook.Post:trim"
    ]
    assert row[1:3] == ({"title": " x "}, {"title": "x"})
    assert row[3] > 0


def test_fsm_and_ignored_triggers_in_words(cells):
    frame = trace(
        cells,
        "with pgtrigger.ignore('notebook.Post:cycle'):\n    Post.objects.filter(pk=draft.pk).update(status='gone')\n",
    )
    assert values_of(frame, "trigger", "fired", "condition")[0] == (
        "notebook.Post:cycle",
        False,
        {
            "status changed": True,
            "the transition of status is not listed": True,
            "not ignored": False,
        },
    )


def test_condition_that_a_function_asks_of_a_statements_rows_is_named(shell):
    shell.run(SETUP)
    shell.run(
        "%%pgtrigger\n"
        "class Item(models.Model):\n"
        "    n = models.IntegerField()\n"
        "    class Meta:\n"
        "        triggers = [pgtrigger.Protect(name='keep', operation=pgtrigger.Delete, level=pgtrigger.Statement,\n"
        "                                      condition=pgtrigger.Q(old__n__gt=5))]\n"
    )
    frame = trace(shell, "Item.objects.create(n=1)\nItem.objects.all().delete()")
    assert values_of(frame, "trigger", "fired", "condition") == [("notebook.Item:keep", True, None)]
    assert (
        "notebook.Item:keep fires for every statement: its function evaluates the condition for the rows."
        in frame.notes
    )


def test_trigger_that_somebody_replaced_shows_what_is_installed(cells):
    cells.run(
        """%%pgsql
DO $do$ BEGIN EXECUTE (
  SELECT replace(replace(pg_get_triggerdef(oid), 'CREATE TRIGGER', 'CREATE OR REPLACE TRIGGER'),
                 'old.locked', '(NOT old.locked)')
  FROM pg_trigger WHERE tgname ~ '^pgtrigger_keep' AND tgrelid = 'notebook_post'::regclass); END $do$"""
    )
    frame = trace(cells, "safe.delete()")
    assert values_of(frame, "fired", "condition")[0] == (False, {"NOT old.locked": False})


def test_edited_declaration_does_not_speak_for_what_is_installed(cells):
    cells.run(
        "from pgmagic.declare import registry\n"
        "registry.find('notebook.Post:keep')[1].condition = pgtrigger.Q(old__locked=False)"
    )
    frame = trace(cells, "draft.delete()")
    assert values_of(frame, "fired", "condition")[0] == (False, {"old.locked": False})


def test_conditions_read_as_they_were_declared(shell):
    shell.run("""%%pgtrigger
class Note(models.Model):
    text = models.TextField(null=True, db_column="thé text")
    rank = models.IntegerField(default=0)
    class Meta:
        triggers = [
            pgtrigger.Protect(name="a", operation=pgtrigger.Update, condition=pgtrigger.Q(new__rank__range=(5, 7))
                | pgtrigger.Q(new__rank=1, old__text__in=["a'b", "%s"])),
            pgtrigger.Protect(name="b", operation=pgtrigger.Update,
                condition=pgtrigger.Condition("OLD.rank > 5 AND NEW.rank < 3") & ~pgtrigger.Q(new__text="x")),
            pgtrigger.ReadOnly(name="c", fields=["text"]),
            pgtrigger.FSM(name="d", field="rank", initial=[0], transitions=[
                (0, 1, pgtrigger.Q(old__text__isnull=False)), (1, 2)]),
        ]
""")
    frame = trace(shell, "note = Note.objects.create(text='t')\nNote.objects.filter(pk=note.pk).update(rank=1)")
    assert dict(values_of(frame, "trigger", "condition")[1:]) == {
        "notebook.Note:a": {
            "new__rank__range=(5, 7)": False,
            "or new__rank=1": True,
            """and old__text__in=["a'b", '%s']""": False,
        },
        "notebook.Note:b": {"old.rank > 5": False, "new.rank < 3": True, "~Q(new__text='x')": True},
        "notebook.Note:c": {"text changed": False},
        "notebook.Note:d": {
            "rank changed": True,
            "the transition of rank is not listed, or its condition does not hold": False,
        },
    }
    assert values_of(frame, "trigger", "condition")[0] == (
        "notebook.Note:d",
        {"rank is no initial state": False},
    )


def test_deferred_triggers_appear_at_commit(cells, other):
    frame = trace(cells, "left.balance = -7; left.save()\nright.balance = 7; right.save()")
    assert values_of(frame, "step", "trigger", "fires", "row", "fired") == [
        (None, "notebook.Account:sum", "AFTER UPDATE · ROW · DEFERRED", 1, True),
        (None, "notebook.Account:sum", "AFTER UPDATE · ROW · DEFERRED", 2, True),
    ]
    refused = trace(cells, "left.balance = -8; left.save()")
    assert values_of(refused, "step", "fired", "notice") == [(None, True, "ERROR: out of balance")]
    assert "COMMIT was rejected" in refused.notes[0]
    assert cells.run("Account.objects.get(pk=left.pk).balance") == -7
    assert_nothing_left(other)


NOT_ZERO, QUOTIENT = "new.other <> 0", "(10 / new.other) > 1"
HAND_WRITTEN = f"""
CREATE TABLE "tä ble%" ("the key" int PRIMARY KEY, price numeric, "na""me" text, other int);
{function("say", "RAISE NOTICE 'saw %', TG_NAME; RETURN NEW;")}
{function("double", "NEW.price := NEW.price * 2; RETURN NEW;")}
CREATE TRIGGER "1 before%" BEFORE UPDATE ON "tä ble%" FOR EACH STATEMENT EXECUTE FUNCTION say();
CREATE TRIGGER "2 of'" BEFORE UPDATE OF price ON "tä ble%" FOR EACH ROW EXECUTE FUNCTION double();
CREATE TRIGGER "3 when" BEFORE INSERT OR UPDATE ON "tä ble%" FOR EACH ROW
  WHEN (NEW.other <> 0 AND 10 / NEW.other > 1) EXECUTE FUNCTION double();
CREATE TRIGGER "4 after" AFTER INSERT OR UPDATE OR DELETE ON "tä ble%" FOR EACH ROW EXECUTE FUNCTION say();
CREATE TRIGGER "5 off" BEFORE UPDATE ON "tä ble%" FOR EACH ROW EXECUTE FUNCTION double();
CREATE TRIGGER "6 stmt" AFTER UPDATE ON "tä ble%" REFERENCING OLD TABLE AS o FOR EACH STATEMENT EXECUTE FUNCTION say();
CREATE TRIGGER "7 trunc" BEFORE TRUNCATE ON "tä ble%" FOR EACH STATEMENT EXECUTE FUNCTION say();
ALTER TABLE "tä ble%" DISABLE TRIGGER "5 off";
INSERT INTO "tä ble%" VALUES (1, 10, 'a', 0), (2, 20, 'b', 2);
"""


def test_hand_written_triggers(bare, other):
    bare.run(f"%%pgsql\n{HAND_WRITTEN}")
    frame = trace(
        bare,
        """
sql('UPDATE "tä ble%" SET price = price + 1')
sql('UPDATE "tä ble%" SET other = 100 WHERE "the key" = 1')
sql('TRUNCATE "tä ble%"')
""",
    )
    assert values_of(frame, "step", "trigger", "row", "fired", "condition", "before", "after", "notice") == [
        (1, "1 before%", None, True, None, None, None, "NOTICE: saw 1 before%"),
        (1, "2 of'", 1, True, None, {"price": 11}, {"price": 22}, None),
        (1, "3 when", 1, False, {NOT_ZERO: False, QUOTIENT: "division by zero"}, None, None, None),
        (1, "5 off", 1, False, {"the trigger is enabled": False}, None, None, None),
        (1, "2 of'", 2, True, None, {"price": 41}, {"price": 82}, None),
        (1, "3 when", 2, True, {NOT_ZERO: True, QUOTIENT: True}, {"price": 82}, {"price": 164}, None),
        (1, "5 off", 2, False, {"the trigger is enabled": False}, None, None, None),
        (1, "4 after", 1, True, None, None, None, "NOTICE: saw 4 after"),
        (1, "4 after", 2, True, None, None, None, "NOTICE: saw 4 after"),
        (1, "6 stmt", None, True, None, None, None, "NOTICE: saw 6 stmt"),
        (2, "1 before%", None, True, None, None, None, "NOTICE: saw 1 before%"),
        (2, "2 of'", 1, False, {"the statement sets price": False}, None, None, None),
        (2, "3 when", 1, False, {NOT_ZERO: True, QUOTIENT: False}, None, None, None),
        (2, "5 off", 1, False, {"the trigger is enabled": False}, None, None, None),
        (2, "4 after", 1, True, None, None, None, "NOTICE: saw 4 after"),
        (2, "6 stmt", None, True, None, None, None, "NOTICE: saw 6 stmt"),
        (3, "7 trunc", None, True, None, None, None, "NOTICE: saw 7 trunc"),
    ]  # fmt: skip
    assert_nothing_left(other)


def test_triggers_that_triggers_fire_are_one_level_deeper(bare):
    bare.run(f"""%%pgsql
CREATE TABLE log (id serial PRIMARY KEY, what text);
CREATE TABLE item (id int PRIMARY KEY, parent int REFERENCES item ON DELETE CASCADE);
{function("shout", "NEW.what := upper(NEW.what); RETURN NEW;")}
{function("note", "RAISE NOTICE 'before'; INSERT INTO log (what) VALUES (TG_OP); RAISE NOTICE 'behind'; RETURN NULL;")}
CREATE TRIGGER a BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION shout();
CREATE TRIGGER b AFTER DELETE ON item FOR EACH ROW EXECUTE FUNCTION note();
INSERT INTO item VALUES (1), (2), (3);
UPDATE item SET parent = id - 1 WHERE id > 1;
""")
    frame = trace(bare, "sql('DELETE FROM item WHERE id = 1')")
    # AFTER triggers on the rows of a cascade wait for the end of the cell's own statement, and fire at its level.
    assert values_of(frame, "depth", "table", "trigger", "row", "notice") == [
        (1, "item", "b", 1, "NOTICE: before\nNOTICE: behind"),
        (2, "log", "a", 1, None),
        (1, "item", "b", 2, "NOTICE: before\nNOTICE: behind"),
        (2, "log", "a", 2, None),
        (1, "item", "b", 3, "NOTICE: before\nNOTICE: behind"),
        (2, "log", "a", 3, None),
    ]


def test_error_that_a_trigger_catches_and_one_of_a_constraint(bare):
    bare.run(f"""%%pgsql
CREATE TABLE t (id int PRIMARY KEY, n int CHECK (n < 10));
{function("careful", "BEGIN PERFORM 1 / NEW.n; EXCEPTION WHEN OTHERS THEN NEW.n := 1; END; RETURN NEW;")}
{function("skip", "IF NEW.n = 5 THEN RETURN NULL; END IF; RETURN NEW;")}
CREATE TRIGGER a BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION careful();
CREATE TRIGGER b BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION skip();
""")
    frame = trace(bare, "sql('INSERT INTO t VALUES (1, 0), (2, 5), (3, 11)')")
    assert values_of(frame, "trigger", "row", "after", "notice") == [
        ("a", 1, {"n": 1}, None),
        ("b", 1, None, None),
        ("a", 2, None, None),
        ("b", 2, None, "returned NULL: the row was swallowed"),
        ("a", 3, None, None),
        ("b", 3, None, None),
    ]
    assert "violates check constraint" in frame.notes[0]
    # The last thing that was traced is a swallowed row; the error is none of its trigger's.
    frame = trace(bare, "sql('INSERT INTO t SELECT n, 10 / (6 - n) * 0 + 5 FROM generate_series(5, 6) AS n')")
    assert values_of(frame, "trigger", "notice")[-1] == ("b", "returned NULL: the row was swallowed")
    assert "division by zero" in frame.notes[0]


def test_views_partitions_and_constraint_triggers(bare, other):
    bare.run(f"""%%pgsql
CREATE TABLE part (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10);
{function("keep", "RETURN NEW;")}
CREATE TRIGGER each_row BEFORE INSERT ON part FOR EACH ROW EXECUTE FUNCTION keep();
CREATE TRIGGER statement AFTER INSERT ON part FOR EACH STATEMENT EXECUTE FUNCTION keep();
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON part_1 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (NEW.n > 1) EXECUTE FUNCTION keep();
CREATE CONSTRAINT TRIGGER soon AFTER INSERT ON part_1 DEFERRABLE FOR EACH ROW EXECUTE FUNCTION keep();
CREATE VIEW shown AS SELECT * FROM part;
{function("into_view", "NEW.n := NEW.n + 1; INSERT INTO part VALUES (NEW.*); RETURN NEW;")}
CREATE TRIGGER instead INSTEAD OF INSERT ON shown FOR EACH ROW EXECUTE FUNCTION into_view();
""")
    frame = trace(bare, "sql('INSERT INTO shown VALUES (1, 0), (2, 1)')")
    assert sorted(values_of(frame, "depth", "table", "trigger", "row", "fired"), key=str) == sorted([
        (1, "shown", "instead", None, True), (1, "shown", "instead", None, True),
        (2, "part_1", "each_row", 1, True), (2, "part_1", "each_row", 2, True),
        (2, "part", "statement", None, True), (2, "part", "statement", None, True),
        (2, "part_1", "soon", 1, True), (2, "part_1", "soon", 2, True),
        (1, "part_1", "late", 1, False), (1, "part_1", "late", 2, True),
    ], key=str)  # fmt: skip
    assert values_of(frame, "before", "after")[0] == ({"n": 0}, {"n": 1})
    assert values_of(frame, "step", "trigger")[-2:] == [(None, "late"), (None, "late")]
    assert_nothing_left(other)


def test_writes_that_nothing_announces_are_said(bare):
    bare.run(f"""%%pgsql
CREATE TABLE t (id int PRIMARY KEY);
{function("keep", "RETURN NEW;")}
CREATE TRIGGER a BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION keep();
CREATE FUNCTION hidden(name text) RETURNS void LANGUAGE plpgsql AS $f$
BEGIN EXECUTE format('INSERT INTO %I VALUES (1)', name); END $f$;
""")
    frame = trace(bare, 'sql("SELECT hidden(chr(116))")')
    assert len(frame) == 0
    assert frame.notes == [
        "t: its triggers (a) were not traced, because dynamic SQL in a function wrote to it, which no statement of the "
        "cell shows."
    ]


def test_disabled_deferred_trigger_keeps_nothing_from_its_table(bare):
    bare.run(f"""%%pgsql
CREATE TABLE t (id int PRIMARY KEY);
{function("keep", "RETURN NEW;")}
CREATE CONSTRAINT TRIGGER a AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION keep();
ALTER TABLE t DISABLE TRIGGER a;
""")
    frame = trace(bare, "sql('INSERT INTO t VALUES (1)')\nsql('ALTER TABLE t ENABLE TRIGGER a')\n"
                        "sql('INSERT INTO t VALUES (2)')")  # fmt: skip
    assert values_of(frame, "step", "row", "fired") == [(1, 1, False), (None, 2, True)]


def test_rolled_back_block_is_traced_and_so_is_what_follows(cells):
    frame = trace(
        cells,
        """
try:
    with transaction.atomic():
        draft.title = ' one '; draft.save()
        raise KeyError
except KeyError:
    pass
draft.title = ' two '; draft.save()
""",
    )
    trims = [row for row in values_of(frame, "trigger", "before", "after") if row[0] == "notebook.Post:trim"]
    assert [row[2] for row in trims] == [{"title": "one"}, {"title": "two"}]
    assert cells.run("Post.objects.get(pk=draft.pk).title") == "two"


def test_triggers_made_in_the_cell_are_traced(bare, other):
    bare.run(
        f"%%pgsql\nCREATE TABLE t (id int PRIMARY KEY, n int); {function('twice', 'NEW.n := NEW.n * 2; RETURN NEW;')}"
    )
    frame = trace(
        bare,
        """
sql("CREATE TRIGGER a BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION twice()")
sql("INSERT INTO t VALUES (1, 1)")
sql("CREATE TRIGGER b BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION twice()")
sql("INSERT INTO t VALUES (2, 1)")
""",
    )
    assert values_of(frame, "step", "trigger", "after") == [
        (2, "a", {"n": 2}), (4, "a", {"n": 2}), (4, "b", {"n": 4})
    ]  # fmt: skip
    assert_nothing_left(other)


def test_error_of_the_cell_leaves_nothing(cells, other):
    error = cells.error("%%pgtrace\ndraft.title = 'new'\ndraft.save()\n1 / 0")
    assert isinstance(error, ZeroDivisionError)
    assert_nothing_left(other)
    assert cells.run("Post.objects.get(pk=draft.pk).title") == "draft"


def test_interrupt_leaves_nothing(cells, other):
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    error = cells.error("%%pgtrace\ndraft.title = 'new'\ndraft.save()\nsql('SELECT pg_sleep(30)')")
    assert isinstance(error, KeyboardInterrupt)
    assert_nothing_left(other)
    assert cells.run("Post.objects.get(pk=draft.pk).title") == "draft"


def test_killed_backend_leaves_nothing(cells, other):
    error = cells.error(
        "%%pgtrace\ndraft.title = 'new'\ndraft.save()\nsql('SELECT pg_terminate_backend(pg_backend_pid())')"
    )
    assert isinstance(error, UsageError)
    assert str(error) == "The database connection was lost while the cell ran: nothing of it was kept."
    assert_nothing_left(other)
    assert cells.run("Post.objects.get(pk=draft.pk).title") == "draft"


def test_other_sessions_wait_and_never_see_anything(cells, other):
    schema = cells.run("connection.schema_editor and __import__('pgmagic.db.backend').db.backend.choice.schema")
    seen: list[Any] = []
    done: list[float] = []

    def write() -> None:
        other.execute(f"UPDATE \"{schema}\".notebook_post SET title = 'theirs' WHERE id = 2")
        done.append(time.monotonic())

    thread = threading.Thread(target=write)

    def begin() -> None:
        seen.append(other.execute("SELECT count(*) FROM pg_trigger WHERE tgname ~ 'pgmagic_trace'").fetchone())
        other.add_notice_handler(lambda diag: seen.append(diag.message_primary))
        thread.start()
        time.sleep(0.3)

    cells.shell.push({"begin": begin})
    frame = trace(cells, "draft.title = 'ours'; draft.save()\nbegin()")
    ended = time.monotonic()
    thread.join(10)
    assert done
    assert done[0] > ended - 1
    assert seen == [(0,)]
    assert any("writes of other sessions to notebook_post waited" in note for note in frame.notes)
    assert cells.run("list(Post.objects.order_by('pk').values_list('title', flat=True))") == [
        "ours",
        "theirs",
    ]
    assert_nothing_left(other)


def test_table_that_another_session_holds_is_said(cells, other):
    schema = cells.run("__import__('pgmagic.db.backend').db.backend.choice.schema")
    with other.transaction():
        other.execute(f'LOCK TABLE "{schema}".notebook_post IN ROW EXCLUSIVE MODE')
        frame = trace(cells, "draft.title = 'ours'; draft.save()")
    assert len(frame) == 0
    assert any("could not be traced: canceling statement due to lock timeout" in note for note in frame.notes)


def test_notes_report_a_missing_privilege(bare, other):
    bare.run(f"""%%pgsql
CREATE TABLE t (id int PRIMARY KEY);
{function("keep", "RETURN NEW;")}
CREATE TRIGGER a BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION keep();
DROP ROLE IF EXISTS pgmagic_test_guest;
CREATE ROLE pgmagic_test_guest;
GRANT INSERT ON t TO pgmagic_test_guest;
DO $$ BEGIN EXECUTE format('GRANT USAGE ON SCHEMA %I TO pgmagic_test_guest', current_schema()); END $$;
""")
    try:
        frame = trace(
            bare,
            "sql('SET LOCAL ROLE pgmagic_test_guest')\nsql('INSERT INTO t VALUES (1)')\nsql('RESET ROLE')",
        )
        assert len(frame) == 0
        assert "t: its triggers (a) could not be traced: no TRIGGER privilege." in frame.notes
    finally:
        bare.run("%%pgsql\nDROP OWNED BY pgmagic_test_guest; DROP ROLE pgmagic_test_guest")


def test_functions_with_the_rights_of_another_role_are_traced(bare):
    bare.run(f"""%%pgsql
CREATE TABLE t (id int PRIMARY KEY);
CREATE TABLE log (id int);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $f$
BEGIN INSERT INTO log VALUES (NEW.id); RETURN NEW; END $f$;
{function("keep", "RETURN NEW;")}
DROP ROLE IF EXISTS pgmagic_test_definer;
CREATE ROLE pgmagic_test_definer;
GRANT INSERT ON log TO pgmagic_test_definer;
DO $$ BEGIN EXECUTE format('GRANT USAGE, CREATE ON SCHEMA %I TO pgmagic_test_definer', current_schema()); END $$;
ALTER FUNCTION note() OWNER TO pgmagic_test_definer;
CREATE TRIGGER a BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER b BEFORE INSERT ON log FOR EACH ROW WHEN (NEW.id > 1) EXECUTE FUNCTION keep();
""")
    try:
        frame = trace(bare, "sql('INSERT INTO t VALUES (1), (2)')")
        assert values_of(frame, "depth", "trigger", "fired") == [
            (1, "a", True), (2, "b", False), (1, "a", True), (2, "b", True)
        ]  # fmt: skip
    finally:
        bare.run("%%pgsql\nDROP OWNED BY pgmagic_test_definer CASCADE; DROP ROLE pgmagic_test_definer")


def test_names_without_room_between_them(bare):
    long = "n" * 62
    bare.run(f"""%%pgsql
CREATE TABLE t (id int PRIMARY KEY);
{function("keep", "RETURN NEW;")}
CREATE TRIGGER {long}a BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION keep();
CREATE TRIGGER {long}b BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION keep();
CREATE TRIGGER z BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION keep();
""")
    frame = trace(bare, "sql('INSERT INTO t VALUES (1)')")
    named = [row[0] for row in values_of(frame, "trigger")]
    assert "z" in named
    assert len(named) + sum("leaves no room" in note for note in frame.notes) == 3


def test_replica_role_is_said(bare):
    bare.run(f"""%%pgsql
CREATE TABLE t (id int PRIMARY KEY);
{function("keep", "RETURN NEW;")}
CREATE TRIGGER a BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION keep();
""")
    frame = trace(
        bare,
        "sql('INSERT INTO t VALUES (1)')\n"
        "sql('SET LOCAL session_replication_role = replica')\n"
        "sql('INSERT INTO t VALUES (2)')",
    )
    assert values_of(frame, "step") == [(1,)]
    assert any("session_replication_role is replica" in note for note in frame.notes)


def test_session_that_wants_no_messages_is_traced(bare):
    bare.run(f"""%%pgsql
CREATE TABLE t (id int PRIMARY KEY);
{function("keep", "RETURN NEW;")}
CREATE TRIGGER a BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION keep();
""")
    frame = trace(bare, "sql('SET LOCAL client_min_messages = error')\nsql('INSERT INTO t VALUES (1)')")
    assert values_of(frame, "trigger") == [("a",)]


def test_long_values_are_shortened(bare):
    bare.run(f"""%%pgsql
CREATE TABLE t (id int PRIMARY KEY, long text, n int);
{function("change", "NEW.long := NEW.long || 'x'; NEW.n := 1; RETURN NEW;")}
CREATE TRIGGER a BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION change();
""")
    frame = trace(bare, "sql(\"INSERT INTO t VALUES (1, repeat('y', 10000000), 0)\")")
    [(before, after)] = values_of(frame, "before", "after")
    assert (before["n"], after["n"]) == (0, 1)
    assert "10000002 characters" in before["long"]
    assert "10000003 characters" in after["long"]
    assert len(after["long"]) < 300


@pytest.mark.slow
def test_notes_report_that_a_large_statement_is_sampled(bare, other):
    bare.run(f"""%%pgsql
CREATE TABLE t (id int PRIMARY KEY, n int);
{function("keep", "RETURN NEW;")}
CREATE TRIGGER a BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION keep();
CREATE TRIGGER b AFTER UPDATE ON t FOR EACH ROW WHEN (NEW.n > 0) EXECUTE FUNCTION keep();
""")
    frame = trace(
        bare,
        "sql('INSERT INTO t SELECT n, n FROM generate_series(1, 20000) AS n')\n"
        "sql('UPDATE t SET n = 0')\nsql('UPDATE t SET n = 1 WHERE id = 1')",
    )
    assert frame.groupby("step").size().to_dict() == {1: 10000, 2: 10000, 3: 2}
    assert frame.notes[:2] == [
        "Step 1: only the first 10,000 triggers that it considered are listed.",
        "Step 2: only the first 10,000 triggers that it considered are listed.",
    ]
    assert values_of(frame, "fired")[-2:] == [(True,), (True,)]
    assert_nothing_left(other)


@pytest.mark.slow
def test_a_thousand_firings_of_three_triggers_are_all_shown(bare):
    bare.run(f"""%%pgsql
CREATE TABLE t (id int PRIMARY KEY, n int, title text, at timestamptz DEFAULT now());
{function("add", "NEW.n := NEW.n + 1; RETURN NEW;")}
CREATE TRIGGER a BEFORE UPDATE ON t FOR EACH ROW WHEN (OLD.n >= 0 AND NEW.id > 0) EXECUTE FUNCTION add();
CREATE TRIGGER b BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION add();
CREATE TRIGGER c AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION add();
INSERT INTO t SELECT n, 0, repeat('x', 50) FROM generate_series(1, 1000) AS n;
""")
    frame = bare.shell.run_cell_magic("pgtrace", "", "sql('UPDATE t SET n = 1')")
    assert len(frame) == 3000
    assert frame["fired"].all()


def test_cell_magic_keeps_its_usage(cells):
    assert isinstance(cells.error("%%pgtrace --nothing\npass"), UsageError)
    assert str(cells.error("%%pgtrace\ndef")).startswith("SyntaxError in line 1")
    frame = cells.run("%%pgtrace -o kept\npass")
    assert cells["kept"] is frame
    assert len(frame) == 0
    assert frame.notes == []
