"""What the server was last told: told again exactly when it may have forgotten."""

from __future__ import annotations

import pytest
from django.db import connection as default
from django.db import transaction

from pgmagic.db.runtime import session
from pgmagic.db.runtime.session import ServerSession

NAME = "pgmagic.test_state"


class State:
    """A state of the test's own."""

    settings = (NAME,)
    value = ""

    def values(self, alias):
        return (self.value,)


@pytest.fixture
def state(connection, monkeypatch):
    """A state that every session carries."""
    found = State()
    monkeypatch.setattr(session, "_states", [found])
    return found


def on_server():
    with default.connection.cursor() as cursor:
        return cursor.execute(f"SELECT coalesce(current_setting('{NAME}', true), '')").fetchone()[0]


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


def test_value_is_told_once(state, monkeypatch):
    state.value = "x"
    ask()
    told = []
    monkeypatch.setattr(ServerSession, "_changed", _recording(ServerSession._changed, told))
    ask()
    assert told == [{}]


def _recording(original, told):
    def changed(self):
        told.append(original(self))
        return told[-1]

    return changed


def test_value_set_in_a_transaction_that_is_rolled_back_is_told_again(state):
    with pytest.raises(ZeroDivisionError), transaction.atomic():  # noqa: PT012
        state.value = "x"
        assert ask() == "x"
        raise ZeroDivisionError
    assert on_server() == ""
    assert ask() == "x"


def test_value_taken_back_in_a_transaction_that_is_rolled_back_is_taken_back_again(state):
    state.value = "x"
    ask()
    with pytest.raises(ZeroDivisionError), transaction.atomic():  # noqa: PT012
        state.value = ""
        assert ask() == ""
        raise ZeroDivisionError
    assert ask() == ""


def test_value_set_in_a_transaction_stays_behind_its_commit(state):
    with transaction.atomic():
        state.value = "x"
        ask()
    assert on_server() == "x"
    state.value = ""
    assert ask() == ""


def test_connection_has_one_session_however_often_it_is_opened(state):
    for _ in range(3):
        default.close()
        default.ensure_connection()
        assert len(sessions()) == 1
        assert default.execute_wrappers[0] is sessions()[0]


def test_new_connection_is_told_anew(state):
    state.value = "x"
    assert ask() == "x"
    default.close()
    assert ask() == "x"


def test_wrapper_of_the_users_is_told_for(state):
    state.value = "x"
    seen = []

    def wrapper(execute, statement, params, many, context):
        seen.append(on_server())
        return execute(statement, params, many, context)

    with default.execute_wrapper(wrapper):
        ask()
    assert seen == ["x"]


def test_open_connections_are_told_at_once(state):
    state.value = "x"
    session.tell_open_connections(["elsewhere"])
    assert on_server() == ""
    session.tell_open_connections()
    assert on_server() == "x"
    default.close()
    session.tell_open_connections()
    assert default.connection is None
