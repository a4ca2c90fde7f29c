"""What SQL is compiled for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """What SQL is compiled for. Without a schema, names resolve by the `search_path` of the installing session."""

    schema: str | None = None
