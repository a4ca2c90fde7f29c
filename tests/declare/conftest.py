"""A registry of the test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pgmagic.declare import registry as triggers


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a test register what it likes; what is registered elsewhere is back afterwards."""
    monkeypatch.setattr(triggers, "_registry", {})
    monkeypatch.setattr(triggers, "_declared_with_model", set())
    monkeypatch.setattr(triggers, "_before_block", {})
    return
