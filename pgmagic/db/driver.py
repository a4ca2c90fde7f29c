"""psycopg's connection under one of Django's: the one place where the untyped attribute gets its type."""

from __future__ import annotations

from typing import TypeAlias

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.rows import TupleRow

DriverConnection: TypeAlias = "psycopg.Connection[TupleRow]"
"""psycopg's connection, as Django's backend makes it."""

DriverCursor: TypeAlias = "psycopg.Cursor[TupleRow]"
"""A cursor of psycopg's own, as `DriverConnection.cursor()` and `psycopg.Cursor(raw)` return it."""


def driver_connection(connection: BaseDatabaseWrapper) -> DriverConnection:
    """Return psycopg's connection of an open connection of Django's.

    Raises:
        TypeError: if the connection is not open, or not one of psycopg 3.
    """
    raw: object = connection.connection
    if not isinstance(raw, psycopg.Connection):
        raise TypeError(f"The connection {connection.alias!r} is not an open one of psycopg: {raw!r}.")
    return raw
