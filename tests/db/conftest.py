"""A schema in which models are declared and installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.db.live import Live


@pytest.fixture
def live(schema: str, connection: Any) -> Iterator[Live]:
    """A schema in which models can be declared and installed."""
    found = Live(schema, connection)
    yield found
    found.close()
