"""The other databases that a cell uses: watched from their first use on, and committed or rolled back with its own.

Each has a transaction of its own. After everything that COMMIT checks has been checked in all of them, they are
committed one after the other, the cell's own database last. Two servers cannot commit as one: if the connection to one
of them is lost in that moment, those before it are committed, and the cell's notes say which.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import filterfalse
from operator import attrgetter

import psycopg
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from pgmagic.db.driver import driver_connection
from pgmagic.watch.bystanders import give_up_with_client, limit_lock_waits
from pgmagic.watch.effects import rows_text
from pgmagic.watch.outcome_frame import VERDICTS, OutcomeRow
from pgmagic.watch.rejections import Rejection, rejection
from pgmagic.watch.watched_connection import CommitRejectedError, WatchedConnection


class OtherDatabases:
    """The connections to the databases beside the cell's own.

    watched: those that the cell has used, by alias. committed: the aliases of those whose transaction was committed.
    """

    def __init__(self, own: str, notes: list[str]) -> None:
        self.own = own
        self.notes = notes
        self.watched: dict[str, WatchedConnection] = {}
        self.committed: list[str] = []
        self._transactions = ExitStack()

    @contextmanager
    def joining(self) -> Iterator[None]:
        """Watch each other connection of this thread from its first use inside the block on.

        After the block, all of their transactions are committed, or rolled back if it raises.
        """
        others: list[BaseDatabaseWrapper] = []
        for alias in connections:
            # A database whose engine is not installed cannot be used either.
            with suppress(ImproperlyConfigured):
                others += [connections[alias]] if alias != self.own else []
        own = driver_connection(connections[self.own])
        if any(_is_same_database(connection, own.info) for connection in others):
            limit_lock_waits(own)
        with self._transactions:
            for connection in others:
                vars(connection)["ensure_connection"] = self._ensuring(connection)
            try:
                yield
            finally:
                for connection in others:
                    del vars(connection)["ensure_connection"]

    def _ensuring(self, connection: BaseDatabaseWrapper) -> Callable[[], None]:
        """Return what Django calls before it uses a connection: it is watched from then on."""
        connect = connection.ensure_connection
        under_way = False

        def ensure_connection() -> None:
            nonlocal under_way
            if under_way:
                # Django calls it again while the connection is being made.
                connect()
                return
            under_way = True
            try:
                connect()
                self._join(connection)
            except BaseException:
                under_way = False
                raise

        return ensure_connection

    def _join(self, connection: BaseDatabaseWrapper) -> None:
        alias = connection.alias
        if not isinstance(connection.connection, psycopg.Connection):
            self.notes.append(
                f"{alias} ({connection.display_name}) is not watched: what the cell did there is not in this table, "
                f"and not in its transaction."
            )
            return
        watched = WatchedConnection(connection)
        watched.check_idle()
        transaction = watched.raw.transaction()
        with ExitStack() as stack:
            stack.enter_context(watched.installed())
            stack.enter_context(self._transaction(alias, transaction))
            give_up_with_client(watched.raw)
            limit_lock_waits(watched.raw)
            self._transactions.push(stack.pop_all())
        self.watched[alias] = watched

    @contextmanager
    def _transaction(self, alias: str, transaction: AbstractContextManager[psycopg.Transaction]) -> Iterator[None]:
        """Let the block be a transaction, and note that it was committed.

        Raises:
            CommitRejectedError: if the database refuses.
        """
        transaction.__enter__()
        try:
            yield
        except BaseException:
            transaction.__exit__(*sys.exc_info())
            raise
        try:
            transaction.__exit__(None, None, None)
        except psycopg.Error as error:
            raise _at(alias, rejection(error, None)) from error
        self.committed.append(alias)

    def fire_deferred(self) -> list[str]:
        """Fire what is deferred in each database, and return sentences; see `WatchedConnection.fire_deferred`."""
        notes = []
        for alias, watched in self.watched.items():
            try:
                notes += [f"{alias}: {line}" for line in watched.fire_deferred()]
            except CommitRejectedError as rejected:
                raise _at(alias, rejected.refusal) from rejected
        return notes

    def of_alias(self, alias: str, outcome: OutcomeRow) -> OutcomeRow:
        """Return an outcome in which everything about another database than the cell's own begins with its alias."""
        if alias == self.own:
            return outcome
        return replace(
            outcome,
            table=f"{alias}: {outcome.table}" if outcome.table else (alias if outcome.verdict else None),
            messages=tuple(f"{alias}: {line}" for line in outcome.messages),
            effects=tuple(f"{alias}: {line}" for line in outcome.effects),
            raised=tuple(f"{alias}: {line}" for line in outcome.raised),
        )


def _at(alias: str, refusal: Rejection) -> CommitRejectedError:
    """Return the refusal of another database's COMMIT."""
    return CommitRejectedError(replace(refusal, reason=f"{alias}: {refusal.reason}"))


def _is_same_database(connection: BaseDatabaseWrapper, info: psycopg.ConnectionInfo) -> bool:
    """Return whether a connection leads to the database of another connection, for whose locks it would wait."""
    if connection.vendor != "postgresql":
        return False
    named = connection.settings_dict
    return (named["NAME"], named["HOST"] or info.host, int(named["PORT"] or info.port)) == (
        info.dbname,
        info.host,
        info.port,
    )


def combined(outcomes: Sequence[OutcomeRow]) -> OutcomeRow:
    """Return what a step did in several databases as one outcome; its verdict is the first in the order of verdicts."""
    if len(outcomes) == 1:
        return outcomes[0]
    with_sql = [outcome for outcome in outcomes if outcome.verdict is not None]
    outcome = _decided(with_sql) if with_sql else OutcomeRow()
    return replace(
        outcome,
        messages=tuple(line for each in outcomes for line in each.messages),
        effects=(*(line for each in outcomes for line in each.effects), *outcome.effects),
        raised=tuple(line for each in outcomes for line in each.raised),
    )


def _decided(outcomes: Sequence[OutcomeRow]) -> OutcomeRow:
    """Return the verdict of several outcomes, and what belongs to it; other verdicts are reported as effects."""
    verdict = min((outcome.verdict or "read" for outcome in outcomes), key=VERDICTS.index)
    alike = [outcome for outcome in outcomes if outcome.verdict == verdict]
    wrote = [outcome for outcome in outcomes if outcome.verdict != "read"]
    rows = [outcome.rows for outcome in wrote or alike if outcome.rows is not None]
    return OutcomeRow(
        verdict=verdict,
        rows=sum(rows) if rows else None,
        table=_listed(map(attrgetter("table"), alike), ", "),
        trigger=_listed(map(attrgetter("trigger"), alike), ", "),
        reason=_listed(map(attrgetter("reason"), outcomes), "; "),
        elapsed_ms=sum(filter(None, map(attrgetter("elapsed_ms"), outcomes)), 0.0),
        effects=tuple(map(_verdict_line, filterfalse(alike.__contains__, wrote))),
    )


def _verdict_line(outcome: OutcomeRow) -> str:
    rows = f", {rows_text(outcome.rows)}" if outcome.rows else ""
    return f"{outcome.table}: {outcome.verdict}{rows}"


def _listed(texts: Iterable[str | None], separator: str) -> str | None:
    """Return the different texts as one text; None if there are none."""
    return separator.join(dict.fromkeys(filter(None, texts))) or None
