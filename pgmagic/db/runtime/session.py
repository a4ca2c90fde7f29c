"""What the server was last told about this task's state, for each connection.

A state - which triggers are ignored, which context is open - lives in a context variable; triggers read it from a
setting of the database session. The server is told when a block is entered and left, and again before a statement
whenever this task's state differs from what the connection was last told: two async tasks can share a connection,
and a rollback takes a setting back with it. No statement is rewritten.

Source: https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADMIN-SET (set_config)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql
from psycopg.pq import TransactionStatus

# Statements after which a session's settings may be others than those that it was told.
_FORGETTING = ("ROLLBACK", "ABORT", "COMMIT", "END", "RESET", "DISCARD")
_LONGEST = max(map(len, _FORGETTING))


class SessionState(Protocol):
    """A state of this task that triggers read from settings of the database session."""

    # The settings that carry it.
    settings: tuple[str, ...]

    def values(self, alias: str) -> tuple[str, ...]:
        """Return the present value of each setting for a database."""


_states: list[SessionState] = []


def carry(state: SessionState) -> None:
    """Carry a state to every database session from now on."""
    _states.append(state)


class ServerSession:
    """An execute wrapper that tells one connection's server what it does not know yet."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.told: dict[str, str] = {}
        # Whether `told` is what the server has: not so after a rollback.
        self.known = True

    def __call__(
        self, execute: Callable[..., Any], statement: Any, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        """Tell the server, then execute the statement."""
        self.tell()
        try:
            return execute(statement, params, many, context)
        finally:
            if _forgets(statement, context["cursor"]):
                self.known = False

    def tell(self) -> None:
        """Tell the server the settings whose values differ from what it was last told.

        In a transaction in error nothing can be told; the next statement behind its rollback tells it.
        """
        changed = self._changed()
        if not changed:
            return
        raw: Any = self.connection.connection
        if raw.info.transaction_status == TransactionStatus.INERROR:
            self.known = False
            return
        calls = sql.SQL(", ").join(
            sql.SQL("set_config({}, {}, false)").format(sql.Literal(name), sql.Literal(value))
            for name, value in changed.items()
        )
        with self.connection.wrap_database_errors, raw.cursor() as cursor:
            cursor.execute(sql.SQL("SELECT ") + calls)
        self.told.update(changed)
        self.known = True

    def forget(self) -> None:
        """Take nothing for granted about the server's settings."""
        self.known = False

    def _changed(self) -> dict[str, str]:
        return {
            name: value
            for state in _states
            for name, value in zip(state.settings, state.values(self.connection.alias), strict=True)
            if self._differs(name, value)
        }

    def _differs(self, name: str, value: str) -> bool:
        if self.known:
            # A server that was never told a setting has none, which reads like an empty one.
            return value != self.told.get(name, "")
        return bool(value) or name in self.told


def _forgets(statement: Any, cursor: Any) -> bool:
    """Return whether a session's settings may be others behind a statement that was executed."""
    if isinstance(statement, str):
        text = statement.lstrip()
        if not text.startswith(("-", "/")):
            return text[:_LONGEST].upper().startswith(_FORGETTING)
    # Behind a comment, or in an object of psycopg's: the server says what it was.
    return (cursor.statusmessage or "").startswith(_FORGETTING)


def attach(connection: BaseDatabaseWrapper) -> None:
    """Give a new connection a session of its own; called whenever Django connects."""
    for wrapper in [wrapper for wrapper in connection.execute_wrappers if isinstance(wrapper, ServerSession)]:
        connection.execute_wrappers.remove(wrapper)
    session = ServerSession(connection)
    # First among the wrappers: the outermost, so that what others execute is told, too.
    connection.execute_wrappers.insert(0, session)
    _forget_on_rollback(connection)


def tell_open_connections(aliases: Iterable[str] | None = None) -> None:
    """Tell the server of each connection that this thread holds open, of the given databases or of all."""
    for connection in connections.all(initialized_only=True):
        if connection.connection is None or (aliases is not None and connection.alias not in aliases):
            continue
        for wrapper in connection.execute_wrappers:
            if isinstance(wrapper, ServerSession):
                wrapper.tell()


def _forget_on_rollback(connection: BaseDatabaseWrapper) -> None:
    """Notice rollbacks that pass no cursor: those at the end of an outermost `atomic` block."""
    original = type(connection)._rollback  # type: ignore[attr-defined]

    def rollback() -> Any:
        try:
            return original(connection)
        finally:
            for wrapper in connection.execute_wrappers:
                if isinstance(wrapper, ServerSession):
                    wrapper.forget()

    connection._rollback = rollback  # type: ignore[attr-defined]
