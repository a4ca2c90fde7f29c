"""A schema in which models are declared and installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.db.live import Live
from tests.history_support import history, history_schema  # noqa: F401
from tests.watch.observing import TABLE


@pytest.fixture
def live(schema: str, connection: Any) -> Iterator[Live]:
    """A schema in which models can be declared and installed."""
    found = Live(schema, connection)
    yield found
    found.close()


@pytest.fixture
def execute(connection: Any) -> Callable[..., Any]:
    """Return a function that executes SQL through Django's cursor, in a schema that has the two tables."""

    def run(sql: str, params: Any = None) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchall() if cursor.description else None

    run(TABLE)
    return run
