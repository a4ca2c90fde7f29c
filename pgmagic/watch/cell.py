"""The block that watches a cell: one transaction, one outcome for each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TypeVar

import psycopg
from django.db import Error as DatabaseFailure
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from pgmagic.errors import CellError, DatabaseUnavailableError, PgMagicError
from pgmagic.watch.autocommit import LOST, Hook
from pgmagic.watch.bystanders import Path, give_up_with_client, other_threads_bounded
from pgmagic.watch.others import OtherDatabases, combined
from pgmagic.watch.rejections import Rejection, rejection
from pgmagic.watch.verdicts import StepOutcome
from pgmagic.watch.watching import CommitRejectedError, WatchedConnection


class CellObserver(WatchedConnection):
    """Watches the steps of one cell.

    outcomes: one for each step that ended. notes: sentences about the cell as a whole. others: the other databases
    that it uses.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        super().__init__(connection)
        self.notes: list[str] = []
        self.others = OtherDatabases(connection.alias, self.notes)
        # Of each step: what it did in which database, and where its statements are in which log.
        self._parts: list[dict[str, StepOutcome]] = []
        self._places: list[dict[str, tuple[int, int]]] = []

    @property
    def outcomes(self) -> list[StepOutcome]:
        """What each step did, in all databases together."""
        return [
            combined([self.others.of_alias(alias, part) for alias, part in parts.items()])
            for parts in self._parts
        ]

    @property
    def connections(self) -> dict[str, WatchedConnection]:
        """The cell's own connection, and the others that it has used, by alias."""
        return {self.connection.alias: self, **self.others.watched}

    @contextmanager
    def step(self) -> Iterator[None]:
        """Watch one step. An error of the database that leaves it ends here; every other exception goes on."""
        for watched in self.connections.values():
            watched.begin_step()
        error: DatabaseFailure | psycopg.Error | None = None
        try:
            yield
        except PgMagicError:
            raise
        except (DatabaseFailure, psycopg.Error) as failure:
            error = failure
        except Exception as failure:
            for watched in self.connections.values():
                watched.explain(failure)
            raise
        # An error that no statement brought about, of the driver's, say, is told once.
        elsewhere = any(watched.has_rejections for watched in self.others.watched.values())
        try:
            parts = {
                alias: watched.end_step(None if watched is not self or elsewhere else error)
                for alias, watched in self.connections.items()
            }
        except psycopg.Error as own:
            # A timeout of the user's that is shorter than what pgmagic itself executes, say.
            raise CellError(
                f"What the cell did could not be read ({str(own).partition(chr(10))[0]}), so nothing of it was kept."
            ) from own
        self._parts.append(parts)
        self._places.append({alias: watched.step_in_log for alias, watched in self.connections.items()})

    def _take_back(self) -> None:
        """Correct the outcomes of steps that were rolled back by later ones, in a transaction of the user's own."""
        watched = self.connections
        self._parts = [
            {
                alias: part.taken_back() if watched[alias].is_taken_back(*places[alias]) else part
                for alias, part in parts.items()
            }
            for parts, places in zip(self._parts, self._places, strict=True)
        ]

    def finish(self) -> None:
        """Fire what is deferred until COMMIT, in all databases.

        Raises:
            CommitRejectedError: a deferred trigger or constraint refused.
            CellError: the cell cannot be committed for a reason of its own.
        """
        self._take_back()
        self.notes += self.fire_deferred()
        self.notes += self.others.fire_deferred()

    def remove_instruments(self) -> None:
        """Take off what watches the tables, in all databases."""
        for watched in self.connections.values():
            watched.probing.remove()

    def abandon_unfinished(self) -> bool:
        """Close the connections on which a command is unfinished; return whether there is one."""
        # All of them, whatever the first one says.
        abandoned = [watched.autocommit.abandon_unfinished() for watched in self.connections.values()]
        return any(abandoned)

    def roll_back(self, refusal: Rejection) -> None:
        """Note that COMMIT was refused, and that with it every written row is gone."""
        committed = self.others.committed
        self._parts = [
            {
                alias: part if alias in committed else part.rolled_back(refusal)
                for alias, part in parts.items()
            }
            for parts in self._parts
        ]
        by = f" by {refusal.trigger}" if refusal.trigger else ""
        kept = f"nothing but what it did in {', '.join(committed)}" if committed else "nothing of this cell"
        self.notes.append(f"COMMIT was rejected{by}, so {kept} was kept: {refusal.reason}")


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
    connection.ensure_connection()
    cell = observer(connection)
    cell.check_idle()
    outer = cell.raw.transaction()
    try:
        with _installed(cell), outer, cell.others.joining():
            give_up_with_client(cell.raw)
            path = Path(cell.raw)
            with _nothing_under_way(cell):
                yield cell
            cell.finish()
            cell.notes += path.restore()
            if not keep:
                raise _NotKept
            cell.remove_instruments()
    except _NotKept:
        cell.notes.append(_rolled_back_note(len(_hooks(cell))))
    except CommitRejectedError as rejected:
        cell.roll_back(rejected.refusal)
    except psycopg.Error as error:
        if cell.raw.closed and not cell.others.committed:
            raise DatabaseUnavailableError(LOST) from None
        cell.roll_back(rejection(error, None))
    else:
        _run_hooks(cell)


@contextmanager
def _nothing_under_way(cell: CellObserver) -> Iterator[None]:
    """Give a connection up if the block leaves a command unfinished.

    Raises:
        CellError: it does, and no exception of its own says why.
    """
    abandoned = False
    try:
        yield
    finally:
        abandoned = cell.abandon_unfinished()
    if abandoned:
        raise CellError(
            "The cell left a COPY or a stream open, so nothing of it was kept: close it in the same cell."
        )


@contextmanager
def _installed(cell: CellObserver) -> Iterator[None]:
    """Let statements and messages pass through the observer; the connection is as before behind the block."""
    with ExitStack() as stack:
        stack.enter_context(other_threads_bounded(cell.notes))
        stack.enter_context(cell.installed())
        yield


def _rolled_back_note(hooks: int) -> str:
    left_out = f" {hooks:,} on_commit hook{'s were' if hooks > 1 else ' was'} not run." if hooks else ""
    return f"--rollback: nothing of this cell was kept.{left_out}"


def _hooks(cell: CellObserver) -> list[Hook]:
    return [hook for watched in cell.connections.values() for hook in watched.autocommit.hooks]


def _run_hooks(cell: CellObserver) -> None:
    """Run what `transaction.on_commit` was given; the rows are committed, so an error is noted and undoes nothing."""
    for watched in cell.connections.values():
        connection: Any = watched.connection
        connection.run_on_commit = watched.autocommit.hooks
        while connection.run_on_commit:
            _, hook, _ = connection.run_on_commit.pop(0)
            try:
                hook()
            except Exception as error:  # noqa: BLE001 - whatever the user's function raises
                name = getattr(hook, "__qualname__", repr(hook))
                cell.notes.append(
                    f"The on_commit hook {name} raised {type(error).__name__}: {error}. The rows are kept."
                )
