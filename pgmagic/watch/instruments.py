"""Triggers of pgmagic on the tables of a watched cell: made before the first write, removed before COMMIT.

Source: https://www.postgresql.org/docs/current/explicit-locking.html
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from pgmagic.compile.sql import compose, literal, render
from pgmagic.db.driver import DriverConnection
from pgmagic.errors import CellError
from pgmagic.watch.bystanders import LOCK_TIMEOUT
from pgmagic.watch.driver_cursors import unwatched
from pgmagic.watch.probes import Event
from pgmagic.watch.statements import may_write
from pgmagic.watch.trigger_catalog import TriggerCatalog, read_trigger_catalog

_BEGIN = render(
    compose(
        "SAVEPOINT pgmagic_probing; SELECT set_config('pgmagic.lock_timeout', current_setting('lock_timeout'), true), "
        "set_config('lock_timeout', ", literal(LOCK_TIMEOUT), ", true);",
    )
)  # fmt: skip
_END = (
    "SELECT set_config('lock_timeout', current_setting('pgmagic.lock_timeout'), true); "
    "RELEASE SAVEPOINT pgmagic_probing"
)
_UNDO = "ROLLBACK TO SAVEPOINT pgmagic_probing; RELEASE SAVEPOINT pgmagic_probing"


@dataclass(frozen=True)
class Observed:
    """What triggers did to rows of one table.

    kind: `changed` (before it was stored), `swallowed` (never stored or deleted), `converted` (a delete that became an
    update). triggers: URI of the trigger that did it; several if their names left no room for probes. depth: 1 for
    rows of the cell's own statements, more for rows that triggers wrote. pairs: a few examples, column to
    [asked, stored]. sample: (compared, all) if only some of the step's rows were compared; `rows` counts those.
    """

    table: str
    event: Event
    kind: Literal["changed", "swallowed", "converted"]
    triggers: tuple[str, ...]
    depth: int
    rows: int
    pairs: tuple[dict[str, list[object]], ...] = ()
    sample: tuple[int, int] | None = None


class Instrumented(Protocol):
    """A table that is watched."""

    @property
    def name(self) -> str:
        """Its name, without its schema."""


T = TypeVar("T", bound=Instrumented)


@dataclass(frozen=True)
class _Dropped(Generic[T]):
    """What was on the tables when all of it was removed, and the clock of that moment."""

    clock: int
    probed: dict[int, tuple[T, int]]
    functions_since: int | None


class Instruments(ABC, Generic[T]):
    """What watches the tables of one cell: made before a statement that may write to them, removed before COMMIT.

    quietly: a block in which the server's notices are about pgmagic's own statements, and are left out.
    """

    # Named in messages.
    magic = "%%pgoutcome"

    def __init__(self, raw: DriverConnection, quietly: Callable[[], AbstractContextManager[None]]) -> None:
        self.raw = raw
        self._quietly = quietly
        self._catalog: TriggerCatalog | None = None
        # Tables that have probes, and the clock of the moment in which they got them.
        self._probed: dict[int, tuple[T, int]] = {}
        self._functions_since: int | None = None
        self._dropped: list[_Dropped[T]] = []
        self._unobserved: dict[int, str] = {}
        self._obstacles: dict[int, str] = {}
        self._prepared: set[str] = set()
        # How often the instruments were changed in the transaction: a rollback must not undo that.
        self.own_changes = 0

    @property
    def catalog(self) -> TriggerCatalog:
        """The triggers of the session's schemas; read once, and again after DDL."""
        if self._catalog is None:
            with self._quietly():
                self._catalog = read_trigger_catalog(self.raw)
        return self._catalog

    @property
    def status(self) -> TransactionStatus:
        """The state of the transaction; while psycopg's lock is held, no other command of pgmagic's is under way."""
        with self.raw.lock:
            return TransactionStatus(self.raw.info.transaction_status)

    @property
    def unobserved(self) -> list[str]:
        """A sentence for each table whose BEFORE ROW triggers could not be watched."""
        return list(self._unobserved.values())

    def why_unobserved(self, oid: int) -> str | None:
        """Return why a table could not be watched, None if it was or did not have to be."""
        return self._obstacles.get(oid)

    def prepare(self, statement: str, clock: int) -> None:
        """Put probes on the tables that a statement may write to, unless they have them."""
        if statement in self._prepared:
            return
        self._prepared.add(statement)
        writes = may_write(statement)
        if not writes and "(" not in statement:
            # No function is called either.
            return
        self._renew_changed(clock)
        for oid in sorted(self.reached(statement, writes)):
            if oid not in self._unobserved and (self.needs_others(oid, statement) or oid not in self._probed):
                self._probe(oid, self.tables[oid], clock)

    @property
    def functions_may_empty(self) -> bool:
        """Whether a function that a statement may reach, once that is prepared, executes a TRUNCATE."""
        return self._catalog is not None and self._catalog.has_truncating_functions

    def forget_catalog(self) -> None:
        """Read the catalog again before the next statement: the cell may have made, dropped or renamed triggers."""
        self._catalog = None
        self._prepared.clear()

    def undone(self, since: int, clock: int) -> None:
        """Put back the probes that a rollback to a savepoint of the moment `since` has removed."""
        self._take_up_dropped(since)
        if self._functions_since is not None and self._functions_since > since:
            self._functions_since = None
        lost = {oid: table for oid, (table, made) in self._probed.items() if made > since}
        if not lost:
            return
        # The rollback has also undone what was dropped or renamed since.
        self.forget_catalog()
        for oid in lost:
            del self._probed[oid]
        for oid, table in lost.items():
            self._probe(oid, self.tables.get(oid, table), clock)

    def _take_up_dropped(self, since: int) -> None:
        """Count as present again what was removed after a moment to which the transaction was rolled back."""
        later = [dropped for dropped in self._dropped if dropped.clock > since]
        if later:
            self._probed, self._functions_since = dict(later[0].probed), later[0].functions_since
            self._dropped = [dropped for dropped in self._dropped if dropped.clock <= since]
            self.forget_catalog()

    def note_written(self, tables: Set[str]) -> None:
        """Note the names of the tables that a step wrote to, in whatever way."""

    @abstractmethod
    def read(self) -> list[Observed]:
        """Return what was observed since the last call, without rows that were rolled back."""

    def remove(self) -> None:
        """Remove every probe; other sessions never saw one.

        Raises:
            CellError: if another session holds a table for too long.
        """
        if self._functions_since is not None:
            # The cell has ended: nothing is rolled back to an earlier moment.
            self._drop(0)

    def _drop(self, clock: int) -> None:
        try:
            self._execute_guarded(self.drop_sql() + ";")
        except errors.LockNotAvailable:
            tables = ", ".join(sorted(table.name for table, _ in self._probed.values()))
            raise CellError(
                f"Another session held {tables} for more than {LOCK_TIMEOUT}, so that the probes of {self.magic} could "
                f"not be taken off before COMMIT: nothing of the cell was kept. Run it again when that session is done."
            ) from None
        self._dropped.append(_Dropped(clock, dict(self._probed), self._functions_since))
        self._probed.clear()
        self._functions_since = None

    def _renew_changed(self, clock: int) -> None:
        """Remove all probes if the cell changed the triggers of a table that has probes."""
        tables = self.tables
        if all(tables.get(oid, table) == table for oid, (table, _) in self._probed.items()):
            return
        try:
            self._drop(clock)
        except psycopg.Error:
            for oid, (table, _) in self._probed.items():
                self._unobserved[oid] = (
                    f"{table.name}: its triggers changed while it was in use, so what they did may be missing."
                )

    def _probe(self, oid: int, table: T, clock: int) -> None:
        reason = self.obstacle(oid, table)
        if reason is None:
            functions = "" if self._functions_since else self.functions_sql()
            try:
                self._execute_guarded(f"{functions} {self.create_sql(oid, table)}")
            except psycopg.Error as error:
                reason = error.diag.message_primary or str(error)
            else:
                self._functions_since = self._functions_since or clock
                self._probed[oid] = (table, clock)
        if reason is not None:
            self._unobserved[oid] = self.unobserved_sentence(table, reason)
            self._obstacles[oid] = reason

    def _execute_guarded(self, statements: str) -> None:
        """Execute pgmagic's own statements, all or none, waiting for locks no longer than `LOCK_TIMEOUT`."""
        self.own_changes += 1
        with self._quietly(), unwatched(self.raw) as cursor:
            try:
                cursor.execute(f"{_BEGIN} {statements} {_END}", prepare=False)
            except psycopg.Error:
                cursor.execute(_UNDO, prepare=False)
                raise

    # What differs between the kinds of instruments.

    def needs_others(self, oid: int, statement: str) -> bool:
        """Return whether a table needs other instruments for a statement than it has."""
        return False

    @property
    @abstractmethod
    def tables(self) -> Mapping[int, T]:
        """The tables that can be watched, by oid."""

    @abstractmethod
    def reached(self, statement: str, writes: bool) -> Iterable[int]:
        """Return the tables that can be watched and that a statement may write to."""

    @abstractmethod
    def functions_sql(self) -> str:
        """Return the statements that make what the instruments of all tables share."""

    @abstractmethod
    def create_sql(self, oid: int, table: T) -> str:
        """Return the statements that put the instruments on a table."""

    @abstractmethod
    def drop_sql(self) -> str:
        """Return the statement that removes all of them."""

    @abstractmethod
    def obstacle(self, oid: int, table: T) -> str | None:
        """Return why a table cannot be watched, None if it can."""

    @abstractmethod
    def unobserved_sentence(self, table: T, reason: str) -> str:
        """Return what is not known about a table that cannot be watched."""


AnyInstruments: TypeAlias = Instruments[Any]
"""Instruments of any kind."""
