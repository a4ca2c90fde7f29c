"""Every statement that the cell executes: guarded by a savepoint, and recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import psycopg
from django.db import Error as DatabaseFailure
from django.db.backends.utils import CursorWrapper
from psycopg.pq import TransactionStatus

from pgmagic.db.driver import DriverCursor
from pgmagic.db.driver_private import drop_last_results
from pgmagic.errors import CellError, DatabaseUnavailableError, PgMagicError
from pgmagic.watch.autocommit import LOST, RENEWAL, EmulatedAutocommit
from pgmagic.watch.driver_cursors import Finish, watched_cursors
from pgmagic.watch.instruments import AnyInstruments, Observed
from pgmagic.watch.missing_rows import inserts_among
from pgmagic.watch.statements import LONGEST_REMEMBERED, Executed, Facts, answers, facts_of, is_ddl, text_of
from pgmagic.watch.written import Written, WrittenRows

if TYPE_CHECKING:
    from psycopg.abc import Query

T = TypeVar("T")

_CLOSED = "The cell closed the database connection: nothing of it was kept."
_ENDED = (
    "A cell under this magic is one transaction, so it may not say BEGIN, COMMIT or ROLLBACK: nothing of it was kept. "
    "Use `with transaction.atomic():`, or leave out the magic."
)
_PIPELINE = "psycopg's pipeline mode cannot be watched: execute this in an ordinary cell"
_UNSEEN = (
    "A statement that did not pass through Django failed and left the transaction in error: nothing of the cell was "
    "kept. Use `connection.cursor()`, whose statements are guarded one by one."
)


class Recorder:
    """An execute wrapper that guards and records statements.

    log: what was executed, in order. taken_back: what triggers did to rows that the cell itself rolled back.
    failure: why the cell cannot be kept, even if its own code catches the error.
    """

    def __init__(self, autocommit: EmulatedAutocommit, probing: AnyInstruments, written: WrittenRows) -> None:
        self.autocommit = autocommit
        self.probing = probing
        self._written = written
        self.log: list[Executed] = []
        self.failure: PgMagicError | None = None
        # A count of events, which shows what came before and what after a savepoint.
        self._clock = 0
        # (name, clock, length of the log) of each savepoint; the first is that of the emulated transaction.
        self._savepoints: list[tuple[str, int, int]] = [("", 0, 0)]
        self.taken_back: list[Observed] = []
        # Statements that write rows, and that the server has understood.
        self._repeated: set[str] = set()
        # How often the instruments had been changed when the savepoint was last renewed.
        self._changes = 0
        # A statement is under way: what it makes psycopg execute is a part of it.
        self.is_guarding = False
        autocommit.before_undo = lambda: self.taken_back.extend(self.probing.read())
        autocommit.on_undo = lambda: self._undone(0)

    def __call__(
        self,
        execute: Callable[[str, object, bool, dict[str, CursorWrapper]], T],
        statement: str,
        params: object,
        many: bool,
        context: dict[str, CursorWrapper],
    ) -> T:
        """Execute a statement, guarded."""
        # The stubs do not know that psycopg's composed statements pass here, too.
        text = statement if type(statement) is str else text_of(statement, self.autocommit.raw)
        if params is not None and "%%" in text:
            # As the server gets it.
            text = text.replace("%%", "%")
        facts = facts_of(text)
        if facts.savepoint is not None:
            with self._savepoint(*facts.savepoint):
                return execute(statement, params, many, context)
        cursor = context["cursor"].cursor
        # As in `guarded_past_django`, without the cost of a block: the statements of a loop pass here.
        started = self._begin(text, facts)
        try:
            if many or not self._may_be_longer(text, statement, cursor):
                result = execute(statement, params, many, context)
            else:
                result = execute(statement + RENEWAL, params, many, context)
                # The results of the renewal are not the user's.
                drop_last_results(cursor, 2)
                self.autocommit.is_new = True
            self._executed(text, facts, started, cursor, many)
            return result
        except (DatabaseFailure, psycopg.Error) as error:
            self._rejected(facts, started, error)
            raise
        finally:
            self.is_guarding = False

    def _may_be_longer(self, text: str, statement: object, cursor: DriverCursor) -> bool:
        """Return whether the savepoint can be renewed by the same message that holds a statement.

        The server then wakes up once, not twice, for each statement of a loop. The server has understood the text
        before, and the text is not looked at: neither by Django's log nor by a function of the database.
        """
        return (
            text in self._repeated
            and isinstance(statement, str)
            and isinstance(cursor, psycopg.ClientCursor)
            and self.autocommit.is_between
            and not self.autocommit.connection.queries_logged
            and not self.probing.catalog.shows_queries
        )

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let the connection's cursors pass through here inside the block."""
        wrappers = self.autocommit.connection.execute_wrappers
        wrappers.append(self)
        with watched_cursors(self.autocommit.raw, self):
            try:
                yield
            finally:
                wrappers[:] = [wrapper for wrapper in wrappers if wrapper is not self]

    def fail(self, failure: PgMagicError) -> PgMagicError:
        """Note that the cell cannot be kept, and return the error to raise."""
        self.failure = self.failure or failure
        return self.failure

    def check_connection(self) -> None:
        """Check that the cell still works on the connection, and in the transaction, that it began with.

        Raises:
            CellError: if the cell closed the connection, or ended the transaction.
            DatabaseUnavailableError: if the connection is lost.
        """
        if self.failure is not None:
            raise self.failure
        if self.autocommit.raw.closed:
            raise self.fail(DatabaseUnavailableError(LOST) if self.autocommit.raw.broken else CellError(_CLOSED))
        if self.autocommit.status == TransactionStatus.IDLE:
            raise self.fail(
                CellError(
                    "The cell ended its transaction by a statement that was not recognized: what it did until then is "
                    "in the database."
                )
            )

    def recover(self) -> None:
        """Roll back after an error that did not come from a guarded statement, for example from a fetch.

        Raises:
            CellError: if the last statement wrote, since the rollback to the savepoint would take its rows back.
        """
        if self.autocommit.status != TransactionStatus.INERROR or not self.autocommit.is_between:
            return
        _, _, start = self._savepoints[0]
        if any(executed.kind not in ("read", "rejected") for executed in self.log[start:]):
            raise self.fail(CellError(_UNSEEN))
        self.autocommit.undo()

    def _begin(self, text: str, facts: Facts) -> float:
        """Prepare for a statement, and return the time at which it begins."""
        autocommit = self.autocommit
        autocommit.settle()
        self.is_guarding = True
        try:
            if autocommit.raw.pgconn.pipeline_status:
                raise psycopg.NotSupportedError(_PIPELINE)
            status = autocommit.raw.pgconn.transaction_status
            if self.failure is not None or status != TransactionStatus.INTRANS:
                self.check_connection()
                self.recover()
                status = autocommit.raw.pgconn.transaction_status
            if facts.ends_transaction:
                raise self.fail(CellError(_ENDED))
            is_sound = status == TransactionStatus.INTRANS
            if is_sound:
                self._clock += 1
                self.probing.prepare(text, self._clock)
            self._renew()
            if is_sound:
                self._written.before(
                    self._clock, empties=facts.empties or self.probing.functions_may_empty, catches=facts.catches
                )
        except BaseException:
            self.is_guarding = False
            raise
        return time.perf_counter()

    def _renew(self) -> None:
        if self.autocommit.is_between:
            self._count_written()
            if self.probing.own_changes != self._changes:
                self.autocommit.is_new = False
            self.autocommit.before_statement()
            self._renewed()

    def _count_written(self) -> None:
        if self._written.wants_reading and self.autocommit.status == TransactionStatus.INTRANS:
            self._written.before_savepoint()

    def _renewed(self) -> None:
        self._clock += 1
        self._savepoints = [("", self._clock, len(self.log))]

    def _executed(self, text: str, facts: Facts, started: float, cursor: DriverCursor, many: bool) -> None:
        elapsed = (time.perf_counter() - started) * 1000
        for kind, rows, verb, relation in answers(cursor, many):
            made = is_ddl(verb)
            self.log.append(
                Executed(kind, rows, facts.target, elapsed, relation, None, False, made, verb or facts.verb)
            )
            elapsed = 0.0
            if made:
                self.probing.forget_catalog()
        if facts.is_single and facts.target is not None and len(text) <= LONGEST_REMEMBERED:
            self._repeated.add(text)
        self._changes = self.probing.own_changes
        if self.autocommit.renew_ahead():
            self._renewed()

    def _rejected(self, facts: Facts, started: float, error: DatabaseFailure | psycopg.Error) -> None:
        elapsed = (time.perf_counter() - started) * 1000
        if self.autocommit.raw.closed:
            raise self.fail(DatabaseUnavailableError(LOST)) from None
        self.autocommit.after_error()
        self.log.append(Executed("rejected", None, facts.target, elapsed, error=error))

    @contextmanager
    def _savepoint(self, what: str, name: str) -> Iterator[None]:
        """Guard a command on a savepoint of the user's, usually of an `atomic` block."""
        self.check_connection()
        if what == "set":
            self._renew()
            self._count_written()
        names = [known for known, _, _ in self._savepoints]
        place = len(names) - 1 - names[::-1].index(name) if name in names else None
        if what == "undo" and place is not None:
            self._look_before_undo(place)
        self.is_guarding = True
        try:
            yield
        except (DatabaseFailure, psycopg.Error) as error:
            self._rejected(facts_of(""), time.perf_counter(), error)
            raise
        finally:
            self.is_guarding = False
        if what == "set":
            self._clock += 1
            self._savepoints.append((name, self._clock, len(self.log)))
        elif place is not None:
            if what == "undo":
                self._undone(place)
            del self._savepoints[place + (what == "undo") :]

    def _look_before_undo(self, place: int) -> None:
        """Read what triggers did to inserted rows before a savepoint takes that back, and with it what was observed."""
        _, _, start = self._savepoints[place]
        if self.autocommit.status == TransactionStatus.INTRANS and inserts_among(self.log[start:]):
            self.autocommit.before_undo()

    def _undone(self, place: int) -> None:
        """Note that everything since a savepoint was rolled back, and put back the probes that were removed by it."""
        _, clock, start = self._savepoints[place]
        for executed in self.log[start:]:
            executed.undone = executed.kind in ("write", "command")
        self._clock += 1
        if self.autocommit.status == TransactionStatus.INTRANS:
            self._written.undone(clock)
        self.probing.undone(clock, self._clock)

    @contextmanager
    def guarded_past_django(self, statement: Query) -> Iterator[Finish | None]:
        """Guard a statement that did not pass through Django; yield what takes the cursor with the answer.

        It yields None for a statement that passes through Django, and for a command on a savepoint.
        """
        if self.is_guarding:
            yield None
            return
        text = text_of(statement, self.autocommit.raw)
        facts = facts_of(text)
        if facts.savepoint is not None:
            with self._savepoint(*facts.savepoint):
                yield None
            return
        started = self._begin(text, facts)
        try:
            yield partial(self._executed, text, facts, started)
        except (DatabaseFailure, psycopg.Error) as error:
            self._rejected(facts, started, error)
            raise
        finally:
            self.is_guarding = False

    def take_written(self) -> list[Written]:
        """Return the rows that were written since the last call, table by table; nothing while that cannot be read."""
        if self.autocommit.status != TransactionStatus.INTRANS:
            return []
        if self._written.is_truncating and self.autocommit.renew_now():
            # A TRUNCATE begins the counts anew only after the savepoint is renewed.
            self._renewed()
        return self._written.take()

    def note_copy(self, cursor: DriverCursor, *, writes: bool) -> None:
        """Correct what was noted of a COPY, which has no rows in its answer."""
        self.log[-1].kind = "write" if writes else "read"
        self.log[-1].rows = cursor.rowcount

    @contextmanager
    def block_past_django(self) -> Iterator[None]:
        """Note a block of psycopg's own `transaction()`: a savepoint of the user's, as an `atomic` block is."""
        self.check_connection()
        self._renew()
        self._count_written()
        place = len(self._savepoints)
        self._clock += 1
        self._savepoints.append(("", self._clock, len(self.log)))
        self.autocommit.raw_blocks += 1
        try:
            yield
        except BaseException:
            if not self.autocommit.raw.closed:
                self._undone(place)
            raise
        finally:
            self.autocommit.raw_blocks -= 1
            del self._savepoints[place:]
