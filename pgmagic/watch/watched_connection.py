"""One connection of a cell: what watches it, and what it says about each step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import psycopg
from django.db import Error as DatabaseFailure
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.pq import TransactionStatus

from pgmagic.db.driver import driver_connection
from pgmagic.errors import CellError, PgMagicError
from pgmagic.watch.autocommit import EmulatedAutocommit, forget_settings, reset_transaction_state
from pgmagic.watch.driver_cursors import unwatched
from pgmagic.watch.effects import Effects
from pgmagic.watch.instruments import AnyInstruments, Observed
from pgmagic.watch.messages import Messages
from pgmagic.watch.missing_rows import inserts_among, is_over_missing_row, what_django_raised
from pgmagic.watch.outcome_frame import OutcomeRow
from pgmagic.watch.probing import Probing
from pgmagic.watch.recorder import Recorder
from pgmagic.watch.rejections import Rejection, rejection
from pgmagic.watch.statements import Executed
from pgmagic.watch.verdicts import needs_catalog, step_outcome
from pgmagic.watch.written import WrittenRows


class CommitRejectedError(Exception):
    """Leaves a transaction, which rolls it back: a deferred trigger or constraint was refused."""

    def __init__(self, refusal: Rejection) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class WatchedConnection:
    """Watches what passes through one connection, step by step, in one transaction."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.raw = driver_connection(connection)
        self.messages, self.probing = self.make_instruments()
        self.autocommit = EmulatedAutocommit(connection)
        self.written = WrittenRows(self.raw, self.messages.quietly)
        self.recorder = Recorder(self.autocommit, self.probing, self.written)
        self._names: dict[int, str] = {}
        # Where the step under way begins in the recorder's log.
        self._start = 0

    def make_instruments(self) -> tuple[Messages, AnyInstruments]:
        """Return what takes the server's messages, and what watches the tables."""
        messages = Messages()
        return messages, Probing(self.raw, messages.quietly)

    def check_idle(self) -> None:
        """Check that no transaction is under way.

        Raises:
            CellError: if a transaction is under way.
        """
        idle = self.raw.info.transaction_status == TransactionStatus.IDLE
        if self.connection.in_atomic_block or not self.connection.get_autocommit() or not idle:
            raise CellError("A transaction is already open on this connection: end it before a cell is watched.")

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let statements and messages pass through here; after the block, the connection is as before."""
        self.raw.add_notice_handler(self.messages)
        try:
            with self.autocommit.installed(), self.recorder.installed():
                yield
        finally:
            self.raw.remove_notice_handler(self.messages)
            # Django's own record of the connection has to agree with the transaction that has just ended.
            if self.connection.in_atomic_block or not self.connection.autocommit:
                reset_transaction_state(self.connection)
            if self.connection.connection is not self.raw:
                # The cell closed the connection and opened another, under the rules of the emulated autocommit.
                self.connection.close()
            forget_settings(self.connection)

    def begin_step(self) -> None:
        """Note that a step begins."""
        self._start = len(self.recorder.log)
        self.recorder.taken_back.clear()

    @property
    def has_rejections(self) -> bool:
        """Whether a statement of the step under way was rejected."""
        return any(statement.error is not None for statement in self.recorder.log[self._start :])

    def end_step(
        self, error: DatabaseFailure | psycopg.Error | None, missed: BaseException | None = None
    ) -> OutcomeRow:
        """Return what the step did here.

        error: the error that left the step, if it came from this database. missed: the error that Django raised over a
        row that did not come back from this database.
        """
        self.recorder.check_connection()
        self.recorder.recover()
        executed = self.recorder.log[self._start :]
        catalog = self.probing.catalog if needs_catalog(executed, error) else None
        observed = self._observed(executed)
        short = []
        if missed is not None:
            short = inserts_among(executed)
            observed = self._with_swallowed(observed)
        written = self.recorder.take_written()
        self.probing.note_written({name for each in written for name in each.names})
        outcome = step_outcome(executed, observed, error, catalog, self.messages.take(), written, short)
        if outcome.verdict == "read" and outcome.table is None:
            outcome = replace(outcome, table=self._tables_read(executed))
        return outcome if missed is None else replace(outcome, raised=(what_django_raised(missed, executed),))

    def _observed(self, executed: Sequence[Executed]) -> list[Observed]:
        readable = self.autocommit.status == TransactionStatus.INTRANS
        return self.probing.read() if executed and readable else []

    def _tables_read(self, executed: Sequence[Executed]) -> str | None:
        """Return the tables that the first columns of the results come from."""
        oids = list(dict.fromkeys(statement.relation for statement in executed if statement.relation))
        if missing := [oid for oid in oids if oid not in self._names]:
            with self.messages.quietly(), unwatched(self.raw) as cursor:
                cursor.execute("SELECT oid::bigint, relname FROM pg_class WHERE oid = ANY (%s::oid[])", [missing])
                self._names.update(dict(cursor.fetchall()))
        return ", ".join(self._names[oid] for oid in oids if oid in self._names) or None

    def is_taken_back(self, start: int, end: int) -> bool:
        """Return whether all that the statements of a step wrote was rolled back; start, end: places in the log."""
        wrote = [statement for statement in self.recorder.log[start:end] if statement.kind in ("write", "command")]
        return bool(wrote) and all(statement.undone for statement in wrote)

    @property
    def step_in_log(self) -> tuple[int, int]:
        """Where the statements of the step under way, or of the last one, are in the recorder's log."""
        return self._start, len(self.recorder.log)

    def misses_row(self, failure: Exception) -> bool:
        """Return whether Django raised an error over a row that did not come back from an INSERT of this step."""
        is_sound = self.recorder.failure is None and not self.raw.closed
        return is_sound and is_over_missing_row(failure, self.recorder.log[self._start :], self.connection.alias)

    def swallowed_inserts(self) -> Iterable[Observed]:
        """Return what triggers swallowed of the rows that this step inserted and then rolled back."""
        swallowed = [each for each in self.recorder.taken_back if _is_swallowed_insert(each)]
        return {(each.table, each.triggers): each for each in swallowed}.values()

    def _with_swallowed(self, observed: list[Observed]) -> list[Observed]:
        """Return what was observed together with the swallowed rows that only `swallowed_inserts` knows."""
        seen = {(each.table, each.triggers) for each in observed if _is_swallowed_insert(each)}
        return [*observed, *(each for each in self.swallowed_inserts() if (each.table, each.triggers) not in seen)]

    def explain(self, failure: Exception) -> None:
        """Add to an error of the user's code that a trigger swallowed a row just before.

        Django's `create()` and `bulk_create()` fail on such a row with an error that does not mention it.
        """
        if self.recorder.failure is not None or self.raw.closed:
            return
        for observation in [*self.recorder.taken_back, *self._observed(self.recorder.log[self._start :])]:
            if observation.kind == "swallowed":
                by = ", ".join(observation.triggers) or "a trigger"
                failure.add_note(
                    f"pgmagic: {by} swallowed {observation.rows:,} row(s) of the {observation.event} on "
                    f"{observation.table} in this statement."
                )

    def fire_deferred(self) -> list[str]:
        """Fire what is deferred until COMMIT, and return sentences about what that did, and what is not known.

        Raises:
            CommitRejectedError: if a deferred trigger or constraint refuses.
            CellError: if the cell cannot be committed for a reason of its own.
        """
        self.recorder.check_connection()
        self.autocommit.check_closed()
        try:
            # COMMIT begins with this. Here, a refusal can also be reported for a cell that is not to be kept.
            with self.connection.cursor() as cursor:
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except PgMagicError:
            raise
        except DatabaseFailure as error:
            raise CommitRejectedError(rejection(error, self.probing.catalog)) from error
        effects = Effects({}, {}, self.recorder.take_written()).lines()
        lines = [f"At COMMIT: {line}" for line in [*self.messages.take(), *effects]]
        return [*lines, *self.probing.unobserved, *self.written.unobserved]


def _is_swallowed_insert(observation: Observed) -> bool:
    return (observation.event, observation.kind, observation.depth) == ("INSERT", "swallowed", 1)
