"""Giving a connection of Django's its session, and noticing what passes none of its wrappers."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

from django.conf import settings
from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper

from pgmagic.db.runtime import raw_cursors
from pgmagic.db.runtime.pooled import PooledSession
from pgmagic.db.runtime.session_settings import ServerSession, session_of, tell_quietly

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
    raw_cursors.follow(session)
    if "_close" not in vars(connection):
        vars(connection)["_close"] = partial(_close, connection)
    tell_quietly(session)


def is_behind_pooler(alias: str) -> bool:
    """Return whether a database is reached through a pooler that changes server sessions between transactions."""
    pooled = getattr(settings, POOLER_SETTING, False)
    return pooled if isinstance(pooled, bool) else alias in pooled


def _close(connection: Any) -> Any:
    session = session_of(connection)
    if session is not None and connection.connection is session.raw and not session.raw.closed:
        if connection.settings_dict.get("OPTIONS", {}).get("pool"):
            with suppress(Error):
                session.leave()
        raw_cursors.leave(session)
    return type(connection)._close(connection)


__all__ = ["POOLER_SETTING", "attach", "is_behind_pooler"]
