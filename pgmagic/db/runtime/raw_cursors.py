"""Statements that do not pass through Django: those of psycopg's own connection, `connection.connection`.

Django's wrappers do not see these cursors and transactions. So the connection makes cursors that send the settings that
the server does not have yet, and notice statements that change them. A cursor that somebody makes of psycopg's classes
by hand is not seen.

Source: https://www.psycopg.org/psycopg3/docs/api/connections.html#psycopg.Connection.cursor_factory
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from pgmagic.db.driver import DriverConnection
from pgmagic.db.runtime.session_settings import ServerSession, send_quietly

if TYPE_CHECKING:
    import psycopg
    from psycopg.rows import TupleRow

    Cursor = psycopg.Cursor[TupleRow]
    Params = Sequence[object] | Mapping[str, object]
else:
    # A mixin, whose classes get a class of psycopg's beside it.
    Cursor = object

Factory = TypeVar("Factory")

_FACTORIES = ("cursor_factory", "server_cursor_factory")
# The attribute of psycopg's connection, which a pool hands on, that holds the present session.
_SESSION = "pgmagic_session"


def follow(session: ServerSession) -> None:
    """Let the cursors and transactions of a session's connection ask the session; called whenever Django connects."""
    raw = session.raw
    setattr(raw, _SESSION, session)
    for name in _FACTORIES:
        setattr(raw, name, following(getattr(raw, name)))
    for name, around in (("commit", around_commit), ("rollback", around_rollback), ("transaction", around_transaction)):
        if name not in vars(raw):
            setattr(raw, name, functools.partial(around, raw, getattr(raw, name)))


def leave(session: ServerSession) -> None:
    """Forget a connection that is closed, or goes back to its pool."""
    if getattr(session.raw, _SESSION, None) is session:
        setattr(session.raw, _SESSION, None)


def _session_of(raw: DriverConnection) -> ServerSession | None:
    """Return the session that has settings to send; None while a pool has the connection, or under Django's cursor."""
    session: ServerSession | None = getattr(raw, _SESSION, None)
    if session is None or session.is_executing or session.is_quiet:
        return None
    return session if session.connection.connection is raw and not raw.closed else None


@functools.cache
def following(base: Factory) -> Factory:
    """Return a class of cursors that ask the session before each statement."""
    if not isinstance(base, type) or issubclass(base, _Following):
        # Nobody knows what a factory makes that is not a class of cursors.
        return base
    return cast("Factory", type(base.__name__, (_Following, base), {"__module__": base.__module__}))


class _Following(Cursor):
    """The part of a class of cursors that asks the session."""

    def execute(self, query: Any, params: Params | None = None, **options: Any) -> Self:
        session = _session_of(self.connection)
        if session is None:
            return super().execute(query, params, **options)
        with self._passing(session, query):
            return super().execute(query, params, **options)

    def executemany(self, query: Any, params_seq: Any, **options: Any) -> None:
        session = _session_of(self.connection)
        if session is None:
            return super().executemany(query, params_seq, **options)
        with self._passing(session, query):
            return super().executemany(query, params_seq, **options)

    def stream(self, *args: Any, **options: Any) -> Iterator[TupleRow]:
        self._send_settings()
        return super().stream(*args, **options)

    def copy(self, *args: Any, **options: Any) -> Any:
        self._send_settings()
        return super().copy(*args, **options)

    def _send_settings(self) -> None:
        session = _session_of(self.connection)
        if session is not None:
            send_quietly(session)

    @contextmanager
    def _passing(self, session: ServerSession, statement: object) -> Iterator[None]:
        send_quietly(session)
        try:
            yield
        finally:
            if session.notice(statement, self):
                send_quietly(session)


def around_commit(raw: DriverConnection, commit: Callable[[], None]) -> None:
    """Commit, with the settings sent before (for deferred triggers) and after."""
    session = _session_of(raw)
    if session is None:
        return commit()
    session.before_end()
    try:
        return commit()
    finally:
        session.after_end()


def around_rollback(raw: DriverConnection, rollback: Callable[[], None]) -> None:
    """Roll back, then send the settings."""
    try:
        return rollback()
    finally:
        session = _session_of(raw)
        if session is not None:
            session.after_end()


@contextmanager
def around_transaction(
    raw: DriverConnection,
    transaction: Callable[..., AbstractContextManager[psycopg.Transaction]],
    *args: object,
    **options: object,
) -> Iterator[psycopg.Transaction]:
    """Run a block of psycopg's own, then send the settings."""
    try:
        with transaction(*args, **options) as block:
            yield block
    finally:
        session = _session_of(raw)
        if session is not None:
            session.after_block()


__all__ = ["follow", "leave"]
