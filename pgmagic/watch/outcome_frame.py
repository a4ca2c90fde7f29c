"""The outcome frame: what Postgres made of each statement of a cell."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from pgmagic.tables.frame import ResultFrame

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
        verdict (string): the first of these that happened in the step: `rejected` (an error of the database),
            `suppressed` (a trigger or rule swallowed rows), `rewritten` (something else was stored than asked for),
            `applied`, `rolled back` (by the cell itself, or by a refused COMMIT), `no rows`, `read`; missing where the
            step issued no SQL.
        rows (Int64): how many rows its statements wrote, or read if it only read; where none of them says, as with a
            function that writes, those of all tables. Missing where Postgres did not say.
        table (string): the table that it was about; several are separated by commas, and one of another database than
            the cell's own has its alias before it, as in `other: item`. Missing where none is known.
        trigger (string): the URI of the trigger that decided, its name if pgmagic did not make it, or `rule NAME`;
            several are separated by commas. Missing where none did.
        reason (string): the database's message, or what was asked and what was stored; missing where there is nothing
            to say.
        elapsed_ms (float64): milliseconds in the database, without pgmagic's own statements; NaN where the step issued
            no SQL.

    Under a step (`attached`, the row's label to its lines): the server's messages, then what triggers did to rows that
    they wrote themselves, then the rows that the database counted in each table, as in `in comment: 3 rows deleted`, if
    they were several tables or not what was asked for. `notes`: what was seen of the cell as a whole, such as what
    could not be observed, and what COMMIT did.
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
