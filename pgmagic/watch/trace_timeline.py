"""From the messages of traces, in the order in which they arrive, to one row for each trigger that was considered."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict

import psycopg

from pgmagic.db.catalog import describe_kind
from pgmagic.watch.instruments import Observed
from pgmagic.watch.trace_frame import TraceRow
from pgmagic.watch.trace_sql import TracedTrigger
from pgmagic.watch.trigger_catalog import LiveTrigger

NOT_IGNORED = "not ignored"
ENABLED = "the trigger is enabled"
FOR_REPLICAS = "session_replication_role is replica"
_SWALLOWED = "returned NULL: the row was swallowed"


class TraceMessage(TypedDict):
    """The JSON of a message: which trigger, where in its course, and how deep among triggers that triggers fire."""

    trigger: int
    place: Literal["before", "listed", "after"]
    depth: int
    # Before the trigger, also these.
    fired: NotRequired[bool]
    clauses: NotRequired[list[bool | str | None]]
    enabled: NotRequired[bool]
    operation: NotRequired[str]
    key: NotRequired[dict[str, object]]
    # Before and after a trigger that may change the row.
    row: NotRequired[dict[str, object] | None]
    # After the trigger, in seconds.
    elapsed: NotRequired[float]


@dataclass
class _Open:
    """A trigger that is under way: its row in the trace, the table's row before it, and what is known of it.

    listed: whether the statement names one of the trigger's columns.
    """

    number: int
    entry: TraceRow
    live: LiveTrigger
    traced: TracedTrigger
    row: dict[str, object] | None
    listed: bool

    @property
    def fires(self) -> bool:
        """Whether its function is called."""
        return bool(self.entry.fired) and self.listed

    def finish(self, error: str | None = None) -> None:
        """Note what is known of a trigger after which no message came. error: what it raised."""
        if not self.listed:
            # Postgres did not even look at the condition: the statement names none of the trigger's columns.
            self.entry.fired = False
            self.entry.condition = {f"the statement sets {', '.join(self.traced.columns)}": False}
        elif self.entry.fired and error is not None:
            self.entry.notices.append(error)
        elif self.entry.fired and self.traced.changes_row:
            self.entry.notices.append(_SWALLOWED)

    def returned(self, message: TraceMessage) -> None:
        """Note how long the function took, and what it changed."""
        self.entry.elapsed_ms = message["elapsed"] * 1000
        before, row = self.row, message.get("row")
        if before is not None and row is not None:
            changed = [column for column, value in row.items() if value != before.get(column)]
            self.entry.before = {column: before.get(column) for column in changed} or None
            self.entry.after = {column: row[column] for column in changed} or None

    def raised(self, error: psycopg.Error) -> bool:
        """Return whether an error came from this trigger: its context names functions, if they are in PL/pgSQL."""
        if not self.traced.changes_row or self.traced.language != "plpgsql":
            # Only an error keeps an AFTER trigger from returning; of a function in C, Postgres gives no context.
            return True
        context = error.diag.context or ""
        return any(f" {name}()" in context for name in self.live.function)


class Timeline:
    """What became of each trigger, built up message by message.

    rows: in firing order. The triggers that are under way are a stack: those that a trigger fires come between its two
    messages.
    """

    def __init__(self) -> None:
        self.rows: list[TraceRow] = []
        self.step: int | None = None
        self._traced: dict[int, tuple[str, LiveTrigger, TracedTrigger]] = {}
        self._open: list[_Open] = []

    def add(self, table: str, live: LiveTrigger, traced: TracedTrigger) -> int:
        """Return the number by which messages will name a trigger."""
        number = len(self._traced) + 1
        self._traced[number] = (table, live, traced)
        return number

    def record(self, message: TraceMessage) -> None:
        """Record a message of a trace."""
        match message["place"]:
            case "before":
                self._close_down_to(message["depth"])
                self._begin(message)
            case "listed":
                for under_way in self._open:
                    under_way.listed |= under_way.number == message["trigger"]
            case "after":
                self._end(message)

    def notice(self, line: str) -> bool:
        """Record a message of the server for the trigger under way; return False if there is none."""
        firing = [under_way for under_way in self._open if under_way.fires]
        if not firing:
            return False
        firing[-1].entry.notices.append(line)
        return True

    def swallowed_inserts(self) -> list[Observed]:
        """Return what each trigger swallowed of the rows that the step under way inserted."""
        swallowed = Counter(
            (row.table, row.trigger)
            for row in self.rows
            if row.step == self.step and row.depth == 1 and "INSERT" in row.fires and _SWALLOWED in row.notices
        )
        return [
            Observed(table, "INSERT", "swallowed", (trigger,), 1, rows) for (table, trigger), rows in swallowed.items()
        ]

    def end_statement(self, error: BaseException | None) -> None:
        """Close what is still under way: triggers that raised the error, or swallowed their row."""
        cause = error if isinstance(error, psycopg.Error) else getattr(error, "__cause__", None)
        while self._open:
            under_way = self._open.pop()
            if isinstance(cause, psycopg.Error) and under_way.raised(cause):
                said = cause.diag.message_primary or str(cause).strip().partition("\n")[0]
                under_way.finish(f"ERROR: {said}")
            else:
                under_way.finish()

    def _begin(self, message: TraceMessage) -> None:
        number = message["trigger"]
        table, live, traced = self._traced[number]
        texts = [clause.text for clause in traced.clauses]
        clauses: dict[str, bool | str | None] = dict(zip(texts, message["clauses"], strict=False))
        if clauses.get(NOT_IGNORED):
            # A trigger is only reported as ignored, not as "not ignored".
            del clauses[NOT_IGNORED]
        if traced.enabled == "D":
            clauses = {ENABLED: False, **clauses}
        elif traced.enabled == "R":
            clauses = {FOR_REPLICAS: message["enabled"], **clauses}
        key = message.get("key") or {}
        values = list(key.values())
        deferral = f" · {traced.deferral}" if traced.deferral else ""
        entry = TraceRow(
            step=self.step,
            seq=len(self.rows) + 1,
            depth=message["depth"],
            table=table,
            trigger=live.uri,
            fires=describe_kind(live.kind, list(traced.columns)) + deferral,
            # A key of one column is shown as its value.
            row=values[0] if len(values) == 1 else key or None,
            fired=message["fired"],
            condition=clauses or None,
        )
        self.rows.append(entry)
        listed = not traced.columns or message["operation"] != "UPDATE"
        self._open.append(_Open(number, entry, live, traced, message.get("row"), listed))

    def _end(self, message: TraceMessage) -> None:
        if not any(
            under_way.number == message["trigger"] and under_way.entry.depth == message["depth"]
            for under_way in self._open
        ):
            return
        self._close_down_to(message["depth"] + 1)
        under_way = self._open.pop()
        if under_way.fires:
            under_way.returned(message)
        else:
            under_way.finish()

    def _close_down_to(self, depth: int) -> None:
        """Close the triggers of this depth, and of deeper ones, that did not return."""
        while self._open and self._open[-1].entry.depth >= depth:
            self._open.pop().finish()
