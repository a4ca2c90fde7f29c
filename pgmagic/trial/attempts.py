"""Attempts in a transaction that is rolled back: they ask the database what it says to a change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import psycopg
from django.core.exceptions import FieldError
from django.db import Error as DatabaseFailure
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from pgmagic.errors import CellError, DeclarationError
from pgmagic.watch.bystanders import LIMIT_LOCK_WAITS
from pgmagic.watch.rejections import Rejection, rejection
from pgmagic.watch.trigger_catalog import TriggerCatalog

T = TypeVar("T")


@dataclass(frozen=True)
class Refused:
    """Why the database refused a change, and the SQLSTATE of the error."""

    rejection: Rejection
    sqlstate: str | None


@dataclass(frozen=True)
class Done(Generic[T]):
    """A change that the database made, and the value that it returned."""

    value: T


class _RollBack(Exception):  # noqa: N818 - it leaves the transaction, and is no error
    """Leaves a transaction or a savepoint that is rolled back."""


def execute(connection: BaseDatabaseWrapper, statement: str) -> None:
    """Execute a statement without parameters."""
    with connection.cursor() as cursor:
        cursor.execute(statement)


@contextmanager
def nothing_kept(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Roll back what the block does to the database; inside a transaction, only what the block does.

    Raises:
        CellError: if the transaction that is open is in error.
    """
    if connection.in_atomic_block and connection.needs_rollback:
        raise CellError("The transaction that is open is in error: end it before something is tried.")
    with taken_back(connection):
        execute(connection, LIMIT_LOCK_WAITS)
        yield


@contextmanager
def taken_back(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Roll back what the block does, and go on in the same transaction."""
    try:
        with transaction.atomic(using=connection.alias):
            yield
            raise _RollBack
    except _RollBack:
        pass


@contextmanager
def errors_collected(connection: BaseDatabaseWrapper, failures: list[Exception]) -> Iterator[None]:
    """Roll back what the block does, and collect its errors in a list; those of the database are raised, too."""
    with taken_back(connection):
        execute(connection, LIMIT_LOCK_WAITS)
        try:
            yield
        except (DatabaseFailure, psycopg.Error) as error:
            failures.append(error)
            raise
        except (DeclarationError, FieldError, TypeError, ValueError, AttributeError) as error:
            # What cannot be ignored, and what Django makes of a row that a trigger swallowed.
            failures.append(error)


def attempt(
    connection: BaseDatabaseWrapper, change: Callable[[], T], catalog: TriggerCatalog | None, table: str
) -> Done[T] | Refused:
    """Make a change in a savepoint, fire what it deferred until COMMIT, and roll back; return what happened."""
    made: list[T] = []
    try:
        with taken_back(connection):
            made.append(change())
            execute(connection, "SET CONSTRAINTS ALL IMMEDIATE")
    except DatabaseFailure as error:
        cause = error.__cause__
        state = cause.sqlstate if isinstance(cause, psycopg.Error) else None
        return Refused(rejection(error, catalog, table), state)
    return Done(made[0])
