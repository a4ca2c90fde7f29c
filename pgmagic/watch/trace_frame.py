"""Each trigger that Postgres considered, and why it did or did not fire: the rows of a trace, and the frame of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType

from pgmagic.tables.frame import ResultFrame


@dataclass(kw_only=True, slots=True)
class TraceRow:
    """One trigger that was considered for a row or a statement; see the columns of `TraceFrame`.

    It is filled in as the messages about the trigger arrive. notices: what the trigger said, and what is to be said
    about it.
    """

    step: int | None
    seq: int
    depth: int
    table: str
    trigger: str
    fires: str
    row: object = None
    fired: bool | None = None
    condition: dict[str, bool | str | None] | None = None
    before: dict[str, object] | None = None
    after: dict[str, object] | None = None
    elapsed_ms: float | None = None
    notices: list[str] = field(default_factory=list)
    lines: tuple[str, ...] = ()

    @property
    def notice(self) -> str | None:
        """The notices in one text, one on each line; None if there are none."""
        return "\n".join(self.notices) or None


class TraceFrame(ResultFrame):
    """One row for each trigger that Postgres considered for a row or a statement, in firing order.

    Columns:
        step (Int64): the number of the statement in the cell, from 1; missing for what fired at COMMIT.
        seq (Int64): the place in the firing order of the whole cell, from 1.
        depth (Int64): 1 for triggers of the cell's own statements, 2 for those that these fire, and so on.
        table (string): the table that was written to.
        trigger (string): its URI, or its name in Postgres if pgmagic did not make it.
        fires (string): when it fires, such as `BEFORE DELETE · ROW`.
        row (object): the row's primary key, a dict where it has several columns; None at statement level.
        fired (boolean): whether its function was called; NA where that is not known.
        condition (object): each clause of its condition, with True, False, None for NULL, or a text on why it could
            not be evaluated; None where it has no condition. A clause reads as it was declared where the live trigger
            is as declared, and as Postgres prints it everywhere else. A clause that begins with `or` is an
            alternative to those before it.
        before, after (object): the columns of the row that it changed, with their values; None where it changed none.
        elapsed_ms (float64): milliseconds in its function, those of the triggers that it fired included; NaN where it
            was skipped or did not return.
        notice (string): what it said (`NOTICE: …`), raised (`ERROR: …`), or that it swallowed the row; missing where
            there is nothing to report.

    Index: `line`, from 0. `notes`: the statements that were rejected, the server's messages that no trigger raised,
    what could not be traced, and what COMMIT did.
    """

    columns_contract = MappingProxyType(
        {
            "step": "Int64",
            "seq": "Int64",
            "depth": "Int64",
            "table": "string",
            "trigger": "string",
            "fires": "string",
            "row": "object",
            "fired": "boolean",
            "condition": "object",
            "before": "object",
            "after": "object",
            "elapsed_ms": "float64",
            "notice": "string",
        }
    )
    columns_roles = MappingProxyType(
        {"fired": "verdict", "condition": "clauses", "before": "pairs", "after": "pairs", "elapsed_ms": "duration"}
    )


trace_frame = TraceFrame.from_rows
"""Return the rows as a `TraceFrame`, in their order."""
