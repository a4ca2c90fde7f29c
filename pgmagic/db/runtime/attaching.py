"""Giving a connection of Django's its session, and noticing what passes no cursor: COMMIT, ROLLBACK and closing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper

from pgmagic.db.runtime.pooled import PooledSession
from pgmagic.db.runtime.session import ServerSession, session_of, tell_quietly

POOLER_SETTING = "PGMAGIC_TRANSACTION_POOLER"


def attach(connection: BaseDatabaseWrapper) -> None:
    """Give a new connection a session of its own; called whenever Django connects.

    With `PGMAGIC_TRANSACTION_POOLER = True`, or a list of databases, it is one for connections whose server session
    may change with every transaction.
    """
    former = session_of(connection)
    if former is not None:
        connection.execute_wrappers.remove(former)
    session = PooledSession(connection) if is_behind_pooler(connection.alias) else ServerSession(connection)
    # First among the wrappers: the outermost, so that what others execute is told, too.
    connection.execute_wrappers.insert(0, session)
    for name, hook in (("_commit", _commit), ("_rollback", _rollback), ("_close", _close)):
        # Who has put something of their own there, as a watched cell does, tells the session themselves.
        if name not in vars(connection):
            vars(connection)[name] = _hooked(connection, hook)
    tell_quietly(session)


def is_behind_pooler(alias: str) -> bool:
    """Return whether a database is reached through a pooler that changes server sessions between transactions."""
    pooled = getattr(settings, POOLER_SETTING, False)
    return pooled if isinstance(pooled, bool) else alias in pooled


def _hooked(connection: BaseDatabaseWrapper, hook: Callable[[Any, ServerSession], Any]) -> Callable[[], Any]:
    def call() -> Any:
        session = session_of(connection)
        if session is None or connection.connection is not session.raw or session.raw.closed:
            return getattr(type(connection), hook.__name__)(connection)
        return hook(connection, session)

    return call


def _commit(connection: Any, session: ServerSession) -> Any:
    session.before_end()
    try:
        return type(connection)._commit(connection)
    finally:
        session.after_end()


def _rollback(connection: Any, session: ServerSession) -> Any:
    try:
        return type(connection)._rollback(connection)
    finally:
        session.after_end()


def _close(connection: Any, session: ServerSession) -> Any:
    if connection.settings_dict.get("OPTIONS", {}).get("pool"):
        with suppress(Error):
            session.leave()
    return type(connection)._close(connection)


__all__ = ["POOLER_SETTING", "attach", "is_behind_pooler"]
