"""The target for which SQL is compiled."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """The schema for which SQL is compiled; without a schema, the installing session's `search_path` decides."""

    schema: str | None = None
