"""The outcome frame: what Postgres made of each statement of a cell."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from pgmagic.frames.base import ResultFrame

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Verdict = Literal["applied", "rejected", "rewritten", "suppressed", "no rows", "read", "rolled back"]


@dataclass(frozen=True, kw_only=True, slots=True)
class OutcomeRow:
    """One statement and what came of it; `lines` are the server's messages, as in `NOTICE: checked`."""

    step: int
    statement: str
    verdict: Verdict | None = None
    rows: int | None = None
    table: str | None = None
    trigger: str | None = None
    reason: str | None = None
    elapsed_ms: float | None = None
    lines: Sequence[str] = ()


class OutcomeFrame(ResultFrame):
    """One row for each statement of a cell, in the order of execution.

    Columns:
        step (Int64): the number of the statement in the cell, from 1.
        statement (string): its source.
        verdict (string): `applied`, `rejected`, `rewritten`, `suppressed`, `no rows`, `read`, `rolled back`;
            missing where the step issued no SQL.
        rows (Int64): how many rows it wrote, or read; missing where Postgres did not say.
        table (string): the table that it was about.
        trigger (string): the URI of the trigger that decided; missing where none did.
        reason (string): the database's message, or what was asked and what was stored.
        elapsed_ms (float64): milliseconds in the database; NaN where the step issued no SQL.
    """

    columns_contract = MappingProxyType(
        {
            "step": "Int64",
            "statement": "string",
            "verdict": "string",
            "rows": "Int64",
            "table": "string",
            "trigger": "string",
            "reason": "string",
            "elapsed_ms": "float64",
        }
    )
    columns_roles = MappingProxyType(
        {"statement": "code", "verdict": "verdict", "rows": "count", "elapsed_ms": "duration"}
    )


def outcome_frame(
    rows: Iterable[OutcomeRow], *, caption: str | None = None, notes: Iterable[str] = ()
) -> OutcomeFrame:
    """Return the rows as an `OutcomeFrame`, in their order."""
    return OutcomeFrame.from_rows(rows, caption=caption, notes=notes)
