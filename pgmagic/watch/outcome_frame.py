"""What Postgres made of each step of a run: the rows of an outcome, and the frame of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from pgmagic.tables.frame import ResultFrame

if TYPE_CHECKING:
    from pgmagic.watch.rejections import Rejection

Verdict = Literal["applied", "rejected", "rewritten", "suppressed", "no rows", "read", "rolled back"]

VERDICTS: tuple[Verdict, ...] = (
    "rejected", "suppressed", "rewritten", "applied", "rolled back", "no rows", "read",
)  # fmt: skip
"""If several things happened in a step, its verdict is the first of them in this order."""

ROLLED_BACK_BY_CELL = "the cell itself rolled it back"


@dataclass(frozen=True, kw_only=True, slots=True)
class OutcomeRow:
    """One step and what it did to the database; see the columns of `OutcomeFrame`.

    messages: the server's, as in `NOTICE: checked`. effects: what triggers did to rows that they wrote themselves, and
    what was written to each table, where the other fields do not say it. raised: what Django raised over a row that a
    trigger swallowed.
    """

    step: int = 1
    statement: str = ""
    verdict: Verdict | None = None
    rows: int | None = None
    table: str | None = None
    trigger: str | None = None
    reason: str | None = None
    elapsed_ms: float | None = None
    messages: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()
    raised: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """What is shown under the step."""
        return (*self.messages, *self.effects, *self.raised)

    def taken_back(self) -> OutcomeRow:
        """Return the outcome of a step whose rows a later step has rolled back."""
        if self.verdict not in ("applied", "rewritten"):
            return self
        return replace(self, verdict="rolled back", rows=0, trigger=None, reason=ROLLED_BACK_BY_CELL, effects=())

    def rolled_back(self, refusal: Rejection) -> OutcomeRow:
        """Return the outcome of a step whose rows a rejected COMMIT, or an exception after it, has taken back."""
        if self.verdict not in ("applied", "rewritten"):
            return replace(self, effects=())
        return replace(self, verdict="rolled back", trigger=refusal.trigger, reason=refusal.reason, effects=())


class OutcomeFrame(ResultFrame):
    """One row for each statement of a cell, in the order of execution.

    Columns:
        step (Int64): the number of the statement in the cell, from 1.
        statement (string): its source.
        verdict (string): the first of these that happened in the step: `rejected` (an error of the database),
            `suppressed` (a trigger or rule swallowed rows), `rewritten` (something else was stored than asked for),
            `applied`, `rolled back` (by the cell itself, by a refused COMMIT, or by an error in a later step),
            `no rows`, `read`; missing where the step issued no SQL.
        rows (Int64): how many rows its statements wrote, or read if it only read. If Postgres reports no number for
            the statements, as for a call of a function that writes: the rows written to all tables. Missing where
            Postgres reports no number at all.
        table (string): the table that the step wrote to or read; several are separated by commas, and a table of
            another database has that database's alias before it, as in `other: item`. Missing where none is known.
        trigger (string): the URI of the trigger that decided, its name if pgmagic did not make it, or `rule NAME`;
            several are separated by commas. Missing where no trigger or rule decided.
        reason (string): the database's message, or what was asked and what was stored; missing where there is nothing
            to report.
        elapsed_ms (float64): milliseconds in the database, without pgmagic's own statements; NaN where the step issued
            no SQL.

    Index: `line`, from 0.

    Under a step (`attached`, the row's label to its lines): the server's messages, then what triggers did to rows that
    they wrote themselves, then the rows that the database counted in each table, as in `in comment: 3 rows deleted`, if
    they are in several tables or are not what was asked for, then what Django raised over a row that was swallowed,
    which ends the statement but not the cell. `notes`: what was seen of the cell as a whole, such as
    what could not be observed, and what COMMIT did.
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


outcome_frame = OutcomeFrame.from_rows
"""Return the rows as an `OutcomeFrame`, in their order."""
