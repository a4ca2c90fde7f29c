"""The block that watches a cell: one transaction, one outcome for each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import psycopg
from django.db import Error as DatabaseFailure
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.pq import TransactionStatus

from pgmagic.db.observe.autocommit import LOST, EmulatedAutocommit, forget_settings, reset_transaction_state
from pgmagic.db.observe.bystanders import Path, give_up_with_client, other_threads_bounded
from pgmagic.db.observe.effects import Effects
from pgmagic.db.observe.instruments import Instruments, Observed
from pgmagic.db.observe.messages import Messages
from pgmagic.db.observe.past_django import unwatched
from pgmagic.db.observe.probing import Probing
from pgmagic.db.observe.recorder import Recorder
from pgmagic.db.observe.statements import Executed
from pgmagic.db.observe.verdicts import Rejection, StepOutcome, needs_catalog, rejection, step_outcome
from pgmagic.db.observe.written import WrittenRows
from pgmagic.errors import CellError, DatabaseUnavailableError, PgMagicError


class CellObserver:
    """Watches the steps of one cell.

    outcomes: one for each step that ended. notes: sentences about the cell as a whole.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.raw: Any = connection.connection
        self.messages, self.probing = self._instruments()
        self.autocommit = EmulatedAutocommit(connection)
        self.recorder = Recorder(self.autocommit, self.probing, WrittenRows(self.raw, self.messages.quietly))
        self.outcomes: list[StepOutcome] = []
        self.notes: list[str] = []
        self._names: dict[int, str] = {}

    def _instruments(self) -> tuple[Messages, Instruments[Any]]:
        """Return what takes the server's messages, and what watches the tables."""
        messages = Messages()
        return messages, Probing(self.raw, messages.quietly)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Watch one step. An error of the database that leaves it ends here; every other exception goes on."""
        start = len(self.recorder.log)
        self.recorder.taken_back.clear()
        error: DatabaseFailure | psycopg.Error | None = None
        try:
            yield
        except PgMagicError:
            raise
        except (DatabaseFailure, psycopg.Error) as failure:
            error = failure
        except Exception as failure:
            self._explain(failure, start)
            raise
        self.recorder.check_connection()
        self.recorder.recover()
        executed = self.recorder.log[start:]
        catalog = self.probing.catalog if needs_catalog(executed, error) else None
        outcome = step_outcome(
            executed,
            self._observed(executed),
            error,
            catalog,
            self.messages.take(),
            self.recorder.take_written(),
        )
        if outcome.verdict == "read" and outcome.table is None:
            outcome = replace(outcome, table=self._tables_read(executed))
        self.outcomes.append(outcome)

    def _observed(self, executed: Sequence[Executed]) -> list[Observed]:
        readable = self.autocommit.status == TransactionStatus.INTRANS
        return self.probing.read() if executed and readable else []

    def _tables_read(self, executed: Sequence[Executed]) -> str | None:
        """Return the tables that the first columns of the results come from."""
        oids = list(dict.fromkeys(statement.relation for statement in executed if statement.relation))
        if missing := [oid for oid in oids if oid not in self._names]:
            with self.messages.quietly(), unwatched(self.raw) as cursor:
                cursor.execute(
                    "SELECT oid::bigint, relname FROM pg_class WHERE oid = ANY (%s::oid[])", [missing]
                )
                self._names.update(cursor.fetchall())
        return ", ".join(self._names[oid] for oid in oids if oid in self._names) or None

    def _explain(self, failure: Exception, start: int) -> None:
        """Add to an error of the user's code what a trigger did just before: Django's own checks stumble over it.

        `create()` and `bulk_create()` fail without a word on the row that a trigger swallowed.
        """
        if self.recorder.failure is not None or self.raw.closed:
            return
        for observation in [*self.recorder.taken_back, *self._observed(self.recorder.log[start:])]:
            if observation.kind == "swallowed":
                by = ", ".join(observation.triggers) or "a trigger"
                failure.add_note(
                    f"pgmagic: {by} swallowed {observation.rows:,} row(s) of the {observation.event} on "
                    f"{observation.table} in this statement."
                )

    def finish(self) -> None:
        """Fire what is deferred until COMMIT, and take the probes off.

        Raises:
            _CommitRejectedError: a deferred trigger or constraint refused.
            CellError: the cell cannot be committed for a reason of its own.
        """
        self.recorder.check_connection()
        self.autocommit.check_closed()
        try:
            # What COMMIT does first: here a refusal can be told, also of a cell that is not to be kept.
            with self.connection.cursor() as cursor:
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except PgMagicError:
            raise
        except DatabaseFailure as error:
            raise _CommitRejectedError(rejection(error, self.probing.catalog)) from error
        effects = Effects({}, {}, self.recorder.take_written()).lines()
        self.notes += [f"At COMMIT: {line}" for line in [*self.messages.take(), *effects]]
        self.notes += self.probing.unobserved

    def roll_back(self, refusal: Rejection) -> None:
        """Note that COMMIT was refused, and that with it every written row is gone."""
        self.outcomes = [outcome.rolled_back(refusal) for outcome in self.outcomes]
        by = f" by {refusal.trigger}" if refusal.trigger else ""
        self.notes.append(f"COMMIT was rejected{by}, so nothing of this cell was kept: {refusal.reason}")


class _CommitRejectedError(Exception):
    """Leaves the transaction, which rolls back."""

    def __init__(self, refusal: Rejection) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class _NotKept(Exception):  # noqa: N818 - it leaves the transaction, and is no error
    """Leaves a transaction that is not to be kept."""


C = TypeVar("C", bound=CellObserver)


def observed(connection: BaseDatabaseWrapper, *, keep: bool) -> AbstractContextManager[CellObserver]:
    """Watch a block: what did its statements do? See `watched`."""
    return watched(CellObserver, connection, keep=keep)


@contextmanager
def watched(
    observer: Callable[[BaseDatabaseWrapper], C], connection: BaseDatabaseWrapper, *, keep: bool
) -> Iterator[C]:
    """Watch a block: everything in it is one transaction, committed at its end if `keep`, else rolled back.

    Inside, the connection behaves as it does in autocommit; a statement that the database refuses is rolled back by
    itself. An exception that leaves the block rolls everything back. The outcomes are complete behind the block.

    Raises:
        CellError: a transaction is already open, or the cell has made it impossible to go on.
        DatabaseUnavailableError: the connection was lost; nothing was kept.
    """
    # `django.db.connection` is a proxy; what is replaced below has to be replaced on the connection itself.
    connection = connections[connection.alias]
    _check_idle(connection)
    cell = observer(connection)
    outer = cell.raw.transaction()
    try:
        with _installed(cell), outer:
            give_up_with_client(cell.raw)
            path = Path(cell.raw)
            with _nothing_under_way(cell.autocommit):
                yield cell
            cell.finish()
            cell.notes += path.restore()
            if not keep:
                raise _NotKept
            cell.probing.remove()
    except _NotKept:
        cell.notes.append(_rolled_back_note(len(cell.autocommit.hooks)))
    except _CommitRejectedError as rejected:
        cell.roll_back(rejected.refusal)
    except psycopg.Error as error:
        if cell.raw.closed:
            raise DatabaseUnavailableError(LOST) from None
        cell.roll_back(rejection(error, None))
    else:
        _run_hooks(cell)


@contextmanager
def _nothing_under_way(autocommit: EmulatedAutocommit) -> Iterator[None]:
    """Give the connection up if the block leaves a command unfinished.

    Raises:
        CellError: it does, and no exception of its own says why.
    """
    abandoned = False
    try:
        yield
    finally:
        abandoned = autocommit.abandon_unfinished()
    if abandoned:
        raise CellError(
            "The cell left a COPY or a stream open, so nothing of it was kept: close it in the same cell."
        )


@contextmanager
def _installed(cell: CellObserver) -> Iterator[None]:
    """Let statements and messages pass through the observer; the connection is as before behind the block."""
    connection = cell.connection
    with ExitStack() as stack:
        stack.callback(_leave, connection, cell.raw)
        cell.raw.add_notice_handler(cell.messages)
        stack.callback(cell.raw.remove_notice_handler, cell.messages)
        stack.enter_context(other_threads_bounded(cell.notes))
        stack.enter_context(cell.autocommit.installed())
        stack.enter_context(cell.recorder.installed())
        yield


def _leave(connection: Any, raw: Any) -> None:
    """Bring Django's own record of the connection in line with the transaction that has just ended."""
    if connection.in_atomic_block or not connection.autocommit:
        reset_transaction_state(connection)
    if connection.connection is not raw:
        # The cell closed the connection and opened another one, under the rules of the emulated autocommit.
        connection.close()
    forget_settings(connection)


def _check_idle(connection: BaseDatabaseWrapper) -> None:
    connection.ensure_connection()
    raw: Any = connection.connection
    idle = raw.info.transaction_status == TransactionStatus.IDLE
    if connection.in_atomic_block or not connection.get_autocommit() or not idle:
        raise CellError("A transaction is already open on this connection: end it before a cell is watched.")


def _rolled_back_note(hooks: int) -> str:
    left_out = f" {hooks:,} on_commit hook{'s were' if hooks > 1 else ' was'} not run." if hooks else ""
    return f"--rollback: nothing of this cell was kept.{left_out}"


def _run_hooks(cell: CellObserver) -> None:
    """Run what `transaction.on_commit` was given; the rows are committed, so an error is noted and undoes nothing."""
    connection: Any = cell.connection
    connection.run_on_commit = cell.autocommit.hooks
    while connection.run_on_commit:
        _, hook, _ = connection.run_on_commit.pop(0)
        try:
            hook()
        except Exception as error:  # noqa: BLE001 - whatever the user's function raises
            name = getattr(hook, "__qualname__", repr(hook))
            cell.notes.append(
                f"The on_commit hook {name} raised {type(error).__name__}: {error}. The rows are kept."
            )
