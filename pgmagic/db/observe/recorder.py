"""Every statement that passes through Django's cursors: guarded by a savepoint, and written down."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import psycopg
from django.db import Error as DatabaseFailure
from psycopg.pq import TransactionStatus

from pgmagic.db.observe.autocommit import LOST, RENEWAL, EmulatedAutocommit
from pgmagic.db.observe.instruments import Instruments, Observed
from pgmagic.db.observe.past_django import is_copied_in, watched_cursors
from pgmagic.db.observe.statements import (
    Executed,
    answers,
    ends_transaction,
    is_ddl,
    is_single,
    savepoint_command,
    target_of,
    text_of,
    verb_of,
)
from pgmagic.db.observe.written import Written, WrittenRows
from pgmagic.errors import CellError, DatabaseUnavailableError, PgMagicError

# Longer statements take their time anyhow, and are not remembered.
_LONGEST_REPEATED = 10_000

CLOSED = "The cell closed the database connection: nothing of it was kept."
_ENDED = (
    "A cell under %%pgoutcome is one transaction, so it may not say BEGIN, COMMIT or ROLLBACK: nothing of it was kept. "
    "Use `with transaction.atomic():`, or leave out %%pgoutcome."
)
_UNSEEN = (
    "A statement that went past Django failed and left the transaction in error: nothing of the cell was kept. "
    "Use `connection.cursor()`, whose statements are guarded one by one."
)


class Recorder:
    """An execute wrapper that guards and writes down statements.

    log: what was executed, in order. taken_back: what triggers did to rows that the cell itself rolled back.
    failure: why the cell cannot be kept, even if its own code catches the error.
    """

    def __init__(
        self, autocommit: EmulatedAutocommit, probing: Instruments[Any], written: WrittenRows
    ) -> None:
        self.autocommit = autocommit
        self.probing = probing
        self._written = written
        self.log: list[Executed] = []
        self.failure: PgMagicError | None = None
        # A count of events, which tells what came before and what behind a savepoint.
        self._clock = 0
        # (name, clock, length of the log) of each savepoint; the first is the one of the emulated transaction.
        self._savepoints: list[tuple[str, int, int]] = [("", 0, 0)]
        self.taken_back: list[Observed] = []
        # Statements that write rows, and that the server has understood.
        self._repeated: set[str] = set()
        # What the instruments had changed when the savepoint was last renewed.
        self._changes = 0
        # A statement is under way: what it makes psycopg execute is a part of it.
        self._is_guarding = False
        autocommit.before_undo = self._keep_observed
        autocommit.on_undo = lambda: self._undone(0)

    def __call__(
        self, execute: Callable[..., Any], statement: Any, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        """Execute a statement, guarded."""
        text = text_of(statement, self.autocommit.raw)
        command = savepoint_command(text)
        if command is not None:
            with self._savepoint(*command):
                return execute(statement, params, many, context)
        cursor = context["cursor"].cursor
        with self._guarded(text) as finish:
            if many or not self._may_be_longer(text, statement, cursor):
                result = execute(statement, params, many, context)
            else:
                result = execute(statement + RENEWAL, params, many, context)
                # Those of the renewal are nobody else's business.
                del cursor._results[-2:]
                self.autocommit.is_new = True
            finish(cursor, many)
            return result

    def _may_be_longer(self, text: str, statement: Any, cursor: Any) -> bool:
        """Return whether the savepoint can be renewed by the very message that holds a statement.

        That saves the server from waking up twice for each of a loop's statements. The text is known to be one that the
        server understands, and nobody looks at it: neither Django's log nor a function of the database.
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
        connection: Any = self.autocommit.connection
        connection.execute_wrappers.append(self)
        stack = ExitStack()
        stack.enter_context(watched_cursors(self.autocommit.raw, self))
        originals = {name: getattr(connection, name) for name in ("make_cursor", "make_debug_cursor")}
        own = {name: partial(self._with_copy, original) for name, original in originals.items()}
        vars(connection).update(own)
        try:
            yield
        finally:
            stack.close()
            for name in own:
                del vars(connection)[name]
            connection.execute_wrappers[:] = [
                wrapper for wrapper in connection.execute_wrappers if wrapper is not self
            ]

    def fail(self, failure: PgMagicError) -> PgMagicError:
        """Note that the cell cannot be kept, and return the error to raise."""
        self.failure = self.failure or failure
        return self.failure

    def check_connection(self) -> None:
        """Check that the cell still works on the connection, and in the transaction, that it began with.

        Raises:
            CellError, DatabaseUnavailableError: it does not.
        """
        if self.failure is not None:
            raise self.failure
        if self.autocommit.raw.closed:
            raise self.fail(
                DatabaseUnavailableError(LOST) if self.autocommit.raw.broken else CellError(CLOSED)
            )
        if self.autocommit.status == TransactionStatus.IDLE:
            raise self.fail(
                CellError(
                    "The cell ended its transaction behind Django's back: what it did before that is in the database, "
                    "as Postgres was told."
                )
            )

    def recover(self) -> None:
        """Leave a transaction in error that no guarded statement has brought about: a failed fetch, say.

        Raises:
            CellError: the last statement wrote, and going back to the savepoint would take its rows back.
        """
        if self.autocommit.status != TransactionStatus.INERROR or not self.autocommit.is_between:
            return
        _, _, start = self._savepoints[0]
        if any(executed.kind not in ("read", "rejected") for executed in self.log[start:]):
            raise self.fail(CellError(_UNSEEN))
        self.autocommit.undo()

    @contextmanager
    def _guarded(self, text: str) -> Iterator[Callable[[Any, bool], None]]:
        """Guard what the block executes; it calls what this yields with the psycopg cursor that has the answer."""
        self.autocommit.settle()
        self._is_guarding = True
        try:
            with self._guarded_statement(text) as finish:
                yield finish
        finally:
            self._is_guarding = False

    @contextmanager
    def _guarded_statement(self, text: str) -> Iterator[Callable[[Any, bool], None]]:
        self.check_connection()
        if ends_transaction(text):
            raise self.fail(CellError(_ENDED))
        self.recover()
        is_sound = self.autocommit.status == TransactionStatus.INTRANS
        if is_sound:
            self._clock += 1
            self.probing.prepare(text, self._clock)
        self._renew()
        if is_sound:
            self._written.before(text, self._clock, truncates=self.probing.may_empty(text))
        started = time.perf_counter()
        try:
            yield partial(self._executed, text, started)
        except (DatabaseFailure, psycopg.Error) as error:
            self._rejected(text, started, error)
            raise

    def _renew(self) -> None:
        if self.autocommit.is_between:
            self._count_written()
            if self.probing.changes != self._changes:
                self.autocommit.is_new = False
            self.autocommit.before_statement()
            self._renewed()

    def _count_written(self) -> None:
        if self.autocommit.status == TransactionStatus.INTRANS:
            self._written.before_savepoint()

    def _renewed(self) -> None:
        self._clock += 1
        self._savepoints = [("", self._clock, len(self.log))]

    def _executed(self, text: str, started: float, cursor: Any, many: bool) -> None:
        elapsed = (time.perf_counter() - started) * 1000
        table = target_of(text)
        for kind, rows, verb, relation in answers(cursor, many):
            self.log.append(
                Executed(
                    kind, rows, table, elapsed, relation, is_ddl=is_ddl(verb), verb=verb or verb_of(text)
                )
            )
            elapsed = 0.0
            if self.log[-1].is_ddl:
                self.probing.forget_catalog()
        if table is not None and len(text) < _LONGEST_REPEATED and is_single(text):
            self._repeated.add(text)
        self._changes = self.probing.changes
        if self.autocommit.renew_ahead():
            self._renewed()

    def _rejected(self, text: str, started: float, error: DatabaseFailure | psycopg.Error) -> None:
        elapsed = (time.perf_counter() - started) * 1000
        if self.autocommit.raw.closed:
            raise self.fail(DatabaseUnavailableError(LOST)) from None
        self.autocommit.after_error()
        self.log.append(Executed("rejected", None, target_of(text), elapsed, error=error))

    @contextmanager
    def _savepoint(self, what: str, name: str) -> Iterator[None]:
        """Guard a command on a savepoint of the user's own, most often one of `atomic`."""
        self.check_connection()
        if what == "set":
            self._renew()
            self._count_written()
        self._is_guarding = True
        try:
            yield
        except (DatabaseFailure, psycopg.Error) as error:
            self._rejected("", time.perf_counter(), error)
            raise
        finally:
            self._is_guarding = False
        names = [known for known, _, _ in self._savepoints]
        if what == "set":
            self._clock += 1
            self._savepoints.append((name, self._clock, len(self.log)))
        elif name in names:
            place = len(names) - 1 - names[::-1].index(name)
            if what == "undo":
                self._undone(place)
            del self._savepoints[place + (what == "undo") :]

    def _undone(self, place: int) -> None:
        """Note that everything since a savepoint was rolled back; probes that went with it are put back."""
        _, clock, start = self._savepoints[place]
        for executed in self.log[start:]:
            executed.undone = executed.kind in ("write", "command")
        self._clock += 1
        if self.autocommit.status == TransactionStatus.INTRANS:
            self._written.undone(clock)
        self.probing.undone(clock, self._clock)

    @contextmanager
    def guarded_past_django(self, statement: Any) -> Iterator[Callable[[Any, bool], None] | None]:
        """Guard a statement that did not come through Django's cursor; None stands for one of those that did."""
        if self._is_guarding:
            yield None
            return
        text = text_of(statement, self.autocommit.raw)
        command = savepoint_command(text)
        if command is not None:
            with self._savepoint(*command):
                yield None
            return
        with self._guarded(text) as finish:
            yield finish

    def take_written(self) -> list[Written]:
        """Return the rows that were written since the last call, table by table; nothing while that cannot be read."""
        if self.autocommit.status != TransactionStatus.INTRANS:
            return []
        if self._written.is_truncating and self.autocommit.renew_now():
            # Only behind the savepoint does a TRUNCATE begin the counts anew.
            self._renewed()
        return self._written.take()

    def note_copy(self, cursor: Any, *, writes: bool) -> None:
        """Correct what was noted of a COPY, which has no rows in its answer."""
        self.log[-1].kind = "write" if writes else "read"
        self.log[-1].rows = cursor.rowcount

    @contextmanager
    def block_past_django(self) -> Iterator[None]:
        """Note a block of psycopg's own `transaction()`: a savepoint of the user's, like one of `atomic`."""
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

    def _keep_observed(self) -> None:
        self.taken_back += self.probing.read()

    def _with_copy(self, make: Callable[[Any], Any], raw_cursor: Any) -> Any:
        """Return Django's cursor, whose `copy` and `callproc` pass through here, too."""
        cursor = make(raw_cursor)
        cursor.copy = partial(self._copy, cursor)
        cursor.callproc = partial(self._callproc, cursor, cursor.callproc)
        return cursor

    @contextmanager
    def _copy(self, cursor: Any, statement: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        text = text_of(statement, self.autocommit.raw)
        with self._guarded(text) as finish, self.autocommit.connection.wrap_database_errors:
            with cursor.cursor.copy(statement, *args, **kwargs) as copy:
                writes = is_copied_in(cursor.cursor)
                yield copy
            finish(cursor.cursor, False)
            self.note_copy(cursor.cursor, writes=writes)

    def _callproc(self, cursor: Any, callproc: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with self._guarded(f"CALL {args[0] if args else ''}") as finish:
            result = callproc(*args, **kwargs)
            finish(cursor.cursor, False)
            return result
