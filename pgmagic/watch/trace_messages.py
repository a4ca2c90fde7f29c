"""The messages of traces, in the order in which they come, to what became of each trigger."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import psycopg

from pgmagic.db.catalog import describe_kind
from pgmagic.watch.reachable import LiveTrigger
from pgmagic.watch.trace_sql import TracedTrigger

NOT_IGNORED = "not ignored"
ENABLED = "the trigger is enabled"
FOR_REPLICAS = "session_replication_role is replica"
_SWALLOWED = "returned NULL: the row was swallowed"


@dataclass
class Considered:
    """A trigger that Postgres considered for a row, or for a statement.

    step: None at COMMIT. depth: 1 for what a statement of the cell fires, more for triggers that triggers fire.
    key: the row's primary key, column to value; None at statement level. fired: None where that is not known.
    clauses: the clauses of its condition, each with its truth value (None: NULL; a text: why it could not be
    evaluated). before, after: the columns that it changed, with their values. elapsed_ms: None where it did not fire,
    or did not return. notices: what it said, and what is to be said about it.
    """

    step: int | None
    depth: int
    table: str
    live: LiveTrigger
    traced: TracedTrigger
    operation: str
    key: dict[str, Any] | None
    fired: bool | None
    clauses: dict[str, bool | str | None]
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    elapsed_ms: float | None = None
    notices: list[str] = field(default_factory=list)

    @property
    def fires(self) -> str:
        """When it fires, in the words of CREATE TRIGGER."""
        deferral = f" · {self.traced.deferral}" if self.traced.deferral else ""
        return describe_kind(self.live.kind, list(self.traced.columns)) + deferral

    @property
    def row(self) -> Any:
        """The row's key: its value, or a dict where it has several columns; None where there is none."""
        values = list((self.key or {}).values())
        return values[0] if len(values) == 1 else self.key or None


@dataclass
class _Open:
    """A trigger that is under way: the row as it came, and whether the statement names its columns."""

    number: int
    considered: Considered
    row: dict[str, Any] | None
    listed: bool


class Timeline:
    """What became of each trigger, built up message by message.

    considered: in firing order. The triggers that are under way are a stack: those that are fired by a trigger come
    between its two messages.
    """

    def __init__(self) -> None:
        self.considered: list[Considered] = []
        self.step: int | None = None
        self._traced: dict[int, tuple[str, LiveTrigger, TracedTrigger]] = {}
        self._open: list[_Open] = []

    def add(self, table: str, live: LiveTrigger, traced: TracedTrigger) -> int:
        """Return the number under which messages will name a trigger."""
        number = len(self._traced) + 1
        self._traced[number] = (table, live, traced)
        return number

    def record(self, message: dict[str, Any]) -> None:
        """Take a message of a trace."""
        match message["place"]:
            case "before":
                self._close_down_to(message["depth"])
                self._begin(message)
            case "listed":
                for under_way in self._open:
                    under_way.listed |= under_way.number == message["trigger"]
            case "behind":
                self._end(message)

    def notice(self, line: str) -> bool:
        """Take a message of the server's for the trigger under way; return False if there is none."""
        firing = [under_way for under_way in self._open if _fires(under_way)]
        if not firing:
            return False
        firing[-1].considered.notices.append(line)
        return True

    def end_statement(self, error: BaseException | None) -> None:
        """Close what is still under way: triggers that raised the error, or swallowed their row."""
        cause = error if isinstance(error, psycopg.Error) else getattr(error, "__cause__", None)
        while self._open:
            under_way = self._open.pop()
            raised = isinstance(cause, psycopg.Error) and _raised(cause, under_way.considered)
            _finish(under_way, _error_line(cause) if raised else None)

    def _begin(self, message: dict[str, Any]) -> None:
        number = message["trigger"]
        table, live, traced = self._traced[number]
        texts = [clause.text for clause in traced.clauses]
        clauses: dict[str, bool | str | None] = dict(zip(texts, message["clauses"], strict=False))
        if clauses.get(NOT_IGNORED):
            # Which trigger is ignored is news, that one is not is none.
            del clauses[NOT_IGNORED]
        if traced.enabled == "D":
            clauses = {ENABLED: False, **clauses}
        elif traced.enabled == "R":
            clauses = {FOR_REPLICAS: message["enabled"], **clauses}
        considered = Considered(
            step=self.step, depth=message["depth"], table=table, live=live, traced=traced,
            operation=message["operation"], key=message.get("key"), fired=message["fired"], clauses=clauses,
        )  # fmt: skip
        self.considered.append(considered)
        listed = not traced.columns or message["operation"] != "UPDATE"
        self._open.append(_Open(number, considered, message.get("row"), listed))

    def _end(self, message: dict[str, Any]) -> None:
        place = next(
            (
                place
                for place in range(len(self._open) - 1, -1, -1)
                if self._open[place].number == message["trigger"]
                and self._open[place].considered.depth == message["depth"]
            ),
            None,
        )
        if place is None:
            return
        self._close_down_to(message["depth"] + 1)
        under_way = self._open.pop()
        considered = under_way.considered
        if not _fires(under_way):
            _finish(under_way, None)
            return
        considered.elapsed_ms = message["elapsed"] * 1000
        row = message.get("row")
        if under_way.row is not None and row is not None:
            changed = [column for column, value in row.items() if value != under_way.row.get(column)]
            considered.before = {column: under_way.row.get(column) for column in changed}
            considered.after = {column: row[column] for column in changed}

    def _close_down_to(self, depth: int) -> None:
        """Close the triggers of this depth, and of deeper ones, that did not come to their end."""
        while self._open and self._open[-1].considered.depth >= depth:
            _finish(self._open.pop(), None)


def _fires(under_way: _Open) -> bool:
    return bool(under_way.considered.fired) and under_way.listed


def _finish(under_way: _Open, error: str | None) -> None:
    """Note what is known of a trigger without a message behind it."""
    considered = under_way.considered
    if not under_way.listed:
        # Postgres did not even look at the condition: the statement names none of the trigger's columns.
        columns = ", ".join(under_way.considered.traced.columns)
        considered.fired = False
        considered.clauses = {f"the statement sets {columns}": False}
    elif considered.fired and error is not None:
        considered.notices.append(error)
    elif considered.fired and considered.traced.changes_row:
        considered.notices.append(_SWALLOWED)


def _raised(error: psycopg.Error, considered: Considered) -> bool:
    """Return whether an error came out of a trigger: its context names functions, if they are in PL/pgSQL."""
    if not considered.traced.changes_row or considered.traced.language != "plpgsql":
        # Nothing but an error keeps an AFTER trigger from coming to its end; in C, nobody says where it was.
        return True
    context = error.diag.context or ""
    return any(f" {name}()" in context for name in considered.live.function)


def _error_line(error: Any) -> str:
    return f"ERROR: {error.diag.message_primary or str(error).strip().partition(chr(10))[0]}"
