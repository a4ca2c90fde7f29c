"""What a step wrote beside what its own statements say: cascades, other tables, statements that only seem to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from pgmagic.watch.instruments import Observed
from pgmagic.watch.statements import Executed
from pgmagic.watch.written import Counts, Written

_COUNTED = {
    "INSERT": Counts(inserted=1),
    "COPY": Counts(inserted=1),
    # Only what it has made with rows in it, CREATE TABLE AS, counts as a statement that writes.
    "CREATE": Counts(inserted=1),
    "UPDATE": Counts(updated=1),
    "DELETE": Counts(deleted=1),
}


@dataclass(frozen=True)
class Effects:
    """What a step wrote.

    told: of each table that its own statements named, the rows that their tags counted, by what was asked for.
    named: the same tables, and how many rows in all. written: what the database counted.
    """

    told: Mapping[str, Counts]
    named: Mapping[str, int]
    written: Sequence[Written]

    @property
    def own_tables(self) -> str:
        """The tables that the step wrote to by its own statements."""
        return ", ".join(table for table, rows in self.named.items() if rows)

    @property
    def tables(self) -> str:
        """All tables that it wrote to."""
        return ", ".join(written.name for written in self.written)

    @property
    def rows(self) -> int:
        """How many rows the database counted, in all tables."""
        return sum(sum(written.counts) for written in self.written)

    def done(self) -> str:
        """Return what was written to which table, in one line; the empty text if nothing was."""
        return "; ".join(f"in {written.name}: {_said(written, None)}" for written in self.written)

    def lines(self) -> list[str]:
        """Return a line for each table of which the step's own row does not say it all.

        That is every table if there are several, or one that got something else than what was asked for.
        """
        several = len(self.written) > 1
        found = []
        for written in self.written:
            told = self._told(written)
            if told != written.counts or several or written.is_emptied:
                found.append(f"in {written.name}: {_said(written, told)}")
        return found

    def _told(self, written: Written) -> Counts | None:
        told = [counts for table, counts in self.told.items() if table in written.names]
        return reduce(Counts.plus, told) if told else None


def effects_of(
    counted: Iterable[Executed], observed: Iterable[Observed], written: Sequence[Written]
) -> Effects:
    """Return what a step wrote. counted: its statements that were not undone; observed: of its own rows."""
    told: dict[str, Counts] = {}
    named: dict[str, int] = {}
    for statement in counted:
        if statement.kind == "write" and statement.table:
            rows = statement.rows or 0
            one = _COUNTED.get(statement.verb, Counts())
            more = Counts(*(number * rows for number in one))
            told[statement.table] = told.get(statement.table, Counts()).plus(more)
            named[statement.table] = named.get(statement.table, 0) + rows
    for observation in observed:
        if observation.kind == "converted":
            former = told.get(observation.table, Counts())
            told[observation.table] = former.plus(Counts(updated=observation.rows))
            named[observation.table] = named.get(observation.table, 0) + observation.rows
    return Effects(told, named, written)


def _said(written: Written, told: Counts | None) -> str:
    counts = written.counts
    parts = ["emptied by TRUNCATE"] if written.is_emptied else []
    moved = min(counts.inserted, counts.deleted)
    if moved and written.is_partitioned and told is not None and told == Counts(updated=told.updated):
        # An UPDATE inserts and deletes where it moves a row to another partition.
        parts.append(f"{_rows(moved)} moved to another partition")
        counts = counts.minus(Counts(moved, 0, moved))
    parts += [
        f"{_rows(number)} {done}"
        for number, done in zip(counts, ("inserted", "updated", "deleted"), strict=True)
        if number
    ]
    bound = "" if written.is_exact or counts == told else "at most "
    unsure = " (what was rolled back may be among them)" if bound else ""
    return f"{bound}{', '.join(parts)}{unsure}"


def _rows(number: int) -> str:
    return f"{number:,} row{'' if number == 1 else 's'}"
