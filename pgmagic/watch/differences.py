"""Two runs of one cell, compared: which verdicts differ, and which rows.

Rows are compared as they are at the end. Rows that a run inserts have keys of its own, since a sequence never goes
back: the n-th new row of a table is taken for the n-th of the other run, their keys for equal, also where other rows
refer to them. A time that lies within its own run is taken for the time of the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from pgmagic.watch.capture import Change
from pgmagic.watch.verdicts import StepOutcome


class _Nothing:
    """Stands for a row that is not there."""

    def __repr__(self) -> str:
        return "nothing"


NOTHING = _Nothing()


@dataclass(frozen=True)
class Run:
    """What a run of a cell came to, and when it was."""

    outcomes: Sequence[StepOutcome]
    changes: Sequence[Change]
    started: datetime
    ended: datetime


@dataclass(frozen=True)
class Difference:
    """What differs between two runs: a verdict, a field of a row, or (field None) whether the row is there at all.

    step: in which it was written last. as_is, what_if: the values, NOTHING for a row that is not there.
    """

    step: int | None
    kind: Literal["verdict", "row"]
    table: str | None
    row: Any
    field: str | None
    as_is: Any
    what_if: Any


@dataclass
class _Row:
    """A row that a run wrote: as it was before (None: it was inserted), and as it is at the end."""

    first: dict[str, Any] | None
    last: dict[str, Any] | None
    key: tuple[str, ...]
    step: int


@dataclass
class _Rows:
    """The rows that a run wrote, by an identity that both runs share: their key, or their place among the new ones."""

    rows: dict[tuple[Any, ...], _Row] = field(default_factory=dict)
    now: dict[tuple[Any, ...], tuple[Any, ...]] = field(default_factory=dict)
    inserted: dict[str, int] = field(default_factory=dict)

    def add(self, change: Change) -> None:
        """Take a change in."""
        if change.old is None:
            number = self.inserted[change.table] = self.inserted.get(change.table, 0) + 1
            identity: tuple[Any, ...] = (change.table, "new", number)
        else:
            former = _place(change.table, change.key, change.old)
            identity = self.now.pop(former, former)
        row = self.rows.setdefault(identity, _Row(change.old, change.new, change.key, change.step))
        row.last, row.step = change.new, change.step
        if change.new is not None:
            self.now[_place(change.table, change.key, change.new)] = identity


def _place(table: str, key: Sequence[str], row: dict[str, Any]) -> tuple[Any, ...]:
    values = [row[column] for column in key] or list(row.values())
    return (table, *map(repr, values))


def compare_runs(as_is: Run, what_if: Run) -> list[Difference]:
    """Return what differs between two runs of one cell, verdicts and rows in the order of the steps."""
    found = [*_verdicts(as_is, what_if), *_rows(as_is, what_if)]
    last = max(len(as_is.outcomes), len(what_if.outcomes)) + 1
    return sorted(found, key=lambda difference: (difference.step or last, difference.kind != "verdict"))


def _verdicts(as_is: Run, what_if: Run) -> Iterator[Difference]:
    for step, (left, right) in enumerate(zip(as_is.outcomes, what_if.outcomes, strict=False), 1):
        if _said(left) != _said(right):
            yield Difference(
                step, "verdict", left.table or right.table, None, None, _said(left), _said(right)
            )


def _said(outcome: StepOutcome) -> str:
    """Return a verdict with what it is about, in a line."""
    if outcome.verdict is None:
        return "no SQL"
    rows = "" if outcome.rows is None else f" {outcome.rows:,} row{'' if outcome.rows == 1 else 's'}"
    words = f"{outcome.verdict}{'' if outcome.verdict in ('rejected', 'no rows') else rows}"
    by = f" by {outcome.trigger}" if outcome.trigger else ""
    return f"{words}{by}{f': {outcome.reason}' if outcome.reason else ''}"


def _rows(as_is: Run, what_if: Run) -> Iterator[Difference]:
    left, right = _Rows(), _Rows()
    for rows, run in ((left, as_is), (right, what_if)):
        for change in run.changes:
            rows.add(change)
    compared = _Compared(as_is, what_if, _pairs(left, right))
    for identity in dict.fromkeys([*left.rows, *right.rows]):
        one, other = left.rows.get(identity), right.rows.get(identity)
        yield from compared.differences(identity, one, other)


def _pairs(left: _Rows, right: _Rows) -> set[tuple[str, str]]:
    """Return the values of keys that stand for the same new row in both runs."""
    found = set()
    for identity, one in left.rows.items():
        other = right.rows.get(identity)
        if "new" in identity[1:2] and other and one.last and other.last:
            found |= {(repr(one.last[column]), repr(other.last[column])) for column in one.key}
    return found


@dataclass(frozen=True)
class _Compared:
    """Two runs, and the pairs of keys that are one and the same."""

    as_is: Run
    what_if: Run
    pairs: set[tuple[str, str]]

    def differences(
        self, identity: tuple[Any, ...], one: _Row | None, other: _Row | None
    ) -> Iterator[Difference]:
        """Yield what differs in a row that at least one of the runs wrote."""
        written: Any = one or other
        # A run that did not write the row leaves it as the other one found it.
        left = one.last if one else written.first
        right = other.last if other else written.first
        step = max(row.step for row in (one, other) if row)
        table = identity[0]
        row = _shown_key(identity, written)
        if left is None or right is None:
            if left is not right:
                sides = (NOTHING if side is None else side for side in (left, right))
                yield Difference(step, "row", table, row, None, *sides)
            return
        for column in dict.fromkeys([*left, *right]):
            if not self._same(left.get(column), right.get(column)):
                yield Difference(step, "row", table, row, column, left.get(column), right.get(column))

    def _same(self, left: Any, right: Any) -> bool:
        if left == right and type(left) is type(right):
            return True
        if (repr(left), repr(right)) in self.pairs:
            return True
        return _is_within(left, self.as_is) and _is_within(right, self.what_if)


def _shown_key(identity: tuple[Any, ...], row: _Row) -> Any:
    if identity[1:2] == ("new",):
        return f"new {identity[2]}"
    image: Any = row.first
    values = [image[column] for column in row.key]
    return values[0] if len(values) == 1 else dict(zip(row.key, values, strict=True)) or None


def _is_within(value: Any, run: Run) -> bool:
    """Return whether a value is a time that passed while a run was under way."""
    if not isinstance(value, str) or len(value) < len("2024-01-01T00:00:00"):
        return False
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return False
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return run.started <= aware <= run.ended
