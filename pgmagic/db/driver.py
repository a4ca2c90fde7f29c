"""psycopg's connection under one of Django's: the one place where the untyped attribute gets its type."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.pq import TransactionStatus
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


def is_open(connection: BaseDatabaseWrapper) -> bool:
    """Return whether Django has connected, and the connection was neither closed nor lost."""
    return connection.connection is not None and not driver_connection(connection).closed


def transaction_status(connection: BaseDatabaseWrapper) -> TransactionStatus | None:
    """Return the state of the transaction as libpq knows it; None if Django has not connected."""
    if connection.connection is None:
        return None
    return driver_connection(connection).info.transaction_status


@contextmanager
def plain_cursor(connection: BaseDatabaseWrapper) -> Iterator[DriverCursor]:
    """Give a block a cursor that no wrapper of Django's or pgmagic's sees; its errors are still Django's."""
    with connection.wrap_database_errors, psycopg.Cursor(driver_connection(connection)) as cursor:
        yield cursor


def only_row(cursor: DriverCursor) -> TupleRow:
    """Return the row of a query that always returns one."""
    [row] = cursor.fetchall()
    return row
