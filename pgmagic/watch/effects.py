"""What a step wrote besides what its own statements report: cascades, other tables, functions called by a SELECT."""

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
    # Only CREATE TABLE AS, which makes a table with rows in it, counts as a statement that writes.
    "CREATE": Counts(inserted=1),
    "UPDATE": Counts(updated=1),
    "DELETE": Counts(deleted=1),
}


@dataclass(frozen=True)
class Effects:
    """What a step wrote.

    tagged: for each table that its own statements named, the rows that their tags counted, by what was asked for.
    named: the same tables, and how many rows in all. written: what the database counted. converted: how many deletes
    became updates.
    """

    tagged: Mapping[str, Counts]
    named: Mapping[str, int]
    written: Sequence[Written]
    converted: int = 0

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
        return "; ".join(f"in {written.name}: {_counts_text(written, None)}" for written in self.written)

    def lines(self) -> list[str]:
        """Return a line for each table if there are several, or for a table that got something else than asked for."""
        several = len(self.written) > 1
        found = []
        for written in self.written:
            named = [counts for table, counts in self.tagged.items() if table in written.names]
            tagged = reduce(Counts.plus, named) if named else None
            if tagged != written.counts or several or written.is_emptied:
                found.append(f"in {written.name}: {_counts_text(written, tagged)}")
        return found


def effects_of(counted: Iterable[Executed], observed: Iterable[Observed], written: Sequence[Written]) -> Effects:
    """Return what a step wrote. counted: its statements that were not undone; observed: of its own rows."""
    tagged: dict[str, Counts] = {}
    converted = 0
    named: dict[str, int] = {}
    for statement in counted:
        if statement.kind == "write" and statement.table:
            rows = statement.rows or 0
            one = _COUNTED.get(statement.verb, Counts())
            more = Counts(*(number * rows for number in one))
            tagged[statement.table] = tagged.get(statement.table, Counts()).plus(more)
            named[statement.table] = named.get(statement.table, 0) + rows
    for observation in observed:
        if observation.kind == "converted":
            converted += observation.rows
            former = tagged.get(observation.table, Counts())
            tagged[observation.table] = former.plus(Counts(updated=observation.rows))
            named[observation.table] = named.get(observation.table, 0) + observation.rows
    return Effects(tagged, named, written, converted)


def _counts_text(written: Written, tagged: Counts | None) -> str:
    """Return what the database counted for a table, in words. tagged: what the step's own statements counted."""
    counts = written.counts
    parts = ["emptied by TRUNCATE"] if written.is_emptied else []
    moved = min(counts.inserted, counts.deleted)
    if moved and written.is_partitioned and tagged is not None and tagged == Counts(updated=tagged.updated):
        # An UPDATE inserts and deletes where it moves a row to another partition.
        parts.append(f"{rows_text(moved)} moved to another partition")
        counts = counts.minus(Counts(moved, 0, moved))
    parts += [
        f"{rows_text(number)} {done}"
        for number, done in zip(counts, ("inserted", "updated", "deleted"), strict=True)
        if number
    ]
    bound = "" if written.is_exact or counts == tagged else "at most "
    unsure = " (what was rolled back may be among them)" if bound else ""
    return f"{bound}{', '.join(parts)}{unsure}"


def rows_text(number: int) -> str:
    """Return a number of rows in words."""
    return f"{number:,} row{'' if number == 1 else 's'}"
