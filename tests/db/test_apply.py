"""Carrying out a plan: all of it takes effect, or nothing - also after an error, an interrupt or a lost connection."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import replace

import pytest
from django.db import DatabaseError, OperationalError, connections, models, transaction
from django.db.models.expressions import RawSQL

from pgmagic import pgtrigger
from pgmagic.db import apply as apply_module
from pgmagic.db.catalog import read_catalog
from pgmagic.declare import registry
from pgmagic.errors import InstallationError

TITLE = {"title": models.TextField}


def keep(name="keep", **changes):
    return pgtrigger.Protect(**{"name": name, "operation": pgtrigger.Delete, **changes})


def by_hand(name, body="RETURN NEW;"):
    return pgtrigger.Trigger(name=name, when=pgtrigger.Before, operation=pgtrigger.Insert, func=body)


def declare(live, *triggers):
    return live.declare("Post", triggers, title=models.TextField())


def catalog_rows(live):
    """Everything that DDL on the schema would touch, with the transaction that wrote it."""
    return live.sql(
        "SELECT 'trigger', oid::text, xmin::text, tgname FROM pg_trigger WHERE tgrelid IN "
        "  (SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace) "
        "UNION ALL SELECT 'class', oid::text, xmin::text, relname FROM pg_class "
        "  WHERE relnamespace = current_schema()::regnamespace "
        "UNION ALL SELECT 'function', oid::text, xmin::text, proname FROM pg_proc "
        "  WHERE pronamespace = current_schema()::regnamespace "
        "UNION ALL SELECT 'comment', objoid::text, xmin::text, description FROM pg_description WHERE objoid IN "
        "  (SELECT oid FROM pg_proc WHERE pronamespace = current_schema()::regnamespace) "
        "ORDER BY 1, 2"
    )  # fmt: skip


def actions(applied):
    return [(outcome.step.kind, outcome.step.action, outcome.status) for outcome in applied.outcomes]


def test_unchanged_declaration_issues_no_ddl(live):
    model = declare(live, keep(), keep("late", operation=pgtrigger.Update | pgtrigger.Truncate), by_hand("hand"))
    before = catalog_rows(live)
    assert len(before) > 8
    applied = live.apply(model)
    assert {(outcome.step.action, outcome.status) for outcome in applied.outcomes} == {("unchanged", "done")}
    assert {outcome.elapsed_ms for outcome in applied.outcomes} == {None}
    assert catalog_rows(live) == before


def test_edited_trigger_is_replaced_and_nothing_else(live):
    declare(live, keep(), keep("other"))
    before = catalog_rows(live)
    model, applied = live.try_declare(
        "Post", [keep(condition=pgtrigger.Q(old__title="a")), keep("other")], title=models.TextField()
    )
    assert actions(applied) == [
        ("table", "unchanged", "done"), ("function", "unchanged", "done"), ("trigger", "replace", "done"),
        ("function", "unchanged", "done"), ("trigger", "unchanged", "done"),
    ]  # fmt: skip
    assert [row[3] for row in before if "other" in row[3]] == [
        row[3] for row in catalog_rows(live) if row in before and "other" in row[3]
    ]
    post = model.objects.create(title="b")
    with pgtrigger.ignore("live.Post:other"):
        post.delete()


def test_every_step_says_how_long_the_server_took(live):
    _, applied = live.try_declare("Post", [keep()], title=models.TextField())
    assert all(outcome.elapsed_ms > 0 for outcome in applied.outcomes)


EDITS = {
    "body": "CREATE OR REPLACE FUNCTION {f}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
    "setting": "ALTER FUNCTION {f}() SET search_path TO public",
    "definer": "ALTER FUNCTION {f}() SECURITY DEFINER",
    "function's comment": "COMMENT ON FUNCTION {f}() IS NULL",
    "trigger": "CREATE OR REPLACE TRIGGER {t} AFTER INSERT ON live_post FOR EACH ROW EXECUTE FUNCTION {f}()",
    "trigger and comment": "DROP TRIGGER {t} ON live_post; "
                           "CREATE TRIGGER {t} AFTER INSERT ON live_post FOR EACH ROW EXECUTE FUNCTION {f}()",
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_edit_in_the_database_is_outdated_and_undone(live, edit):
    trigger = keep()
    model = declare(live, trigger)
    name = f'"{trigger.get_pgid(model)}"'
    assert trigger.get_installation_status(model) == ("INSTALLED", True)
    live.sql(EDITS[edit].format(f=name, t=name))
    assert trigger.get_installation_status(model) == ("OUTDATED", True)
    applied = live.apply(model)
    assert applied.error is None
    replaced = [outcome.step.kind for outcome in applied.outcomes if outcome.step.action == "replace"]
    # Without its mark, nothing is known of it.
    assert len(replaced) == (2 if edit == "function's comment" else 1)
    assert trigger.get_installation_status(model) == ("INSTALLED", True)
    post = model.objects.create(title="a")
    with pytest.raises(DatabaseError, match="Cannot delete rows"):
        post.delete()
    assert {outcome.step.action for outcome in live.apply(model).outcomes} == {"unchanged"}


def test_comment_on_a_trigger_is_the_users(live):
    trigger = keep()
    model = declare(live, trigger)
    name = f'"{trigger.get_pgid(model)}"'
    live.sql(f"COMMENT ON TRIGGER {name} ON live_post IS 'mine: 100 % ü'")
    assert trigger.get_installation_status(model) == ("INSTALLED", True)
    live.sql(EDITS["trigger"].format(f=name, t=name))
    assert live.apply(model).error is None
    assert trigger.get_installation_status(model) == ("INSTALLED", True)
    assert live.sql(f"SELECT obj_description(oid) FROM pg_trigger WHERE tgname = '{name[1:-1]}'") == [
        ("mine: 100 % ü",)
    ]


def test_function_dropped_by_somebody_else_is_made_again(live):
    trigger = keep()
    model = declare(live, trigger)
    live.sql(f'DROP FUNCTION "{trigger.get_pgid(model)}"() CASCADE')
    assert trigger.get_installation_status(model) == ("UNINSTALLED", None)
    assert [action for _, action, _ in actions(live.apply(model))] == ["unchanged", "create", "create"]
    assert trigger.get_installation_status(model) == ("INSTALLED", True)


@pytest.mark.parametrize("timing", [None, pgtrigger.Deferred])
def test_disabled_trigger_stays_disabled_when_it_is_replaced(live, timing):
    def trigger(body):
        return pgtrigger.Trigger(
            name="t", when=pgtrigger.After, operation=pgtrigger.Insert, timing=timing, func=body,
            condition=pgtrigger.Q(new__title=body),
        )  # fmt: skip

    model = declare(live, trigger("RETURN NULL;"))
    registry.registered("live.Post:t")[0][1].disable(model)
    fresh = trigger("RAISE 'x'; RETURN NULL;")
    model, applied = live.try_declare("Post", [fresh], title=models.TextField())
    assert applied.error is None
    assert actions(applied)[-2:] == [("function", "replace", "done"), ("trigger", "replace", "done")]
    assert fresh.get_installation_status(model) == ("INSTALLED", False)
    model.objects.create(title="RAISE 'x'; RETURN NULL;")
    fresh.enable(model)
    assert fresh.get_installation_status(model) == ("INSTALLED", True)
    with pytest.raises(DatabaseError, match="x"):
        model.objects.create(title="RAISE 'x'; RETURN NULL;")


def test_only_our_triggers_declared_with_the_model_are_dropped(live):
    model = declare(live, keep("gone"), keep("stays"))
    pgtrigger.register(keep("registered"))(model)
    live.apply(model)
    live.sql("CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'")
    live.sql("CREATE TRIGGER theirs BEFORE DELETE ON live_post FOR EACH ROW EXECUTE FUNCTION theirs()")
    live.sql("CREATE TRIGGER pgtrigger_fake BEFORE DELETE ON live_post FOR EACH ROW EXECUTE FUNCTION theirs()")
    _, applied = live.try_declare("Post", [keep("stays")], title=models.TextField())
    dropped = [outcome.step.object for outcome in applied.outcomes if outcome.step.action == "drop"]
    assert dropped == ["live.Post:gone", "live.Post:gone"]
    found = {trigger.mark.uri if trigger.mark else trigger.name for trigger in read_catalog(live.connection).triggers}
    assert found == {"live.Post:stays", "live.Post:registered", "theirs", "pgtrigger_fake"}
    assert not live.sql(
        "SELECT 1 FROM pg_proc WHERE proname LIKE 'pgtrigger\\_gone%%' "
        "AND pronamespace = current_schema()::regnamespace",
        [],
    )


def test_smaller_declaration_drops_what_it_no_longer_needs(live):
    model = live.declare("Post", title=models.TextField())
    wide = keep(operation=pgtrigger.Delete | pgtrigger.Truncate)
    wide.register(model)
    wide.install(model)
    with pytest.raises(DatabaseError, match="Cannot delete or truncate"):
        live.sql("TRUNCATE live_post")
    wide.unregister(model)
    keep().install(model)
    live.sql("TRUNCATE live_post")
    keep().uninstall(model)
    assert read_catalog(live.connection).triggers == ()


def test_invalid_body_keeps_nothing_and_names_the_step(live):
    triggers = [by_hand(name, "RETURN nothing at all;" if name == "c" else "RETURN NEW;") for name in "abcde"]
    before = catalog_rows(live)
    _, applied = live.try_declare("Post", triggers, title=models.TextField())
    assert isinstance(applied.error, InstallationError)
    assert "\n" not in str(applied.error)
    assert str(applied.error).startswith("Postgres refused to create the function live.Post:c: ")
    assert [(outcome.step.object, outcome.step.kind, outcome.status) for outcome in applied.outcomes] == [
        ("live.Post", "table", "rolled back"),
        ("live.Post:a", "function", "rolled back"), ("live.Post:a", "trigger", "rolled back"),
        ("live.Post:b", "function", "rolled back"), ("live.Post:b", "trigger", "rolled back"),
        ("live.Post:c", "function", "failed"), ("live.Post:c", "trigger", "skipped"),
        ("live.Post:d", "function", "skipped"), ("live.Post:d", "trigger", "skipped"),
        ("live.Post:e", "function", "skipped"), ("live.Post:e", "trigger", "skipped"),
    ]  # fmt: skip
    assert {outcome.elapsed_ms for outcome in applied.outcomes} == {None}
    assert catalog_rows(live) == before
    assert live.sql("SELECT 1") == [(1,)]


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        (keep(condition=pgtrigger.Condition("OLD.nope = 1")), "to create the trigger live.Post:keep: column old.nope"),
        (keep(condition=pgtrigger.Condition("1 +")), "refused to create the trigger live.Post:keep: syntax error"),
        (by_hand("t", "x := 1;"), 'refused to create the function live.Post:t: "x" is not a known variable'),
    ],
)  # fmt: skip
def test_refusal_says_what_postgres_said(live, trigger, words):
    model = live.declare("Post", title=models.TextField())
    before = catalog_rows(live)
    with pytest.raises(InstallationError) as raised:
        trigger.install(model)
    assert words in str(raised.value)
    assert catalog_rows(live) == before


def test_failure_of_a_foreign_key_names_its_table(live):
    live.sql("CREATE TABLE live_target (id text PRIMARY KEY)")
    target = live.declare("Target", meta={"managed": False}, title=models.TextField())
    _, applied = live.try_declare("Post", target=models.ForeignKey(target, models.CASCADE))
    assert "refused to create the table live.Post: foreign key constraint" in str(applied.error)
    assert [status for _, _, status in actions(applied)] == ["failed"]


def test_installation_inside_the_users_transaction(live):
    model = live.declare("Post", title=models.TextField())
    with transaction.atomic():
        model.objects.create(title="kept")
        with pytest.raises(InstallationError):
            by_hand("bad", "RETURN nothing at all;").install(model)
        keep().install(model)
        assert live.sql("SELECT title FROM live_post") == [("kept",)]
    assert keep().get_installation_status(model) == ("INSTALLED", True)
    with pytest.raises(ZeroDivisionError), transaction.atomic():  # noqa: PT012
        keep().uninstall(model)
        raise ZeroDivisionError
    assert keep().get_installation_status(model) == ("INSTALLED", True)


def blocking(live, statement="LOCK live_post IN SHARE MODE"):
    """Another session that holds a lock on the table."""
    other = live.other()
    other.autocommit = False
    other.execute(f'SET search_path TO "{live.schema}"')
    other.execute(statement)
    return other


def once_waiting(live, work):
    """Return a thread that does work(session, pid) as soon as our session, of that pid, waits for a lock."""
    session, pid = live.other(), live.connection.connection.info.backend_pid

    def watch():
        for _ in range(500):
            state = session.execute("SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()
            if state == ("Lock",):
                return work(session, pid)
            time.sleep(0.01)
        raise AssertionError("our session never waited")

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def interrupt_main(*_args):
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def test_installation_ends_if_a_lock_is_not_free_in_time(live, monkeypatch):
    monkeypatch.setattr(apply_module, "LOCK_TIMEOUT", "100ms")
    model = live.declare("Post", title=models.TextField())
    other = blocking(live)
    before = catalog_rows(live)
    started = time.monotonic()
    with pytest.raises(InstallationError, match="lock") as raised:
        keep().install(model)
    assert time.monotonic() - started < 5
    assert str(raised.value) == (
        "Postgres refused to create the trigger live.Post:keep: another session holds a lock and did not release it "
        "within 100ms; end its transaction first"
    )
    other.rollback()
    assert catalog_rows(live) == before
    assert live.sql("SHOW lock_timeout") == [("0",)]
    keep().install(model)


def test_interrupt_while_waiting_keeps_nothing(live):
    model = live.declare("Post", title=models.TextField())
    other = blocking(live)
    before = catalog_rows(live)
    thread = once_waiting(live, interrupt_main)
    with pytest.raises(KeyboardInterrupt):
        keep().install(model)
    thread.join()
    other.rollback()
    assert catalog_rows(live) == before
    assert not live.connection.in_atomic_block
    keep().install(model)
    assert keep().get_installation_status(model) == ("INSTALLED", True)


def test_interrupt_in_a_running_body_keeps_nothing(live):
    model = live.declare("Post", title=models.TextField())
    timer = threading.Timer(0.3, interrupt_main)
    slow = by_hand("slow", "RETURN NEW;")
    slow.compile = lambda model: _sleeping(pgtrigger.Trigger.compile(slow, model))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        slow.install(model)
    assert read_catalog(live.connection).triggers == ()


def _sleeping(desired):
    return replace(
        desired, function=replace(desired.function, create=desired.function.create + " SELECT pg_sleep(20);")
    )


def test_killed_connection_raises_and_keeps_nothing(live):
    model = live.declare("Post", title=models.TextField())
    other = blocking(live)
    thread = once_waiting(live, lambda session, pid: session.execute("SELECT pg_terminate_backend(%s)", [pid]))
    with pytest.raises(OperationalError, match="terminating connection") as raised:
        keep().install(model)
    thread.join()
    assert not isinstance(raised.value, InstallationError)
    other.rollback()
    connections["default"].close()
    assert read_catalog(live.connection).triggers == ()
    keep().install(model)


def test_two_kernels_install_at_once(live):
    model = live.declare("Post", title=models.TextField())
    triggers = [keep(f"t{number}") for number in range(5)]
    for trigger in triggers:
        trigger.register(model)
    errors, gate = [], threading.Barrier(4)

    def kernel():
        try:
            connections["default"].ensure_connection()
            gate.wait(10)
            for trigger in triggers:
                trigger.install(model)
        except BaseException as error:  # noqa: BLE001
            errors.append(error)
        finally:
            connections["default"].close()

    threads = [threading.Thread(target=kernel) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [trigger.get_installation_status(model) for trigger in triggers] == [("INSTALLED", True)] * 5


def test_installation_waits_for_another_session_and_names_it(live, monkeypatch):
    monkeypatch.setattr(apply_module, "LOCK_TIMEOUT", "100ms")
    model = live.declare("Post", title=models.TextField())
    lock = f"SELECT pg_advisory_xact_lock({apply_module._LOCK_CLASS}, hashtext(current_schema()))"
    other = blocking(live, lock)
    with pytest.raises(InstallationError, match="Another session has been installing into this schema for more"):
        keep().install(model)
    other.rollback()
    keep().install(model)


def test_lock_of_one_schema_does_not_hold_another_up(live):
    other = live.other()
    other.autocommit = False
    other.execute("SELECT pg_advisory_xact_lock(%s, hashtext('another'))", [apply_module._LOCK_CLASS])
    model = live.declare("Post", title=models.TextField())
    keep().install(model)
    other.rollback()


def test_users_transaction_keeps_its_lock_timeout(live):
    model = live.declare("Post", title=models.TextField())
    with transaction.atomic():
        live.sql("SET LOCAL lock_timeout = '7s'")
        keep().install(model)
        assert live.sql("SHOW lock_timeout") == [("7s",)]
        with pytest.raises(InstallationError):
            by_hand("bad", "RETURN nothing at all;").install(model)
        assert live.sql("SHOW lock_timeout") == [("7s",)]


def test_bodies_are_checked_as_the_session_has_it(live):
    """Those of pgmagic's own are not; that must not stay so, nor hold for what somebody wrote."""
    for wanted in ("on", "off"):
        with transaction.atomic():
            live.sql(f"SET LOCAL check_function_bodies = {wanted}")
            live.declare(f"Post{wanted}", [keep()], title=models.TextField())
            assert live.sql("SHOW check_function_bodies") == [(wanted,)]
    assert live.sql("SHOW check_function_bodies") == [("on",)]


@pytest.mark.parametrize(
    "broken",
    [
        pgtrigger.Trigger(name="b", when=pgtrigger.Before, operation=pgtrigger.Insert, func="RETURN NEW,;"),
        pgtrigger.Protect(
            name="b",
            level=pgtrigger.Statement,
            operation=pgtrigger.Delete,
            condition=pgtrigger.Condition("OLD.title = = 'a'"),
        ),
        pgtrigger.SoftDelete(name="b", field="title", value=RawSQL("'a' ||", [])),
    ],
    ids=["func", "condition", "value"],
)
def test_sql_written_by_the_user_is_checked(live, broken):
    _, applied = live.try_declare("Post", [keep(), broken], title=models.TextField())
    assert "syntax error" in str(applied.error)
    assert live.sql("SELECT count(*) FROM pg_proc WHERE pronamespace = current_schema()::regnamespace") == [(0,)]
