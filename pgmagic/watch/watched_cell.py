"""The block that watches a cell: one transaction, one outcome for each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg
from django.db import Error as DatabaseFailure
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from pgmagic.errors import CellError, DatabaseUnavailableError, PgMagicError
from pgmagic.watch.autocommit import LOST
from pgmagic.watch.bystanders import SearchPath, give_up_with_client, other_threads_limited
from pgmagic.watch.other_databases import OtherDatabases, combined
from pgmagic.watch.outcome_frame import OutcomeRow
from pgmagic.watch.rejections import Rejection, rejection
from pgmagic.watch.watched_connection import CommitRejectedError, WatchedConnection

_NOT_KEPT = "--rollback: nothing of this cell was kept."


class CellObserver(WatchedConnection):
    """Watches the steps of one cell.

    notes: sentences about the cell as a whole. others: the other databases that it uses.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        super().__init__(connection)
        self.notes: list[str] = []
        self.others = OtherDatabases(connection.alias, self.notes)
        # For each step, by database: what it did there, and where its statements are in the log.
        self._parts: list[dict[str, OutcomeRow]] = []
        self._places: list[dict[str, tuple[int, int]]] = []

    @property
    def outcomes(self) -> list[OutcomeRow]:
        """What each step that ended did, in all databases together."""
        return [combined([self.others.of_alias(alias, part) for alias, part in parts.items()]) for parts in self._parts]

    @property
    def notes_of_trial(self) -> list[str]:
        """The notes of a cell that is never kept, without the note that it was not."""
        return [note for note in self.notes if not note.startswith(_NOT_KEPT)]

    @property
    def connections(self) -> dict[str, WatchedConnection]:
        """The cell's own connection, and the others that it has used, by alias."""
        return {self.connection.alias: self, **self.others.watched}

    @contextmanager
    def step(self) -> Iterator[None]:
        """Watch one step. An error of the database that leaves it ends here; every other exception goes on.

        What Django raises over a row that a trigger swallowed ends here, too.
        """
        for watched in self.connections.values():
            watched.begin_step()
        error: DatabaseFailure | psycopg.Error | None = None
        missed: dict[str, Exception] = {}
        try:
            yield
        except PgMagicError:
            raise
        except (DatabaseFailure, psycopg.Error) as failure:
            error = failure
        except Exception as failure:
            missed = self._missing_rows(failure)
            if not missed:
                raise
        # An error that did not come from a statement, for example one of the driver, is reported once.
        elsewhere = any(watched.has_rejections for watched in self.others.watched.values())
        try:
            parts = {
                alias: watched.end_step(None if watched is not self or elsewhere else error, missed.get(alias))
                for alias, watched in self.connections.items()
            }
        except psycopg.Error as own:
            # For example a time-out of the user's that is shorter than pgmagic's own statements take.
            raise CellError(
                f"What the cell did could not be read ({str(own).partition(chr(10))[0]}), so nothing of it was kept."
            ) from own
        self._parts.append(parts)
        self._places.append({alias: watched.step_in_log for alias, watched in self.connections.items()})

    def _missing_rows(self, failure: Exception) -> dict[str, Exception]:
        """Return the error under the alias of the database in which Django missed a row; explain any other error."""
        missed = {alias: failure for alias, watched in self.connections.items() if watched.misses_row(failure)}
        if not missed:
            for watched in self.connections.values():
                watched.explain(failure)
        return missed

    def finish(self) -> None:
        """Fire what is deferred until COMMIT, in all databases.

        Raises:
            CommitRejectedError: if a deferred trigger or constraint refuses.
            CellError: if the cell cannot be committed for a reason of its own.
        """
        watched = self.connections
        for parts, places in zip(self._parts, self._places, strict=True):
            for alias, part in parts.items():
                # A later step may have rolled it back, in a transaction of the user's own.
                if watched[alias].is_taken_back(*places[alias]):
                    parts[alias] = part.taken_back()
        self.notes += self.fire_deferred()
        self.notes += self.others.fire_deferred()

    def remove_instruments(self) -> None:
        """Take off what watches the tables, in all databases."""
        for watched in self.connections.values():
            watched.probing.remove()

    @contextmanager
    def nothing_unfinished(self) -> Iterator[None]:
        """Close the connections on which the block leaves a command unfinished.

        Raises:
            CellError: if there is one, and the block itself raised nothing.
        """
        try:
            yield
        finally:
            # All of them, whatever the first answers.
            abandoned = [each.autocommit.abandon_unfinished() for each in self.connections.values()]
        if any(abandoned):
            raise CellError(
                "The cell left a COPY or a stream open, so nothing of it was kept: close it in the same cell."
            )

    def run_hooks(self) -> None:
        """Run the hooks of `transaction.on_commit`. The rows are committed: an error of a hook is only noted."""
        for watched in self.connections.values():
            connection = watched.connection
            # The stubs know hooks without their third part.
            connection.run_on_commit = watched.autocommit.hooks  # type: ignore[assignment]
            while connection.run_on_commit:
                hook = connection.run_on_commit.pop(0)[1]
                try:
                    hook()
                except Exception as error:  # noqa: BLE001 - whatever the user's function raises
                    name = getattr(hook, "__qualname__", repr(hook))
                    self.notes.append(
                        f"The on_commit hook {name} raised {type(error).__name__}: {error}. The rows are kept."
                    )

    def break_off(self, error: BaseException, *, kept: bool) -> bool:
        """Note that an exception ended the cell, so that nothing of it was kept; return False if that is not certain.

        kept: whether the cell was to be kept; if not, the verdicts remain.
        """
        if any(watched.recorder.failure or watched.raw.closed for watched in self.connections.values()):
            return False
        raised = "was interrupted" if isinstance(error, KeyboardInterrupt) else f"raised {type(error).__name__}"
        ended = f"{len(self._parts) + 1} {raised}"
        refusal = Rejection(f"step {ended}")
        for parts in self._parts if kept else ():
            parts.update({alias: part.rolled_back(refusal) for alias, part in parts.items()})
        self.notes.append(f"Step {ended}: the whole cell was rolled back, and nothing of it was kept.")
        return True

    def roll_back(self, refusal: Rejection) -> None:
        """Note that COMMIT was refused, so that no written row was kept."""
        committed = self.others.committed
        for parts in self._parts:
            for alias, part in parts.items():
                if alias not in committed:
                    parts[alias] = part.rolled_back(refusal)
        by = f" by {refusal.trigger}" if refusal.trigger else ""
        kept = f"nothing but what it did in {', '.join(committed)}" if committed else "nothing of this cell"
        self.notes.append(f"COMMIT was rejected{by}, so {kept} was kept: {refusal.reason}")


class _NotKept(Exception):  # noqa: N818 - it leaves the transaction, and is no error
    """Leaves a transaction that is not to be kept."""


C = TypeVar("C", bound=CellObserver)


@contextmanager
def watched(
    observer: Callable[[BaseDatabaseWrapper], C], connection: BaseDatabaseWrapper, *, keep: bool
) -> Iterator[C]:
    """Watch a block: everything in it is one transaction, committed at its end if `keep`, else rolled back.

    Inside, the connection behaves as it does in autocommit; of a statement that the database refuses, only that
    statement is rolled back. An exception that leaves the block rolls everything back. The outcomes are complete after
    the block.

    Raises:
        CellError: if a transaction is already open, or the cell has made it impossible to go on.
        DatabaseUnavailableError: if the connection is lost; nothing was kept.
    """
    # `django.db.connection` is a proxy; the methods replaced below have to be replaced on the connection itself.
    connection = connections[connection.alias]
    connection.ensure_connection()
    cell = observer(connection)
    cell.check_idle()
    outer = cell.raw.transaction()
    try:
        with other_threads_limited(cell.notes), cell.installed(), outer, cell.others.joining():
            give_up_with_client(cell.raw)
            path = SearchPath(cell.raw)
            with cell.nothing_unfinished():
                yield cell
            cell.finish()
            cell.notes += path.restore()
            if not keep:
                raise _NotKept
            cell.remove_instruments()
    except _NotKept:
        hooks = sum(len(each.autocommit.hooks) for each in cell.connections.values())
        left_out = f" {hooks:,} on_commit hook{'s were' if hooks > 1 else ' was'} not run." if hooks else ""
        cell.notes.append(f"{_NOT_KEPT}{left_out}")
    except CommitRejectedError as rejected:
        cell.roll_back(rejected.refusal)
    except psycopg.Error as error:
        if cell.raw.closed and not cell.others.committed:
            raise DatabaseUnavailableError(LOST) from None
        cell.roll_back(rejection(error, None))
    else:
        cell.run_hooks()
