"""Attempts in a transaction that is given up, so that the database can be asked what it says to a change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from django.db import Error as DatabaseFailure
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from pgmagic.errors import CellError
from pgmagic.watch.bystanders import LIMIT_LOCK_WAITS
from pgmagic.watch.rejections import Rejection, rejection
from pgmagic.watch.trigger_catalog import TriggerCatalog


@dataclass(frozen=True)
class Attempt:
    """What became of an attempt: the value that it returned, or why the database refused.

    sqlstate: of the refusal.
    """

    value: Any = None
    refusal: Rejection | None = None
    sqlstate: str | None = None


class _GivenUp(Exception):  # noqa: N818 - it leaves the transaction, and is no error
    """Leaves a transaction, or a savepoint, that is not to be kept."""


@contextmanager
def nothing_kept(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Give up whatever the block does to the database; inside a transaction, only that.

    Raises:
        CellError: the transaction that is open already is in error.
    """
    if connection.in_atomic_block and connection.needs_rollback:
        raise CellError("The transaction that is open is in error: end it before something is tried.")
    try:
        with transaction.atomic(using=connection.alias):
            with connection.cursor() as cursor:
                cursor.execute(LIMIT_LOCK_WAITS)
            yield
            raise _GivenUp
    except _GivenUp:
        pass


@contextmanager
def taken_back(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Take back what the block does, and go on in the same transaction."""
    try:
        with transaction.atomic(using=connection.alias):
            yield
            raise _GivenUp
    except _GivenUp:
        pass


def attempt(
    connection: BaseDatabaseWrapper, change: Callable[[], Any], catalog: TriggerCatalog | None, table: str
) -> Attempt:
    """Make a change in a savepoint, with what it defers until COMMIT, and take it back; return what became of it."""
    found = Attempt()
    try:
        with taken_back(connection):
            value = change()
            with connection.cursor() as cursor:
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            found = Attempt(value=value)
    except DatabaseFailure as error:
        cause = error.__cause__
        state = cause.sqlstate if isinstance(cause, psycopg.Error) else None
        return Attempt(refusal=rejection(error, catalog, table), sqlstate=state)
    return found
