"""What the recipes are written with: a cell that declares and installs, and what must be rejected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from django.db import connection as default
from django.db import transaction
from psycopg import sql

from pgmagic.declare.model_registry import redeclaring
from pgmagic.errors import TriggerError
from tests.db.conftest import live  # noqa: F401
from tests.db.live import Live

Cell = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def cell(live: Live, request: pytest.FixtureRequest) -> Cell:  # noqa: F811
    """A `%%pgtrigger --app blog` cell: what its block declares is installed at its end."""

    @contextmanager
    def cell(*referred: Any) -> Iterator[None]:
        with redeclaring("blog", request.module.__name__) as declaration:
            with declaration.collecting():
                yield
            applied = live.apply(*referred, *declaration.models)
            assert applied.error is None, applied.error

    return cell


@contextmanager
def rejected(words: str) -> Iterator[None]:
    """A block that a trigger rejects in these words; it leaves no trace."""
    with pytest.raises(TriggerError, match=words), transaction.atomic():
        yield


def raw(statement: str, *params: Any) -> list[Any]:
    """Return the rows of a statement in raw SQL."""
    with default.cursor() as cursor:
        cursor.execute(statement, params or None)
        return cursor.fetchall() if cursor.description else []


def copy(model: Any, columns: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """Load rows with COPY, as bulk loaders do."""
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(model._meta.db_table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    # Django leaves the errors of `copy` to psycopg.
    with default.wrap_database_errors, default.cursor() as cursor, cursor.copy(statement) as rows_in:
        for row in rows:
            rows_in.write_row(row)
