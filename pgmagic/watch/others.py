"""The other databases that a cell uses: watched from their first use on, and kept or given up together with its own.

Each has a transaction of its own. They are committed when everything that COMMIT checks has been checked in all of
them, one after the other, the cell's own database last. Two servers cannot commit as one: if the connection to one is
lost in that moment, those before it are committed, and the cell's notes say which.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any

import psycopg
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from pgmagic.watch.bystanders import give_up_with_client
from pgmagic.watch.instruments import LOCK_TIMEOUT
from pgmagic.watch.past_django import unwatched
from pgmagic.watch.rejections import Rejection, rejection
from pgmagic.watch.verdicts import VERDICTS, StepOutcome
from pgmagic.watch.watching import CommitRejectedError, WatchedConnection


class OtherDatabases:
    """The connections to other databases than the cell's own.

    watched: those that the cell has used, by alias. committed: those whose transaction was committed.
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

        Behind the block, all of their transactions are committed, or rolled back if it raises.
        """
        others = list(_connections_but(self.own))
        own: Any = connections[self.own].connection
        if any(_leads_to(connection, own.info) for connection in others):
            _bound_waiting(own)
        with self._transactions, self._announced(others):
            yield

    @contextmanager
    def _announced(self, hooked: Sequence[Any]) -> Iterator[None]:
        """Let every connection that is about to be used come by here."""
        for connection in hooked:
            vars(connection)["ensure_connection"] = self._ensuring(connection)
        try:
            yield
        finally:
            for connection in hooked:
                del vars(connection)["ensure_connection"]

    def _ensuring(self, connection: Any) -> Callable[[], None]:
        connect = connection.ensure_connection
        under_way = False

        def ensure_connection() -> None:
            nonlocal under_way
            if under_way:
                # While it is being made, too: Django asks for it again.
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

    def _join(self, connection: Any) -> None:
        alias: str = connection.alias
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
            _bound_waiting(watched.raw)
            self._transactions.push(stack.pop_all())
        self.watched[alias] = watched

    @contextmanager
    def _transaction(self, alias: str, transaction: Any) -> Iterator[None]:
        """Let the block be a transaction, and note that it was committed.

        Raises:
            CommitRejectedError: the database refused.
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
            raise _named(alias, rejection(error, None)) from error
        self.committed.append(alias)

    def fire_deferred(self) -> list[str]:
        """Do so in each of them, and return sentences about it; see `WatchedConnection.fire_deferred`."""
        notes = []
        for alias, watched in self.watched.items():
            try:
                notes += [f"{alias}: {line}" for line in watched.fire_deferred()]
            except CommitRejectedError as rejected:
                raise _named(alias, rejected.refusal) from rejected
        return notes

    def of_alias(self, alias: str, outcome: StepOutcome) -> StepOutcome:
        """Return an outcome in which everything that is of another database than the cell's own says so."""
        if alias == self.own:
            return outcome
        return replace(
            outcome,
            table=f"{alias}: {outcome.table}" if outcome.table else alias if outcome.verdict else None,
            messages=tuple(f"{alias}: {line}" for line in outcome.messages),
            effects=tuple(f"{alias}: {line}" for line in outcome.effects),
        )


def _named(alias: str, refusal: Rejection) -> CommitRejectedError:
    return CommitRejectedError(replace(refusal, reason=f"{alias}: {refusal.reason}"))


def _rows(outcome: StepOutcome) -> str:
    return f", {outcome.rows:,} row{'' if outcome.rows == 1 else 's'}" if outcome.rows else ""


def _connections_but(own: str) -> Iterator[Any]:
    for alias in connections:
        # One whose engine is not installed cannot be used either.
        with suppress(ImproperlyConfigured):
            if alias != own:
                yield connections[alias]


def _leads_to(connection: Any, info: psycopg.ConnectionInfo) -> bool:
    """Return whether a connection is one to the database of another, whose locks it would wait for."""
    if connection.vendor != "postgresql":
        return False
    named = connection.settings_dict
    return (named["NAME"], named["HOST"] or info.host, int(named["PORT"] or info.port)) == (
        info.dbname,
        info.host,
        info.port,
    )


def _bound_waiting(raw: Any) -> None:
    """Bound the time for which a transaction waits for a lock, unless the user has."""
    with unwatched(raw) as cursor:
        cursor.execute(
            "SELECT set_config('lock_timeout', %s, true) WHERE current_setting('lock_timeout') = '0'",
            [LOCK_TIMEOUT],
        )


def combined(outcomes: Sequence[StepOutcome]) -> StepOutcome:
    """Return what a step did in several databases as one outcome; the verdict is the first in the order of verdicts."""
    if len(outcomes) == 1:
        return outcomes[0]
    told = [outcome for outcome in outcomes if outcome.verdict is not None]
    messages = tuple(line for outcome in outcomes for line in outcome.messages)
    effects = tuple(line for outcome in outcomes for line in outcome.effects)
    if not told:
        return StepOutcome(messages=messages, effects=effects)
    first = min(told, key=lambda outcome: VERDICTS.index(outcome.verdict or "read"))
    alike = [outcome for outcome in told if outcome.verdict == first.verdict]
    effects += tuple(
        f"{outcome.table}: {outcome.verdict}{_rows(outcome)}"
        for outcome in told
        if outcome not in alike and outcome.verdict != "read"
    )
    wrote = alike if first.verdict == "read" else [outcome for outcome in told if outcome.verdict != "read"]
    rows = [outcome.rows for outcome in wrote if outcome.rows is not None]
    return StepOutcome(
        verdict=first.verdict,
        rows=sum(rows) if rows else None,
        table=", ".join(dict.fromkeys(outcome.table for outcome in alike if outcome.table)) or None,
        trigger=", ".join(dict.fromkeys(outcome.trigger for outcome in alike if outcome.trigger)) or None,
        reason="; ".join(dict.fromkeys(outcome.reason for outcome in told if outcome.reason)) or None,
        elapsed_ms=sum(outcome.elapsed_ms or 0.0 for outcome in told),
        messages=messages,
        effects=effects,
    )
