"""The settings of a session: sent again exactly when the server may have lost them."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import psycopg
import pytest
from django.db import OperationalError, connections, transaction
from django.db import connection as default

from pgmagic.db.runtime import session_settings
from pgmagic.db.runtime.session_settings import ServerSession

NAME = "pgmagic.test_state"


class State:
    """A state of the test's own."""

    value = ""


@pytest.fixture
def state(connection, monkeypatch):
    """A state that every session carries."""
    found = State()
    monkeypatch.setattr(session_settings, "_carried", [session_settings.Carried(NAME, lambda _alias: found.value)])
    return found


def on_server(connection=default):
    """What the server's session holds, asked for without Django: nothing is sent on the way."""
    with unseen(connection) as cursor:
        return cursor.execute(f"SELECT coalesce(current_setting('{NAME}', true), '')").fetchone()[0]


def unseen(connection=default):
    """A cursor that nobody notices."""
    return psycopg.Cursor(connection.connection)


def ask():
    with default.cursor() as cursor:
        cursor.execute("SELECT 1")
    return on_server()


def sessions():
    return [wrapper for wrapper in default.execute_wrappers if isinstance(wrapper, ServerSession)]


@pytest.mark.parametrize("value", ["x", "it's", "%s {} \\", "é", "*" * 5000])
def test_value_reaches_the_server_before_the_statement(state, value):
    state.value = value
    assert on_server() == ""
    assert ask() == value
    state.value = ""
    assert ask() == ""


def test_statements_pass_unchanged_if_there_is_nothing_to_send(state, monkeypatch):
    state.value = "x"
    ask()
    state.value = ""
    ask()
    with default.cursor() as cursor:
        cursor.execute("BEGIN")
        state.value = "x"
        ask()
        state.value = ""
        cursor.execute("ROLLBACK")
    ask()
    monkeypatch.setattr(ServerSession, "send", lambda _session: pytest.fail("asked for nothing"))
    with transaction.atomic():
        ask()
    with default.cursor() as cursor:
        cursor.execute("RESET ALL")
    assert ask() == ""
    with default.connection.cursor() as cursor:
        cursor.execute("SELECT 1")


@pytest.mark.parametrize("is_open", [False, True], ids=["autocommit", "transaction"])
@pytest.mark.parametrize("value", ["x", ""])
def test_settings_are_sent_again_after_an_interrupt(state, monkeypatch, value, is_open):
    state.value = "" if value else "before"
    ask()
    execute_at_once = ServerSession.execute_at_once

    def interrupted(found, statement):
        monkeypatch.undo()
        monkeypatch.setattr(session_settings, "_carried", [session_settings.Carried(NAME, lambda _alias: state.value)])
        execute_at_once(found, statement)
        raise KeyboardInterrupt

    def interrupt():
        monkeypatch.setattr(ServerSession, "execute_at_once", interrupted)
        former, state.value = state.value, value
        with pytest.raises(KeyboardInterrupt):
            ask()
        assert on_server() == value
        state.value = former
        assert ask() == former

    if is_open:
        with transaction.atomic():
            interrupt()
    else:
        interrupt()
    assert ask() == state.value


def test_value_is_sent_once(state, monkeypatch):
    state.value = "x"
    ask()
    told = []
    monkeypatch.setattr(ServerSession, "changed", _recording(ServerSession.changed, told))
    ask()
    assert told == [[]]


def _recording(original, told):
    def changed(self):
        told.append(original(self))
        return told[-1]

    return changed


# Transactions: afterwards psycopg's own cursors find what is true, though no statement of Django's came in between.


@contextmanager
def ended(how):
    """A transaction of Django's that ends as the test asks."""
    try:
        with transaction.atomic():
            yield
            if how == "rollback":
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass


@pytest.mark.parametrize("how", ["commit", "rollback"])
@pytest.mark.parametrize(("before", "inside"), [("", "x"), ("x", ""), ("x", "y"), ("x", "x")])
def test_value_set_in_a_transaction_is_restored_after_it(state, how, before, inside):
    state.value = before
    ask()
    with ended(how):
        state.value = inside
        assert ask() == inside
    assert on_server() == inside
    assert ask() == inside


@pytest.mark.parametrize("how", ["commit", "rollback"])
def test_value_changed_without_a_statement_is_sent_after_the_transaction(state, how):
    with ended(how):
        ask()
        state.value = "x"
        session_settings.send_to_open_connections()
        state.value = ""
    assert on_server() == ""


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "ABORT", "END"])
def test_value_is_right_after_a_transaction_that_a_cursor_ends(state, ending):
    state.value = "x"
    with default.cursor() as cursor:
        cursor.execute("BEGIN")
        state.value = ""
        cursor.execute(ending)
        assert on_server() == ""
        cursor.execute("ROLLBACK")
    assert on_server() == ""


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_value_is_sent_again_after_a_transaction_that_ended_unseen(state, ending):
    state.value = "x"
    ask()
    default.connection.execute("BEGIN")
    state.value = ""
    assert ask() == ""
    getattr(default.connection, ending)()
    assert ask() == ""


def test_value_is_right_after_rolling_back_to_a_savepoint(state):
    with transaction.atomic():
        ask()
        for value in ("x", "", "y"):
            with ended("rollback"):
                state.value = value
                assert ask() == value
            assert on_server() == value
    assert on_server() == "y"


def test_settings_of_a_transaction_do_not_outlive_it_unseen(state):
    unseen().execute("BEGIN")
    state.value = "x"
    assert ask() == "x"
    unseen().execute("COMMIT")
    assert on_server() == ""


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1; ROLLBACK TO s",
        "-- back\nROLLBACK TO s",
        "RESET ALL",
        f"RESET {NAME}",
        "ROLLBACK TO SAVEPOINT s",
    ],
)
def test_statement_that_resets_settings_in_a_transaction(state, statement):
    with transaction.atomic(), default.cursor() as cursor:
        cursor.execute("SAVEPOINT s")
        state.value = "x"
        assert ask() == "x"
        cursor.execute(statement)
        assert on_server() == "x"
    assert on_server() == "x"


def test_settings_are_sent_after_the_rollback_of_an_error(state):
    with pytest.raises(Exception, match="division"), transaction.atomic(), default.cursor() as cursor:  # noqa: PT012
        state.value = "x"
        cursor.execute("SELECT 1")
        try:
            cursor.execute("SELECT 1/0")
        finally:
            state.value = ""
            session_settings.send_to_open_connections()
    assert on_server() == ""


def test_settings_are_sent_before_commit(state):
    with default.cursor() as cursor:
        cursor.execute("CREATE TABLE seen (value text)")
        cursor.execute(
            f"CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN UPDATE seen SET value = current_setting('{NAME}', true); RETURN NULL; END $$"
        )
        cursor.execute(
            "CREATE CONSTRAINT TRIGGER look AFTER INSERT ON seen DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION look()"
        )
        with transaction.atomic():
            state.value = "x"
            cursor.execute("INSERT INTO seen VALUES (NULL)")
            state.value = "y"
        cursor.execute("SELECT value FROM seen")
        assert cursor.fetchone() == ("y",)


def test_manual_transactions(state):
    transaction.set_autocommit(False)
    try:
        state.value = "x"
        assert ask() == "x"
        transaction.rollback()
        assert on_server() == "x"
        transaction.rollback()
        state.value = ""
        ask()
        transaction.commit()
        assert on_server() == ""
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_settings_are_sent_again_after_an_interrupted_end(state, monkeypatch, ending):
    def interrupted(_connection):
        raise KeyboardInterrupt

    transaction.set_autocommit(False)
    try:
        state.value = "x"
        with default.cursor() as cursor:
            cursor.execute("SELECT 1")
        state.value = "y"
        assert ask() == "y"
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):  # noqa: PT012
            patched.setattr(type(connections["default"]), f"_{ending}", interrupted)
            state.value = "x"
            getattr(transaction, ending)()
        assert ask() == "x"
        state.value = ""
        assert ask() == ""
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


def test_copy_is_not_disturbed(state):
    with default.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE copied (n int)")
        with cursor.copy("COPY copied FROM STDIN") as copy:
            copy.write("1\n")
            state.value = "x"
            session_settings.send_to_open_connections()
            copy.write("2\n")
        cursor.execute("SELECT count(*) FROM copied")
        assert cursor.fetchone() == (2,)
    assert on_server() == "x"


# Connections


def test_lost_connection_is_met_by_the_next_statement_and_not_before(state):
    pid = default.connection.info.backend_pid
    with default.connection.cursor() as cursor, pytest.raises(Exception, match="terminat"):
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    state.value = "x"
    session_settings.send_to_open_connections()
    with pytest.raises(OperationalError), default.cursor() as cursor:
        cursor.execute("SELECT 1")
    default.close()
    assert ask() == "x"


@pytest.fixture
def pooled(connection, monkeypatch):
    """Another alias of the database under test, whose connections come from a pool of one."""
    info = connection.connection.info
    database = {
        "ENGINE": "django.db.backends.postgresql", "NAME": info.dbname, "USER": info.user, "HOST": info.host,
        "PORT": info.port, "PASSWORD": info.password,
        "OPTIONS": {"pool": {"min_size": 1, "max_size": 1, "timeout": 5}},
    }  # fmt: skip
    monkeypatch.setitem(connections.settings, "pooled", database)
    connections.configure_settings(connections.settings)
    found = connections["pooled"]
    yield found
    found.close()
    found.close_pool()
    del connections["pooled"]


def settings_of_the_pool_s_connection(pooled):
    """What somebody finds who takes the connection from the pool."""
    with pooled.pool.connection(timeout=5) as raw:
        return raw.execute(f"SELECT coalesce(current_setting('{NAME}', true), '')").fetchone()[0]


@pytest.mark.parametrize("where", ["autocommit", "transaction", "transaction in error", "manual"])
def test_nothing_leaks_to_the_next_user_of_a_pooled_connection(state, pooled, where):
    state.value = "x"
    with pooled.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone()
        if where.startswith("transaction"):
            cursor.execute("BEGIN")
            state.value = "y"
            cursor.execute("SELECT 1")
        if where.endswith("error"):
            with pytest.raises(Exception, match="division"):
                cursor.execute("SELECT 1/0")
        if where == "manual":
            pooled.set_autocommit(False)
            cursor.execute("SELECT 1")
    pooled.close()
    assert settings_of_the_pool_s_connection(pooled) == ""
    with pooled.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone() == (pid,)
    assert on_server(pooled) == state.value


def test_other_thread_with_a_pooled_connection_has_its_own_state(state, pooled, monkeypatch):
    here = threading.get_ident()
    monkeypatch.setattr(
        session_settings,
        "_carried",
        [session_settings.Carried(NAME, lambda _alias: "x" if threading.get_ident() == here else "")],
    )
    with pooled.cursor() as cursor:
        cursor.execute("SELECT 1")
    assert on_server(pooled) == "x"
    pool = pooled.pool
    pooled.close()
    found = []

    def other():
        connections["pooled"].ensure_connection()
        found.append(on_server(connections["pooled"]))
        connections["pooled"].close()

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert found == [""]
    assert pooled.pool is pool


def test_persistent_connection_left_in_an_error_gets_the_settings(state):
    state.value = "x"
    with default.cursor() as cursor:
        cursor.execute("BEGIN")
        with pytest.raises(Exception, match="division"):
            cursor.execute("SELECT 1/0")
    state.value = ""
    session_settings.send_to_open_connections()
    default.rollback()
    assert on_server() == ""


def test_connection_has_one_session_however_often_it_is_opened(state):
    for _ in range(3):
        default.close()
        default.ensure_connection()
        assert len(sessions()) == 1
        assert default.execute_wrappers[0] is sessions()[0]


def test_new_connection_gets_the_settings(state):
    state.value = "x"
    assert ask() == "x"
    default.close()
    assert ask() == "x"


def test_statements_of_the_users_wrapper_have_the_settings(state):
    state.value = "x"
    seen = []

    def wrapper(execute, statement, params, many, context):
        seen.append(on_server())
        return execute(statement, params, many, context)

    with default.execute_wrapper(wrapper):
        ask()
    assert seen == ["x"]


def test_open_connections_get_the_settings_at_once(state):
    state.value = "x"
    session_settings.send_to_open_connections(["elsewhere"])
    assert on_server() == ""
    session_settings.send_to_open_connections()
    assert on_server() == "x"
    default.close()
    session_settings.send_to_open_connections()
    assert default.connection is None
