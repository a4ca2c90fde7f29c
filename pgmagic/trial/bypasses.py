"""Every way around a rule, tried on a row that it concerns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from django.core.exceptions import FieldError
from django.db import Error as DatabaseFailure
from django.db import connections, transaction
from psycopg import errors

from pgmagic.compile.sql_tokens import trigger_condition_in
from pgmagic.declare import registry
from pgmagic.declare.fsm import FSM
from pgmagic.declare.ready_made import Protect
from pgmagic.errors import CellError, DeclarationError
from pgmagic.trial.concerned import Concerned, Search, key_fields
from pgmagic.trial.ways import Operation, Way, Ways
from pgmagic.watch.bystanders import LIMIT_LOCK_WAITS
from pgmagic.watch.rejections import Rejection, rejection
from pgmagic.watch.trace_frame import TraceRow
from pgmagic.watch.trace_timeline import ENABLED, FOR_REPLICAS, NOT_IGNORED
from pgmagic.watch.tracer import CellTracer
from pgmagic.watch.watched_cell import watched

Result = Literal["held", "got through", "not applicable", "unknown"]

_DEFINITION = """
SELECT t.tgname, t.tgrelid::bigint, pg_get_triggerdef(t.oid) FROM pg_trigger AS t
WHERE t.tgrelid = to_regclass(%s) AND t.tgfoid = to_regproc(%s) ORDER BY t.tgname"""

# Fires what the rows that were made up have put off until COMMIT, since a table with pending events can be neither
# altered nor truncated; afterwards constraints are put off as they were declared.
_SETTLE = """
SET CONSTRAINTS ALL IMMEDIATE;
DO $$ DECLARE deferred text; BEGIN
  FOR deferred IN SELECT DISTINCT pg_catalog.format('%I.%I', n.nspname, c.conname)
    FROM pg_catalog.pg_constraint AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.connamespace
    WHERE c.condeferred AND n.nspname = ANY (pg_catalog.current_schemas(false))
  LOOP EXECUTE 'SET CONSTRAINTS ' || deferred || ' DEFERRED'; END LOOP;
END $$"""


@dataclass(frozen=True)
class Bypass:
    """A way around a rule, and what became of it.

    row: the key of the row that was tried, by column where it has several; None for a new one.
    """

    way: str
    operation: Operation
    result: Result
    takes: str | None
    row: Any
    reason: str | None


@dataclass(frozen=True)
class _Installed:
    """What stands for a trigger in Postgres. condition: of what fires for rows. only_rejects: if it does anything."""

    uri: str
    only_rejects: bool
    table: int
    names: tuple[str, ...]
    condition: str | None


class _GivenUp(Exception):  # noqa: N818 - it leaves a savepoint, and is no error
    """Leaves a savepoint that is not to be kept."""


def try_bypasses(uri: str, using: str = "default") -> tuple[list[Bypass], list[str]]:
    """Try every way around the trigger of a URI; return what became of each, and what is to be said of all.

    Each way is gone in a savepoint, on a row that the rule concerns; where there is none, one is brought there, or made
    up. Nothing is kept. The rule held if its trigger fired, or refused; it is traced as `%%pgtrace` does.

    Raises:
        UnknownTriggerError: nothing is registered under the URI.
        CellError: it is not installed, a transaction is open, or the table cannot be read.
    """
    [(model, trigger)] = registry.registered(uri)
    connection = connections[using]
    connection.ensure_connection()
    installed = _installed(connection, model, trigger)
    search = Search(model, trigger, installed.condition, connection)
    operations: list[Operation] = [
        operation
        for operation in ("INSERT", "UPDATE", "DELETE", "TRUNCATE")
        if any(str(each).startswith(operation) for each in trigger.operations)
    ]
    found: list[Bypass] = []
    notes: list[str] = []
    with watched(CellTracer, connection, keep=False) as cell:
        for operation, what in _search(cell, search, operations):
            if what is None:
                found.append(Bypass("every way", operation, "not applicable", None, None, search.needs()))
                continue
            notes += [said for said in _about(operation, what, model) if said not in notes]
            for way in Ways(model, uri, installed.names, connection, what).all_of(operation):
                found.append(_tried(cell, way, _shown_key(what, model), installed))
    return found, [*notes, *cell.notes_of_trial]


def _installed(connection: Any, model: Any, trigger: Any) -> _Installed:
    """Return what stands for a trigger in Postgres."""
    with connection.cursor() as cursor:
        quoted = [connection.ops.quote_name(name) for name in (model._meta.db_table, trigger.get_pgid(model))]
        cursor.execute(_DEFINITION, quoted)
        rows = cursor.fetchall()
    uri = trigger.get_uri(model)
    if not rows:
        raise CellError(f"{uri} is not installed here: run %pgtrigger install first.")
    per_row = next((definition for *_, definition in rows if " FOR EACH ROW " in definition), None)
    names = tuple(name for name, *_ in rows)
    return _Installed(
        uri,
        isinstance(trigger, Protect | FSM),
        rows[0][1],
        names,
        trigger_condition_in(per_row) if per_row else None,
    )


def _search(
    cell: CellTracer, search: Search, operations: Sequence[Operation]
) -> list[tuple[Operation, Concerned | None]]:
    """Return what the rule concerns for each operation; it stays as it was brought there until the cell is over.

    Raises:
        CellError: the database does not let this role look.
    """
    found: list[tuple[Operation, Concerned | None]] = []
    with cell.step():
        _execute(cell.connection, LIMIT_LOCK_WAITS)
        # Inserts come last: what is unused depends on the rows that were made up for the others.
        found += [(operation, _concerned(search, operation)) for operation in reversed(operations)]
        _execute(cell.connection, _SETTLE)
    if len(found) < len(operations):
        *_, refused = (statement.error for statement in cell.recorder.log if statement.error is not None)
        raise CellError(f"Nothing could be tried: {rejection(refused, None).reason}.")
    return found[::-1]


def _concerned(search: Search, operation: Operation) -> Concerned | None:
    match operation:
        case "INSERT":
            return search.for_insert()
        case "UPDATE":
            return search.for_update()
        case _:
            # TRUNCATE concerns a table as soon as there is a row in it.
            return search.for_delete()


def _about(operation: Operation, what: Concerned, model: Any) -> Iterator[str]:
    """Yield a sentence on a row that was not there as it was tried."""
    if what.is_made_up:
        yield "The table is empty, so a row was made up."
    if what.brought:
        names = {each.attname: each.name for each in model._meta.concrete_fields}
        brought = ", ".join(f"{names[name]}={value!r}" for name, value in what.brought.items())
        yield f"{operation}: the rule concerns no row that is there, so one was brought to {brought} first."


def _shown_key(what: Concerned, model: Any) -> Any:
    if what.is_made_up or not isinstance(what.key, tuple):
        return None if what.is_made_up else what.key
    return {str(each.column): value for each, value in zip(key_fields(model), what.key, strict=True)}


def _tried(cell: CellTracer, way: Way, row: Any, installed: _Installed) -> Bypass:
    def bypass(result: Result, reason: str | None) -> Bypass:
        return Bypass(way.name, way.operation, result, way.takes, row, reason)

    if way.run is None:
        return bypass("not applicable", way.reason)
    step = len(cell.outcomes) + 1
    failures: list[Exception] = []
    with cell.step(), _given_up(cell.connection, failures):
        way.run()
        _execute(cell.connection, "SET CONSTRAINTS ALL IMMEDIATE")
    uri = installed.uri
    entries = [entry for entry in cell.timeline.rows if entry.step == step and entry.trigger == uri]
    fired = next((entry for entry in entries if entry.fired), None)
    refusal = _refusal(cell, failures)
    if refusal is not None and (fired is not None or refusal.trigger == uri):
        return bypass("held", refusal.reason)
    if fired is not None:
        return bypass("held", "; ".join([*_changes(fired), *fired.notices]) or "it fired")
    unseen = cell.probing.why_unobserved(installed.table)
    if unseen and not failures and installed.only_rejects:
        return bypass("got through", "it did not refuse")
    if unseen and not failures:
        return bypass(
            "unknown", f"it was done, and whether the trigger fired could not be observed: {unseen}"
        )
    result, reason = _past(refusal, entries, failures)
    return bypass(result, reason or way.reason or "it did not fire")


def _refusal(cell: CellTracer, failures: list[Exception]) -> Rejection | None:
    """Return why the database refused a way, None if it did not."""
    failure = next((each for each in failures if isinstance(each, DatabaseFailure | psycopg.Error)), None)
    return None if failure is None else rejection(failure, cell.probing.catalog)


def _changes(fired: TraceRow) -> Iterator[str]:
    for column, value in (fired.after or {}).items():
        yield f"{column}: {(fired.before or {}).get(column)} → {value}"


def _past(
    refusal: Rejection | None, entries: list[TraceRow], failures: list[Exception]
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
        clause for entry in entries for clause, truth in (entry.condition or {}).items() if truth is not True
    )
    return "got through", "; ".join(_SKIPPED.get(clause, f"false: {clause}") for clause in false) or None


# Why a trigger did not fire, in other words than a clause that is false.
_SKIPPED = {
    NOT_IGNORED: "it was ignored",
    ENABLED: "it was disabled",
    FOR_REPLICAS: "it fires only where session_replication_role is replica",
}


@contextmanager
def _given_up(connection: Any, failures: list[Exception]) -> Iterator[None]:
    """Take back what the block does; errors of the database go on, others are kept in a list."""
    try:
        with transaction.atomic(using=connection.alias):
            _execute(connection, LIMIT_LOCK_WAITS)
            try:
                yield
            except (DatabaseFailure, psycopg.Error) as error:
                failures.append(error)
                raise
            except (DeclarationError, FieldError, TypeError, ValueError, AttributeError) as error:
                # What cannot be ignored, and what Django makes of a row that a trigger swallowed.
                failures.append(error)
            raise _GivenUp
    except _GivenUp:
        pass


def _execute(connection: Any, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
