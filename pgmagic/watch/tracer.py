"""Traces in a live transaction: around the triggers of each table that a statement may write to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, contextmanager
from typing import Literal, cast

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.errors import Diagnostic
from psycopg.pq import TransactionStatus

from pgmagic.compile.ignored_names import IGNORE_SETTING, ignored
from pgmagic.compile.sql import compose, literal, render
from pgmagic.compile.sql_tokens import trigger_condition_in
from pgmagic.compile.target import Target
from pgmagic.db.driver import DriverConnection
from pgmagic.db.schemas import target_of
from pgmagic.watch.bystanders import LOCK_TIMEOUT
from pgmagic.watch.clauses import Clause
from pgmagic.watch.driver_cursors import unwatched
from pgmagic.watch.instruments import AnyInstruments, Instruments, Observed
from pgmagic.watch.messages import Messages
from pgmagic.watch.statements import Executed
from pgmagic.watch.trace_sql import (
    MESSAGE,
    MOST_TRACED,
    Enabled,
    Operation,
    TracedTable,
    TracedTrigger,
    begin_step,
    create_functions,
    create_traces,
    drop_traces,
    end_step,
)
from pgmagic.watch.trace_timeline import NOT_IGNORED, Timeline
from pgmagic.watch.trigger_catalog import LiveTrigger, TriggerCatalog
from pgmagic.watch.watched_cell import CellObserver
from pgmagic.watch.wording import clauses_in_words, judges_in_function

# Bits of `tgtype`. Source: Postgres, src/include/catalog/pg_trigger.h
_ROW, _BEFORE, _INSTEAD = 1, 2, 64
_OPERATIONS: dict[Operation, int] = {"INSERT": 4, "UPDATE": 16, "DELETE": 8, "TRUNCATE": 32}

# Definitions are read under an empty search_path, so that they name everything with its schema; and of these tables
# only, since what another session drops meanwhile cannot be printed.
_TABLES = "current_setting('pgmagic.traced_tables')::oid[]"
_DETAILS = f"""
SELECT set_config('pgmagic.traced_path', current_setting('search_path'), true), set_config('search_path', '', true);
SELECT jsonb_build_object(
  'keys', (SELECT jsonb_agg(jsonb_build_array(i.indrelid::bigint, (
       SELECT jsonb_agg(a.attname ORDER BY array_position(i.indkey::int2[], a.attnum)) FROM pg_attribute AS a
       WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[]))))
     FROM pg_index AS i WHERE i.indisprimary AND i.indrelid = ANY ({_TABLES})),
  'triggers', (SELECT jsonb_agg(jsonb_build_array(
       t.tgrelid::bigint, t.tgname, pg_get_triggerdef(t.oid), t.tgconstraint <> 0, t.tginitdeferred, t.tgdeferrable,
       (SELECT coalesce(jsonb_agg(a.attname ORDER BY a.attnum), '[]') FROM pg_attribute AS a
        WHERE a.attrelid = t.tgrelid AND a.attnum = ANY (t.tgattr::int2[])), l.lanname,
       CASE WHEN strpos(p.prosrc, '''{IGNORE_SETTING}''') > 0 THEN p.proname END))
     FROM pg_trigger AS t JOIN pg_proc AS p ON p.oid = t.tgfoid JOIN pg_language AS l ON l.oid = p.prolang
     WHERE NOT t.tgisinternal AND t.tgrelid = ANY ({_TABLES})))::text;
SELECT set_config('search_path', current_setting('pgmagic.traced_path'), true)
"""  # noqa: S608 - constants of ours


class _TraceMessages(Messages):
    """The server's messages: those of traces go to the timeline, and those of triggers to their rows there."""

    def __init__(self, timeline: Timeline) -> None:
        super().__init__()
        self.timeline = timeline

    def __call__(self, diag: Diagnostic) -> None:
        text = diag.message_primary or ""
        if text.startswith(MESSAGE):
            self.timeline.record(json.loads(text[len(MESSAGE) :]))
        elif self._quiet or not self.timeline.notice(f"{diag.severity_nonlocalized}: {text}"):
            super().__call__(diag)


class Tracing(Instruments[TracedTable]):
    """Traces around all triggers of the tables that a cell writes to."""

    magic = "%%pgtrace"

    def __init__(
        self,
        raw: DriverConnection,
        quietly: Callable[[], AbstractContextManager[None]],
        timeline: Timeline,
        target: Target,
    ) -> None:
        super().__init__(raw, quietly)
        self.target = target
        self.timeline = timeline
        self.notes: dict[str, None] = {}
        self.executed: Sequence[Executed] = ()
        self._seen = 0
        self._numbers: list[int] = []
        # The names of the tables that had traces at some time.
        self._traced: set[str] = set()
        self._live: dict[tuple[int, str], LiveTrigger] = {}
        self._known: tuple[TriggerCatalog, dict[int, TracedTable]] | None = None

    def prepare(self, statement: str, clock: int) -> None:
        """Put traces on the tables that a statement may write to, unless they have them."""
        self.end_statement()
        super().prepare(statement, clock)

    def read(self) -> list[Observed]:
        """Return nothing: what is observed comes in messages. The statement before has ended."""
        self.end_statement()
        return []

    def end_statement(self) -> None:
        """Close what the last statement left under way."""
        error = next((statement.error for statement in self.executed[self._seen :] if statement.error), None)
        self._seen = len(self.executed)
        self.timeline.end_statement(error)

    def turn(self, step: int | None) -> None:
        """Begin a step, None for COMMIT, and note what was not traced in the step before."""
        self.end_statement()
        former, self.timeline.step = self.timeline.step, step
        if self._functions_since is None or self.status != TransactionStatus.INTRANS:
            return
        self.own_changes += 1
        with self._quietly(), unwatched(self.raw) as cursor:
            cursor.execute(f"{end_step()}; {begin_step()}", prepare=False)
            [(considered, role)] = cursor.fetchall()
        if (considered or 0) > MOST_TRACED and former is not None:
            self.notes[f"Step {former}: only the first {MOST_TRACED:,} triggers that it considered are listed."] = None
        if role == "replica":
            self.notes["session_replication_role is replica: ordinary triggers do not fire, and are not listed."] = None

    def note_written(self, tables: Set[str]) -> None:
        """Note which triggers were not traced because nothing announced that their table would be written to."""
        if not tables:
            return
        for oid, table in self.tables.items():
            if table.name in tables and table.name not in self._traced and oid not in self._unobserved:
                uris = ", ".join(self._live[oid, trigger.name].uri for trigger in table.triggers)
                self.notes[
                    f"{table.name}: its triggers ({uris}) were not traced, because dynamic SQL in a function wrote to "
                    f"it, which no statement of the cell shows."
                ] = None

    @property
    def unobserved(self) -> list[str]:
        """A sentence for each thing that could not be traced, and what tracing did to other sessions."""
        held = sorted(table.name for table, _ in self._probed.values())
        waiting = (
            [
                f"While the cell ran, writes of other sessions to {', '.join(held)} waited for its end; tracing itself "
                f"waits at most {LOCK_TIMEOUT} for each lock."
            ]
            if held
            else []
        )
        return [*self.notes, *super().unobserved, *waiting]

    @property
    def tables(self) -> Mapping[int, TracedTable]:
        """The tables and views that have triggers, by oid."""
        catalog = self.catalog
        if self._known is None or self._known[0] is not catalog:
            self._known = (catalog, self._read_tables(catalog))
        return self._known[1]

    def reached(self, statement: str, writes: bool) -> Iterable[int]:
        """Return the tables with triggers that a statement may write to."""
        return self.catalog.reached(statement, writes) & self.tables.keys()

    def functions_sql(self) -> str:
        """Return the statements that make what all traces share."""
        return f"{create_functions()} {begin_step()};"

    def create_sql(self, oid: int, table: TracedTable) -> str:
        """Return the statements that put traces around the triggers of a table."""
        numbers = [self.timeline.add(table.name, self._live[oid, trigger.name], trigger) for trigger in table.triggers]
        self._numbers += numbers
        self._traced.add(table.name)
        for trigger in table.triggers:
            live = self._live[oid, trigger.name]
            has_when = any(clause.text != NOT_IGNORED for clause in trigger.clauses)
            if not trigger.per_row and not has_when and judges_in_function(live, self.target):
                self.notes[
                    f"{live.uri} fires for every statement: its function evaluates the condition for the rows."
                ] = None
        for name in table.untraced:
            uri = self._live[oid, name].uri
            self.notes[f"{table.name}: {uri} was not traced, since its name leaves no room around it."] = None
        return create_traces(table, numbers)

    def drop_sql(self) -> str:
        """Return the statement that removes all traces."""
        return drop_traces(self._numbers)

    def obstacle(self, oid: int, table: TracedTable) -> str | None:
        """Return why the triggers of a table cannot be traced, None if they can."""
        relation = self.catalog.relations.get(oid)
        return None if relation is None or relation.may_probe else "no TRIGGER privilege"

    def unobserved_sentence(self, table: TracedTable, reason: str) -> str:
        """Return which triggers of a table are not traced."""
        names = ", ".join(trigger.name for trigger in table.triggers)
        return f"{table.name}: its triggers ({names}) could not be traced: {reason}."

    def _read_tables(self, catalog: TriggerCatalog) -> dict[int, TracedTable]:
        with self._quietly(), unwatched(self.raw) as cursor:
            oids = ",".join({str(live.relation) for live in catalog.triggers})
            tables = compose("SELECT set_config('pgmagic.traced_tables', ", literal(f"{{{oids}}}"), ", true);")
            cursor.execute(f"{render(tables)} {_DETAILS}", prepare=False)
            cursor.nextset()
            cursor.nextset()
            [(text,)] = cursor.fetchall()
        found = json.loads(text)
        keys = {relation: tuple(columns) for relation, columns in found["keys"] or ()}
        details = {(relation, name): rest for relation, name, *rest in found["triggers"] or ()}
        triggers: dict[int, list[TracedTrigger]] = {}
        for live in catalog.triggers:
            traced = _traced(
                self.target, live, *details.get((live.relation, live.name), ("", False, False, False, [], "", None))
            )
            # A partitioned table or a view stores no rows: the triggers of its partitions, or INSTEAD OF, see them.
            if catalog.relations[live.relation].rows or not traced.per_row or traced.when == "INSTEAD OF":
                triggers.setdefault(live.relation, []).append(traced)
                self._live[live.relation, live.name] = live
        return {
            oid: TracedTable(
                catalog.relations[oid].schema, catalog.relations[oid].name, keys.get(oid, ()), tuple(traced)
            )
            for oid, traced in triggers.items()
        }


def _traced(
    target: Target,
    live: LiveTrigger,
    definition: str,
    is_constraint: bool,
    deferred: bool,
    deferrable: bool,
    columns: list[str],
    language: str,
    ignored_as: str | None,
) -> TracedTrigger:
    when: Literal["BEFORE", "AFTER", "INSTEAD OF"] = (
        "BEFORE" if live.kind & _BEFORE else "INSTEAD OF" if live.kind & _INSTEAD else "AFTER"
    )
    deferral: Literal["DEFERRED", "IMMEDIATE"] | None = None
    if is_constraint and deferrable:
        deferral = "DEFERRED" if deferred else "IMMEDIATE"
    condition = trigger_condition_in(definition)
    clauses = list(clauses_in_words(live, definition, condition, target)) if condition else []
    if ignored_as is not None and live.mark is not None:
        # The function of one of pgmagic's triggers checks this itself, not the WHEN clause.
        asked = render(compose("NOT ", ignored(ignored_as)))
        condition = f"({condition}) AND {asked}" if condition else asked
        clauses.append(Clause(NOT_IGNORED, asked))
    return TracedTrigger(
        name=live.name,
        when=when,
        operations=tuple(operation for operation, bit in _OPERATIONS.items() if live.kind & bit),
        per_row=bool(live.kind & _ROW),
        condition=condition,
        clauses=tuple(clauses),
        columns=tuple(columns),
        deferral=deferral,
        enabled=cast("Enabled", live.enabled),
        language=language,
    )


class CellTracer(CellObserver):
    """Watches the triggers of one cell, step by step."""

    probing: Tracing

    def make_instruments(self) -> tuple[Messages, AnyInstruments]:
        """Return what takes the messages, and traces; both fill the timeline."""
        self.timeline = Timeline()
        messages = _TraceMessages(self.timeline)
        return messages, Tracing(self.raw, messages.quietly, self.timeline, target_of(self.connection.alias))

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        super().__init__(connection)
        self.probing.executed = self.recorder.log

    @contextmanager
    def step(self) -> Iterator[None]:
        """Trace one step; see `CellObserver.step`."""
        self.probing.turn(len(self.outcomes) + 1)
        with super().step():
            yield

    def swallowed_inserts(self) -> list[Observed]:
        """Return what triggers swallowed of the rows that this step inserted."""
        self.probing.end_statement()
        return self.timeline.swallowed_inserts()

    def break_off(self, error: BaseException, *, kept: bool) -> bool:
        """Note that an exception ended the cell; see `CellObserver.break_off`."""
        if isinstance(error, Exception):
            # After an interrupt, what a trigger under way would have done is not known.
            self.probing.end_statement()
        return super().break_off(error, kept=kept)

    def finish(self) -> None:
        """Fire what is deferred until COMMIT, which is traced as part of no step."""
        self.probing.turn(None)
        try:
            super().finish()
        finally:
            self.probing.end_statement()
