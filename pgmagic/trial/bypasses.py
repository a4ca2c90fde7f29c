"""Every way around a rule, tried on a row that the rule concerns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import psycopg
from django.db import Error as DatabaseFailure
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import errors

from pgmagic.compile.sql_tokens import trigger_condition_in
from pgmagic.declare import registry
from pgmagic.declare.fsm import FSM
from pgmagic.declare.model_types import Model
from pgmagic.declare.ready_made import Protect
from pgmagic.declare.trigger import Trigger
from pgmagic.errors import CellError
from pgmagic.trial.attempts import errors_collected, execute
from pgmagic.trial.bypass_frame import Bypass, BypassFrame, Result
from pgmagic.trial.concerned import Concerned, Operation, Search
from pgmagic.trial.ways import Way, Ways
from pgmagic.watch.bystanders import LIMIT_LOCK_WAITS
from pgmagic.watch.rejections import Rejection, rejection
from pgmagic.watch.trace_frame import TraceRow
from pgmagic.watch.trace_timeline import ENABLED, FOR_REPLICAS, NOT_IGNORED
from pgmagic.watch.tracer import CellTracer
from pgmagic.watch.watched_cell import watched

_DEFINITION = """
SELECT t.tgname, t.tgrelid::bigint, pg_get_triggerdef(t.oid) FROM pg_trigger AS t
WHERE t.tgrelid = to_regclass(%s) AND t.tgfoid = to_regproc(%s) ORDER BY t.tgname"""

# Fires what the rows that were made up have deferred until COMMIT, since a table with pending events can be neither
# altered nor truncated; afterwards constraints are deferred as they were declared.
_SETTLE = """
SET CONSTRAINTS ALL IMMEDIATE;
DO $$ DECLARE deferred text; BEGIN
  FOR deferred IN SELECT DISTINCT pg_catalog.format('%I.%I', n.nspname, c.conname)
    FROM pg_catalog.pg_constraint AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.connamespace
    WHERE c.condeferred AND n.nspname = ANY (pg_catalog.current_schemas(false))
  LOOP EXECUTE 'SET CONSTRAINTS ' || deferred || ' DEFERRED'; END LOOP;
END $$"""

# Why a trigger did not fire, in other words than a clause that is false.
_SKIPPED = {
    NOT_IGNORED: "it was ignored",
    ENABLED: "it was disabled",
    FOR_REPLICAS: "it fires only where session_replication_role is replica",
}

Verdict = tuple[Result, str | None]


@dataclass(frozen=True)
class _Installed:
    """A trigger in Postgres.

    only_rejects: whether rejecting is all that it can do. table: the oid. names: of the trigger, which may be made of
    several. condition: of the one that fires for rows.
    """

    uri: str
    only_rejects: bool
    table: int
    names: tuple[str, ...]
    condition: str | None

    @classmethod
    def of(cls, connection: BaseDatabaseWrapper, model: Model, trigger: Trigger) -> Self:
        """Read a trigger from the catalog.

        Raises:
            CellError: if it is not installed.
        """
        with connection.cursor() as cursor:
            names = (model._meta.db_table, trigger.get_pgid(model))
            cursor.execute(_DEFINITION, [connection.ops.quote_name(name) for name in names])
            rows = cursor.fetchall()
        uri = trigger.get_uri(model)
        if not rows:
            raise CellError(f"{uri} is not installed here: run %pgtrigger install first.")
        per_row = next((definition for *_, definition in rows if " FOR EACH ROW " in definition), "")
        only_rejects = isinstance(trigger, Protect | FSM)
        return cls(uri, only_rejects, rows[0][1], tuple(name for name, *_ in rows), trigger_condition_in(per_row))


def try_bypasses(uri: str, using: str = "default") -> BypassFrame:
    """Try every way around the trigger of a URI; return what happened on each way.

    Each way is tried in a savepoint, on a row that the rule concerns; if there is no such row, an existing row is
    changed, or a row is made up. Nothing is kept. The rule held if its trigger fired, or refused; the trigger is traced
    as `%%pgtrace` does.

    Raises:
        UnknownTriggerError: if nothing is registered under the URI.
        CellError: if the trigger is not installed, a transaction is open, or the table cannot be read.
    """
    [(model, trigger)] = registry.registered(uri)
    connection = connections[using]
    connection.ensure_connection()
    installed = _Installed.of(connection, model, trigger)
    search = Search(model, trigger, installed.condition, connection)
    found: list[Bypass] = []
    notes = ["Every way was tried in a savepoint; nothing was kept."]
    with watched(CellTracer, connection, keep=False) as cell:
        for operation, what in _search(cell, search):
            if what is None:
                nowhere = Bypass(way="every way", operation=operation, result="not applicable", reason=search.needs())
                found.append(nowhere)
                continue
            notes += [said for said in what.about(operation, model) if said not in notes]
            row = what.shown_key(model)
            for way in Ways(model, installed.uri, installed.names, connection, what).all_of(operation):
                result, reason = _tried(cell, way, installed)
                bypass = Bypass(
                    way=way.name, operation=operation, result=result, takes=way.takes, row=row, reason=reason
                )
                found.append(bypass)
    notes += [note for note in cell.notes if not note.startswith("--rollback")]
    through = sum(bypass.result == "got through" for bypass in found)
    caption = f"Ways around {installed.uri}: {through:,} of {len(found):,} got through"
    return BypassFrame.from_rows(found, caption=caption, notes=notes)


def _search(cell: CellTracer, search: Search) -> list[tuple[Operation, Concerned | None]]:
    """Return what the rule concerns for each operation; the rows stay as they are now until the cell is over.

    Raises:
        CellError: if the database does not let this role read the table.
    """
    operations = search.operations()
    looks = {
        "INSERT": search.for_insert,
        "UPDATE": search.for_update,
        "DELETE": search.for_delete,
        # TRUNCATE concerns a table as soon as there is a row in it.
        "TRUNCATE": search.for_delete,
    }
    found: list[tuple[Operation, Concerned | None]] = []
    with cell.step():
        execute(cell.connection, LIMIT_LOCK_WAITS)
        # Inserts come last: which values are unused depends on the rows that were made up for the others.
        found += [(operation, looks[operation]()) for operation in reversed(operations)]
        execute(cell.connection, _SETTLE)
    if len(found) < len(operations):
        *_, refused = (statement.error for statement in cell.recorder.log if statement.error is not None)
        raise CellError(f"Nothing could be tried: {rejection(refused, None).reason}.")
    return found[::-1]


def _tried(cell: CellTracer, way: Way, installed: _Installed) -> Verdict:
    """Try a way, and return what happened and why."""
    if way.run is None:
        return "not applicable", way.reason
    step = len(cell.outcomes) + 1
    failures: list[Exception] = []
    with cell.step(), errors_collected(cell.connection, failures):
        way.run()
        execute(cell.connection, "SET CONSTRAINTS ALL IMMEDIATE")
    uri = installed.uri
    entries = [entry for entry in cell.timeline.rows if entry.step == step and entry.trigger == uri]
    fired = next((entry for entry in entries if entry.fired), None)
    failure = failures[0] if failures else None
    if isinstance(failure, DatabaseFailure | psycopg.Error):
        return _refused(failure, rejection(failure, cell.probing.catalog), uri, fired)
    if fired is not None:
        return "held", _effect(fired)
    if failure is not None:
        said = str(failure).strip().partition("\n")[0]
        return "not applicable", f"{type(failure).__name__}: {said}"
    unseen = cell.probing.why_unobserved(installed.table)
    return _got_through(way, entries, unseen, only_rejects=installed.only_rejects)


def _refused(failure: Exception, refusal: Rejection, uri: str, fired: TraceRow | None) -> Verdict:
    if fired is not None or refusal.trigger == uri:
        return "held", refusal.reason
    if isinstance(failure.__cause__, errors.InsufficientPrivilege):
        return "held", f"this role may not: {refusal.reason}"
    by = f" by {refusal.trigger}" if refusal.trigger else ""
    return "not applicable", f"rejected{by} before the rule was reached: {refusal.reason}"


def _effect(fired: TraceRow) -> str:
    before, after = fired.before or {}, fired.after or {}
    changes = [f"{column}: {before.get(column)} → {value}" for column, value in after.items()]
    return "; ".join([*changes, *fired.notices]) or "it fired"


def _got_through(way: Way, entries: Sequence[TraceRow], unseen: str | None, *, only_rejects: bool) -> Verdict:
    """Return the verdict on a change that was made. unseen: why the trigger could not be observed."""
    if unseen and only_rejects:
        return "got through", "it did not refuse"
    if unseen:
        return ("unknown", f"the change was made, but whether the trigger fired could not be observed: {unseen}")
    clauses = [clause for entry in entries for clause, truth in (entry.condition or {}).items() if truth is not True]
    reasons = [_SKIPPED.get(clause, f"false: {clause}") for clause in dict.fromkeys(clauses)]
    return "got through", "; ".join(reasons) or way.reason or "it did not fire"
