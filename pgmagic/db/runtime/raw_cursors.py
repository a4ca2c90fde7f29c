"""What goes past Django: the cursors and transactions of psycopg's own, `connection.connection`.

None of Django's wrappers sees them. So a connection is given cursors that tell the server what it does not know yet,
and notice what takes its settings away. A cursor that somebody makes of psycopg's classes by hand is not seen.

Source: https://www.psycopg.org/psycopg3/docs/api/connections.html#psycopg.Connection.cursor_factory
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pgmagic.db.runtime.session_settings import ServerSession, tell_quietly

_FACTORIES = ("cursor_factory", "server_cursor_factory")
# On psycopg's connection, which a pool hands on: the session that has it now.
_SESSION = "pgmagic_session"


def follow(session: ServerSession) -> None:
    """Let the cursors and transactions of a session's connection pass it; called whenever Django connects."""
    raw = session.raw
    setattr(raw, _SESSION, session)
    for name in _FACTORIES:
        setattr(raw, name, _following(getattr(raw, name)))
    for name, around in (("commit", _commit), ("rollback", _rollback), ("transaction", _transaction)):
        if name not in vars(raw):
            setattr(raw, name, functools.partial(around, raw, getattr(raw, name)))


def leave(session: ServerSession) -> None:
    """Let go of a connection that is closed, or goes back to its pool."""
    if getattr(session.raw, _SESSION, None) is session:
        setattr(session.raw, _SESSION, None)


def _session_of(raw: Any) -> ServerSession | None:
    """Return the session that has to be asked now; none while a pool has it, or under a cursor of Django's."""
    session: ServerSession | None = getattr(raw, _SESSION, None)
    if session is None or session.is_executing or session.is_quiet:
        return None
    return session if session.connection.connection is raw and not raw.closed else None


@functools.cache
def _following(base: Any) -> Any:
    """Return a class of cursors whose statements pass the session."""
    if not isinstance(base, type) or issubclass(base, _Following):
        # A factory that is no class of cursors makes what it will.
        return base
    return type(base.__name__, (_Following, base), {"__module__": base.__module__})


class _Following:
    """Goes with a class of psycopg's cursors."""

    connection: Any

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        session = _session_of(self.connection)
        if session is None:
            return super().execute(query, params, **options)  # type: ignore[misc]
        with self._passing(session, query):
            return super().execute(query, params, **options)  # type: ignore[misc]

    def executemany(self, query: Any, params_seq: Any, **options: Any) -> Any:
        session = _session_of(self.connection)
        if session is None:
            return super().executemany(query, params_seq, **options)  # type: ignore[misc]
        with self._passing(session, query):
            return super().executemany(query, params_seq, **options)  # type: ignore[misc]

    def stream(self, *args: Any, **options: Any) -> Any:
        self._tell()
        return super().stream(*args, **options)  # type: ignore[misc]

    def copy(self, *args: Any, **options: Any) -> Any:
        self._tell()
        return super().copy(*args, **options)  # type: ignore[misc]

    def _tell(self) -> None:
        session = _session_of(self.connection)
        if session is not None:
            tell_quietly(session)

    @contextmanager
    def _passing(self, session: ServerSession, statement: Any) -> Iterator[None]:
        tell_quietly(session)
        try:
            yield
        finally:
            if session.notice(statement, self):
                tell_quietly(session)


def _commit(raw: Any, commit: Callable[[], None]) -> None:
    session = _session_of(raw)
    if session is None:
        return commit()
    session.before_end()
    try:
        return commit()
    finally:
        session.after_end()


def _rollback(raw: Any, rollback: Callable[[], None]) -> None:
    try:
        return rollback()
    finally:
        session = _session_of(raw)
        if session is not None:
            session.after_end()


@contextmanager
def _transaction(raw: Any, transaction: Callable[..., Any], *args: Any, **options: Any) -> Iterator[Any]:
    try:
        with transaction(*args, **options) as block:
            yield block
    finally:
        session = _session_of(raw)
        if session is not None:
            session.after_block()


__all__ = ["follow", "leave"]
