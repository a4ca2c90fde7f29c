"""One transaction in which Django's connection behaves as it does in autocommit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from django.db import Error as DatabaseFailure
from django.db import IntegrityError, InternalError, transaction

from pgmagic.errors import CellError
from tests.watch.observing import REJECT, UPPER, outcome, trigger, watch


def test_atomic_block_of_the_user_is_a_transaction(connection: Any, execute: Any) -> None:
    """As in an ordinary cell: what fails inside takes the whole block back, and the block may be durable."""

    def step() -> None:
        with transaction.atomic(durable=True):
            execute("UPDATE item SET size = 50 WHERE id = 1")
            execute("UPDATE item SET size = 100 WHERE id = 2")

    cell = watch(connection, step, "SELECT size FROM item WHERE id = 1", "UPDATE item SET size = 9 WHERE id = 3")
    assert [(found.verdict, found.rows) for found in cell.outcomes] == [
        ("rejected", 0),
        ("read", 1),
        ("applied", 1),
    ]
    assert execute("SELECT size FROM item WHERE id < 4 ORDER BY id") == [(1,), (2,), (9,)]


def test_nested_atomic_takes_back_only_its_own_rows(connection: Any, execute: Any) -> None:
    execute(trigger("upper", "BEFORE UPDATE", UPPER))

    def step() -> None:
        with transaction.atomic():
            execute("UPDATE item SET name = 'one' WHERE id = 1")
            try:
                with transaction.atomic():
                    execute("UPDATE item SET name = 'two' WHERE id = 2")
                    execute("UPDATE item SET size = 100 WHERE id = 2")
            except IntegrityError:
                pass
            execute("UPDATE item SET name = 'three' WHERE id = 3")

    found = outcome(connection, step)
    assert (found.verdict, found.rows) == ("rejected", 2)
    assert found.reason.endswith('name: "one" → "ONE" (and 1 more row) by upper')
    assert execute("SELECT name FROM item WHERE id < 4 ORDER BY id") == [("ONE",), ("item 2",), ("THREE",)]


def test_needs_rollback_is_cleared_after_a_rejection(connection: Any, execute: Any) -> None:
    """In a block of Django's own, `atomic(savepoint=False)` would mark the whole cell as broken."""

    def step() -> None:
        for size in (100, 7):
            try:
                with transaction.atomic(savepoint=False):
                    execute("UPDATE item SET size = %s WHERE id = 1", [size])
            except IntegrityError:
                pass

    found = outcome(connection, step)
    assert (found.verdict, found.rows) == ("rejected", 1)
    assert execute("SELECT size FROM item WHERE id = 1") == [(7,)]


def test_manual_transactions_behave_as_usual(connection: Any, execute: Any) -> None:
    def step() -> None:
        transaction.set_autocommit(False)
        execute("UPDATE item SET size = 11 WHERE id = 1")
        transaction.commit()
        execute("UPDATE item SET size = 12 WHERE id = 2")
        transaction.rollback()
        transaction.set_autocommit(True)

    assert outcome(connection, step).rows == 1
    assert execute("SELECT size FROM item WHERE id < 3 ORDER BY id") == [(11,), (2,)]


def test_iterators_survive_rejections(connection: Any, execute: Any) -> None:
    """A server-side cursor stays open while the statements of a loop are rolled back one by one."""
    execute(trigger("no", "BEFORE DELETE", REJECT))
    seen = []

    def step() -> None:
        with connection.chunked_cursor() as cursor:
            cursor.execute("SELECT id FROM item ORDER BY id")
            while row := cursor.fetchone():
                seen.append(row[0])
                with suppress(InternalError):
                    execute("DELETE FROM item WHERE id = %s", [row[0]])

    assert outcome(connection, step).verdict == "rejected"
    assert seen == [1, 2, 3, 4, 5]


def test_block_left_open_is_rolled_back(connection: Any, execute: Any) -> None:
    def generator() -> Iterator[None]:
        with transaction.atomic():
            execute("UPDATE item SET size = 1 WHERE id = 2")
            yield

    left = generator()
    with pytest.raises(CellError, match="left a transaction open"):
        watch(connection, lambda: next(left))
    assert execute("SELECT size FROM item WHERE id = 2") == [(2,)]
    assert outcome(connection, "UPDATE item SET size = 3 WHERE id = 2").verdict == "applied"
    left.close()
    assert execute("SELECT size FROM item WHERE id = 2") == [(3,)]


def test_open_transaction_is_refused(connection: Any, execute: Any) -> None:
    with transaction.atomic(), pytest.raises(CellError, match="already open"):
        watch(connection, "SELECT 1")


def test_database_error_is_still_an_error_of_django(connection: Any, execute: Any) -> None:
    caught: list[BaseException] = []

    def step() -> None:
        try:
            execute("UPDATE item SET size = 100")
        except DatabaseFailure as error:
            caught.append(error)

    outcome(connection, step)
    assert isinstance(caught[0], IntegrityError)
    assert isinstance(caught[0].__cause__, psycopg.errors.CheckViolation)
