"""Giving a connection of Django's its session, and taking it away when the connection is closed."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

from django.conf import settings
from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper

from pgmagic.db.runtime import raw_cursors
from pgmagic.db.runtime.pooled import PooledSession
from pgmagic.db.runtime.session_settings import ServerSession, send_quietly, session_of

POOLER_SETTING = "PGMAGIC_TRANSACTION_POOLER"


def attach(connection: BaseDatabaseWrapper) -> None:
    """Give a new connection a session of its own; called whenever Django connects.

    With `PGMAGIC_TRANSACTION_POOLER = True`, or a list of databases, the session allows for a pooler that changes the
    server session with every transaction.
    """
    former = session_of(connection)
    if former is not None:
        connection.execute_wrappers.remove(former)
    session = PooledSession(connection) if is_behind_pooler(connection.alias) else ServerSession(connection)
    # The outermost of the wrappers, so that the settings also hold for what other wrappers execute.
    connection.execute_wrappers.insert(0, session)
    raw_cursors.follow(session)
    if "_close" not in vars(connection):
        vars(connection)["_close"] = partial(close, connection)
    send_quietly(session)


def is_behind_pooler(alias: str) -> bool:
    """Return whether a database is reached through a pooler that changes server sessions between transactions."""
    pooled = getattr(settings, POOLER_SETTING, False)
    return pooled if isinstance(pooled, bool) else alias in pooled


def close(connection: Any) -> None:
    """Close psycopg's connection, or give it back to its pool without the settings."""
    session = session_of(connection)
    if session is not None and connection.connection is session.raw and not session.raw.closed:
        if connection.settings_dict.get("OPTIONS", {}).get("pool"):
            with suppress(Error):
                session.leave()
        raw_cursors.leave(session)
    type(connection)._close(connection)


__all__ = ["POOLER_SETTING", "attach", "is_behind_pooler"]
