"""Every way around a rule, tried on a row that it concerns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from django.db import Error as DatabaseFailure
from django.db import connections, transaction
from psycopg import errors

from pgmagic.compile.clauses import condition_of
from pgmagic.db.observe.cell import watched
from pgmagic.db.observe.timeline import ENABLED, NOT_IGNORED, Considered
from pgmagic.db.observe.tracing import CellTracer
from pgmagic.db.observe.verdicts import Rejection, rejection
from pgmagic.db.trying.attempts import LOCK_TIMEOUT, nothing_kept
from pgmagic.db.trying.concerned import Concerned, Search
from pgmagic.db.trying.ways import Operation, Way, Ways
from pgmagic.declare import registry
from pgmagic.errors import CellError, DeclarationError

Result = Literal["held", "got through", "not applicable"]

_DEFINITION = """
SELECT t.tgname, pg_get_triggerdef(t.oid) FROM pg_trigger AS t
WHERE t.tgrelid = to_regclass(%s) AND t.tgfoid = to_regproc(%s) ORDER BY t.tgname"""


@dataclass(frozen=True)
class Bypass:
    """A way around a rule, and what became of it. row: the key of the row that was tried, None for a new one."""

    way: str
    operation: Operation
    result: Result
    takes: str | None
    row: Any
    reason: str | None


class _GivenUp(Exception):  # noqa: N818 - it leaves a savepoint, and is no error
    """Leaves a savepoint that is not to be kept."""


def try_bypasses(uri: str, using: str = "default") -> tuple[list[Bypass], list[str]]:
    """Try every way around the trigger of a URI; return what became of each, and what is to be said of all.

    Each way is gone in a savepoint, on a row that the rule concerns; nothing is kept. The rule held if its trigger
    fired, or refused; it is traced as `%%pgtrace` does.

    Raises:
        UnknownTriggerError: nothing is registered under the URI.
        CellError: it is not installed, or a transaction is open.
    """
    [(model, trigger)] = registry.registered(uri)
    connection = connections[using]
    connection.ensure_connection()
    names, condition = _installed(connection, model, trigger)
    search = Search(model, trigger, condition, connection)
    operations: list[Operation] = [
        operation
        for operation in ("INSERT", "UPDATE", "DELETE", "TRUNCATE")
        if any(str(each).startswith(operation) for each in trigger.operations)
    ]
    found: list[Bypass] = []
    with nothing_kept(connection):
        concerned = {operation: _concerned(search, operation) for operation in operations}
    ways: list[tuple[Way, Concerned]] = []
    for operation in operations:
        what = concerned[operation]
        if what is None:
            found.append(Bypass("every way", operation, "not applicable", None, None, search.needs()))
            continue
        ways += [(way, what) for way in Ways(model, uri, names, connection, what).all_of(operation)]
    with watched(CellTracer, connection, keep=False) as cell:
        for way, what in ways:
            found.append(_tried(cell, way, what, uri))
    return found, [note for note in cell.notes if not note.startswith("--rollback")]


def _installed(connection: Any, model: Any, trigger: Any) -> tuple[tuple[str, ...], str | None]:
    """Return the names in Postgres of what stands for a trigger, and the condition of what fires for rows."""
    with connection.cursor() as cursor:
        quoted = [connection.ops.quote_name(name) for name in (model._meta.db_table, trigger.get_pgid(model))]
        cursor.execute(_DEFINITION, quoted)
        rows = cursor.fetchall()
    if not rows:
        raise CellError(f"{trigger.get_uri(model)} is not installed here: run %pgtrigger install first.")
    per_row = next((definition for _, definition in rows if " FOR EACH ROW " in definition), None)
    return tuple(name for name, _ in rows), condition_of(per_row) if per_row else None


def _concerned(search: Search, operation: Operation) -> Concerned | None:
    match operation:
        case "INSERT":
            return search.for_insert()
        case "UPDATE":
            return search.for_update()
        case _:
            # TRUNCATE concerns a table as soon as there is a row in it.
            return search.for_delete()


def _tried(cell: CellTracer, way: Way, what: Concerned, uri: str) -> Bypass:
    def bypass(result: Result, reason: str | None) -> Bypass:
        return Bypass(way.name, way.operation, result, way.takes, what.key, reason)

    if way.run is None:
        return bypass("not applicable", way.reason)
    step = len(cell.outcomes) + 1
    failures: list[Exception] = []
    with cell.step(), _given_up(cell.connection, failures):
        way.run()
        _execute(cell.connection, "SET CONSTRAINTS ALL IMMEDIATE")
    entries = [entry for entry in cell.timeline.considered if entry.step == step and entry.live.uri == uri]
    fired = next((entry for entry in entries if entry.fired), None)
    refusal = _refusal(cell, failures)
    if refusal is not None and (fired is not None or refusal.trigger == uri):
        return bypass("held", refusal.reason)
    if fired is not None:
        return bypass("held", "; ".join([*_changes(fired), *fired.notices]) or "it fired")
    return bypass(*_past(refusal, entries, failures))


def _refusal(cell: CellTracer, failures: list[Exception]) -> Rejection | None:
    """Return why the database refused a way, None if it did not."""
    failure = next((each for each in failures if isinstance(each, DatabaseFailure | psycopg.Error)), None)
    return None if failure is None else rejection(failure, cell.probing.catalog)


def _changes(fired: Considered) -> Iterator[str]:
    for column, value in fired.after.items():
        yield f"{column}: {fired.before.get(column)} → {value}"


def _past(
    refusal: Rejection | None, entries: list[Considered], failures: list[Exception]
) -> tuple[Result, str | None]:
    """Return what became of a way on which the trigger did not fire."""
    if refusal is not None:
        if any(isinstance(each.__cause__, errors.InsufficientPrivilege) for each in failures):
            return "held", f"this role may not: {refusal.reason}"
        by = f" by {refusal.trigger}" if refusal.trigger else ""
        return "not applicable", f"rejected{by} before it came to the rule: {refusal.reason}"
    if failures:
        said = str(failures[0]).strip().partition("\n")[0]
        return "not applicable", f"{type(failures[0]).__name__}: {said}"
    false = dict.fromkeys(
        clause for entry in entries for clause, truth in entry.clauses.items() if truth is not True
    )
    return "got through", "; ".join(
        _SKIPPED.get(clause, f"false: {clause}") for clause in false
    ) or "it did not fire"


# Why a trigger did not fire, in other words than a clause that is false.
_SKIPPED = {NOT_IGNORED: "it was ignored", ENABLED: "it was disabled"}


@contextmanager
def _given_up(connection: Any, failures: list[Exception]) -> Iterator[None]:
    """Take back what the block does; errors of the database go on, others are kept in a list."""
    try:
        with transaction.atomic(using=connection.alias):
            _execute(connection, f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            try:
                yield
            except (DatabaseFailure, psycopg.Error) as error:
                failures.append(error)
                raise
            except (DeclarationError, TypeError, ValueError, AttributeError) as error:
                # What cannot be ignored, and what Django makes of a row that a trigger swallowed.
                failures.append(error)
            raise _GivenUp
    except _GivenUp:
        pass


def _execute(connection: Any, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
