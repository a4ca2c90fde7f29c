"""A schema in which models are declared and installed, its two tables, and a second session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.db.conftest import execute, live  # noqa: F401


@pytest.fixture
def other(connection: Any, schema: str) -> Iterator[psycopg.Connection[Any]]:
    """A second session."""
    parameters = connection.get_connection_params()
    parameters.pop("cursor_factory", None)
    parameters.pop("context", None)
    with psycopg.connect(**parameters, autocommit=True) as second:
        second.execute(f'SET search_path TO "{schema}"')
        yield second
