"""Two runs of one cell, compared: which verdicts differ, and which rows.

Rows are compared as they are at the end. The rows that a run inserts have keys of their own, since a sequence never
goes back: the n-th new row of a table counts as the n-th of the other run, and their keys as equal, also where other
rows refer to them. A time that lies within its own run counts as the time of the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeAlias

import pandas as pd

from pgmagic.watch.capture import Change, Image
from pgmagic.watch.outcome_frame import OutcomeRow
from pgmagic.watch.whatif_frame import WhatIfRow

# What both runs know a row by: its table and key, or its table, "new" and its place among the table's new rows.
Identity: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True)
class Run:
    """What a run of a cell did, and when it was."""

    outcomes: Sequence[OutcomeRow]
    changes: Sequence[Change]
    started: datetime
    ended: datetime


@dataclass
class _Row:
    """A row that a run wrote: as it was before (None: it was inserted), and as it is at the end."""

    first: Image | None
    last: Image | None
    key: tuple[str, ...]
    step: int


@dataclass
class _Rows:
    """The rows that a run wrote, by an identity that both runs share: their key, or their place among the new rows."""

    rows: dict[Identity, _Row] = field(default_factory=dict)
    now: dict[Identity, Identity] = field(default_factory=dict)
    inserted: dict[str, int] = field(default_factory=dict)

    def add(self, change: Change) -> None:
        """Add a change, in the order of the run."""
        if change.old is None:
            number = self.inserted[change.table] = self.inserted.get(change.table, 0) + 1
            identity: Identity = (change.table, "new", number)
        else:
            former = _place(change.table, change.key, change.old)
            identity = self.now.pop(former, former)
        row = self.rows.setdefault(identity, _Row(change.old, change.new, change.key, change.step))
        row.last, row.step = change.new, change.step
        if change.new is not None:
            self.now[_place(change.table, change.key, change.new)] = identity


def _place(table: str, key: Sequence[str], row: Image) -> Identity:
    values = [row[column] for column in key] or list(row.values())
    return (table, *map(repr, values))


def compare_runs(as_is: Run, what_if: Run, sources: Sequence[str]) -> list[WhatIfRow]:
    """Return what differs between two runs of one cell, verdicts and rows in the order of the steps.

    sources: the text of each step.
    """
    last = max(len(as_is.outcomes), len(what_if.outcomes)) + 1
    # The sort is stable: of each step, the verdict comes first.
    found: list[WhatIfRow] = []
    for step, (left, right) in enumerate(zip(as_is.outcomes, what_if.outcomes, strict=False), 1):
        one, other = _in_a_line(left), _in_a_line(right)
        if one != other:
            table = left.table or right.table
            found.append(WhatIfRow(step=step, table=table, field="verdict", as_is=one, what_if=other))
    found = sorted([*found, *_rows(as_is, what_if)], key=lambda difference: difference.step or last)
    return [
        replace(difference, statement=sources[difference.step - 1]) if difference.step else difference
        for difference in found
    ]


def _in_a_line(outcome: OutcomeRow) -> str:
    """Return a verdict with its rows, trigger and reason, in a line."""
    if outcome.verdict is None:
        return "no SQL"
    words: str = outcome.verdict
    if outcome.rows is not None and outcome.verdict not in ("rejected", "no rows"):
        words += f" {outcome.rows:,} row{'' if outcome.rows == 1 else 's'}"
    by = f" by {outcome.trigger}" if outcome.trigger else ""
    return f"{words}{by}{f': {outcome.reason}' if outcome.reason else ''}"


def _rows(as_is: Run, what_if: Run) -> Iterator[WhatIfRow]:
    left, right = _Rows(), _Rows()
    for rows, run in ((left, as_is), (right, what_if)):
        for change in run.changes:
            rows.add(change)
    compared = _Compared(as_is, what_if, _pairs(left, right))
    for identity in dict.fromkeys([*left.rows, *right.rows]):
        one, other = left.rows.get(identity), right.rows.get(identity)
        if written := one or other:
            yield from compared.differences(identity, written, one, other)


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
    """Two runs, and the pairs of keys that stand for the same row."""

    as_is: Run
    what_if: Run
    pairs: set[tuple[str, str]]

    def differences(
        self, identity: Identity, written: _Row, one: _Row | None, other: _Row | None
    ) -> Iterator[WhatIfRow]:
        """Yield what differs in a row. one, other: what each run made of it; written: what the first of them did."""
        # A run that did not write the row leaves it as the other one found it.
        left = one.last if one else written.first
        right = other.last if other else written.first
        difference = WhatIfRow(
            step=max(row.step for row in (one, other) if row), table=str(identity[0]), row=_shown_key(identity, written)
        )
        if left is not None and right is not None:
            for column in dict.fromkeys([*left, *right]):
                if not self._same(left.get(column), right.get(column)):
                    yield replace(difference, field=column, as_is=left.get(column), what_if=right.get(column))
        elif left is not right:
            yield replace(difference, as_is=pd.NA if left is None else left, what_if=pd.NA if right is None else right)

    def _same(self, left: object, right: object) -> bool:
        if left == right and type(left) is type(right):
            return True
        if (repr(left), repr(right)) in self.pairs:
            return True
        return _is_within(left, self.as_is) and _is_within(right, self.what_if)


def _shown_key(identity: Identity, row: _Row) -> object:
    """Return the key of a row as the frame shows it."""
    if identity[1:2] == ("new",):
        return f"new {identity[2]}"
    image = row.first or {}
    values = [image[column] for column in row.key]
    return values[0] if len(values) == 1 else dict(zip(row.key, values, strict=True)) or None


def _is_within(value: object, run: Run) -> bool:
    """Return whether a value is a time that passed while a run was under way."""
    if not isinstance(value, str) or len(value) < len("2024-01-01T00:00:00"):
        return False
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return False
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return run.started <= aware <= run.ended
