"""Each change of a row that was stored in a watched cell, whether a statement made it or a trigger."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from psycopg.pq import TransactionStatus

from pgmagic.db.driver import DriverConnection
from pgmagic.watch.capture_sql import (
    MOST_CAPTURED,
    READ_CAPTURED,
    CapturedTable,
    begin_step,
    create_capture,
    create_functions,
    drop_captures,
)
from pgmagic.watch.driver_cursors import unwatched
from pgmagic.watch.instruments import AnyInstruments, Instruments, Observed
from pgmagic.watch.messages import Messages
from pgmagic.watch.probing import Probing
from pgmagic.watch.watched_cell import CellObserver

Image: TypeAlias = dict[str, object]
"""A row as JSON shows it: column to value."""


@dataclass(frozen=True)
class Change:
    """A change of one row that was stored. key: the columns of the table's primary key. old, new: by column."""

    step: int
    table: str
    key: tuple[str, ...]
    old: Image | None
    new: Image | None


class Capturing(Instruments[CapturedTable]):
    """Captures of the changes of all tables that a cell writes to."""

    magic = "%%pgwhatif"

    def read(self) -> list[Observed]:
        """Return nothing: the captured changes are read at the end of the cell."""
        return []

    def captured(self) -> list[Change]:
        """Return the changes that were not rolled back, in their order."""
        if self._functions_since is None:
            return []
        with self._quietly(), unwatched(self.raw) as cursor:
            cursor.execute(READ_CAPTURED, prepare=False)
            return [
                Change(step, table, tuple(json.loads(key)), json.loads(old or "null"), json.loads(new or "null"))
                for step, table, old, new, key in cursor.fetchall()
            ]

    @property
    def tables(self) -> Mapping[int, CapturedTable]:
        """The tables that store rows, by oid."""
        return {
            oid: CapturedTable(relation.schema, relation.name)
            for oid, relation in self.catalog.relations.items()
            if relation.rows
        }

    def reached(self, statement: str, writes: bool) -> Iterable[int]:
        """Return the tables that a statement may write to."""
        return self.catalog.reached(statement, writes) & self.tables.keys()

    def functions_sql(self) -> str:
        """Return the statements that make the function and the table of captured changes."""
        return create_functions()

    def create_sql(self, oid: int, table: CapturedTable) -> str:
        """Return the statement that captures the changes of a table."""
        return create_capture(table)

    def drop_sql(self) -> str:
        """Return the statement that removes all captures."""
        return drop_captures()

    def obstacle(self, oid: int, table: CapturedTable) -> str | None:
        """Return why the changes of a table cannot be captured, None if they can."""
        relation = self.catalog.relations.get(oid)
        return None if relation is None or relation.may_probe else "no TRIGGER privilege"

    def unobserved_sentence(self, table: CapturedTable, reason: str) -> str:
        """Return what is not known about a table without a capture."""
        return f"{table.name}: the rows that were written could not be compared ({reason})."


class _ProbingAndCapturing(Probing):
    """Probes, for the verdicts, and captures, for the rows."""

    def __init__(self, raw: DriverConnection, quietly: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__(raw, quietly)
        self.capturing = Capturing(raw, quietly)

    def prepare(self, statement: str, clock: int) -> None:
        super().prepare(statement, clock)
        with self._counted():
            self.capturing.prepare(statement, clock)

    def forget_catalog(self) -> None:
        super().forget_catalog()
        self.capturing.forget_catalog()

    def undone(self, since: int, clock: int) -> None:
        super().undone(since, clock)
        with self._counted():
            self.capturing.undone(since, clock)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count what the captures change in the transaction as changes of ours."""
        before = self.capturing.own_changes
        yield
        self.own_changes += self.capturing.own_changes - before

    @property
    def unobserved(self) -> list[str]:
        return [*super().unobserved, *self.capturing.unobserved]


class CellCapturer(CellObserver):
    """Watches what a cell's statements do, and each change of a row.

    changes: those that were not rolled back at the end; none if COMMIT would be refused.
    """

    probing: _ProbingAndCapturing

    def make_instruments(self) -> tuple[Messages, AnyInstruments]:
        """Return what takes the messages, and probes together with captures."""
        messages = Messages()
        self.changes: list[Change] = []
        return messages, _ProbingAndCapturing(self.raw, messages.quietly)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Watch one step; see `CellObserver.step`."""
        if self.probing.status == TransactionStatus.INTRANS:
            self.probing.own_changes += 1
            with self.messages.quietly(), unwatched(self.raw) as cursor:
                cursor.execute(begin_step(len(self.outcomes) + 1), prepare=False)
        with super().step():
            yield

    def finish(self) -> None:
        """Fire what is deferred until COMMIT, and read what was captured."""
        super().finish()
        self.changes = self.probing.capturing.captured()
        if len(self.changes) == MOST_CAPTURED:
            self.notes.append(f"Only the first {MOST_CAPTURED:,} changes of rows were compared.")
