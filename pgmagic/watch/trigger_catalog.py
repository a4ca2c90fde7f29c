"""The triggers of the session's schemas, and which tables a statement may reach.

Source: https://www.postgresql.org/docs/current/catalog-pg-trigger.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from pgmagic.compile.ignored_names import ASKING_LINE
from pgmagic.compile.sql import literal, render
from pgmagic.db.catalog import JIT_AS_BEFORE, JIT_OFF
from pgmagic.db.driver import DriverConnection
from pgmagic.plan.installed import Mark
from pgmagic.watch.driver_cursors import unwatched
from pgmagic.watch.probes import EVENTS, BeforeRow, Event, ProbedTable

# Bits of `tgtype`. Source: Postgres, src/include/catalog/pg_trigger.h
_ROW, _BEFORE = 1, 2
_EVENT_BITS: dict[Event, int] = {"INSERT": 4, "DELETE": 8, "UPDATE": 16}
# `ev_type` of pg_rewrite.
_RULE_EVENTS = {"UPDATE": "2", "INSERT": "3", "DELETE": "4"}

_ASKING_LINE = render(literal(ASKING_LINE))

# A volatile function may write; its source names the tables. The line by which a session ignores a trigger returns the
# row unchanged, and is left out when a function is searched for RETURN.
_CATALOG = f"""
WITH searched AS (SELECT oid, nspname FROM pg_namespace
                  WHERE nspname = ANY (current_schemas(true)) AND nspname <> 'pg_catalog'),
relations AS (SELECT c.oid, c.relname, c.relnamespace, s.nspname, c.relkind
              FROM pg_class AS c JOIN searched AS s ON s.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'f'))
SELECT jsonb_build_object(
  'relations', (SELECT jsonb_agg(jsonb_build_array(
       oid::bigint, nspname, relname, relkind IN ('r', 'f'), has_table_privilege(oid, 'TRIGGER'),
       relkind = 'f' OR relkind = 'r' AND pg_relation_size(oid) > 400000,
       (SELECT a.attname FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
        WHERE i.indrelid = relations.oid AND i.indisprimary))) FROM relations),
  'functions', (SELECT jsonb_agg(jsonb_build_array(p.oid::bigint, s.nspname, p.proname, coalesce(p.prosrc, '')))
     FROM pg_proc AS p JOIN searched AS s ON s.oid = p.pronamespace
     WHERE p.provolatile = 'v' AND p.prokind IN ('f', 'p')),
  'triggers', (SELECT jsonb_agg(jsonb_build_array(
       t.tgrelid::bigint, t.tgname, t.tgtype, t.tgenabled, t.tgfoid::bigint,
       quote_ident(p.proname), quote_ident(n.nspname) || '.' || quote_ident(p.proname),
       coalesce((SELECT min(d.description) FROM pg_proc AS own JOIN pg_description AS d ON d.objoid = own.oid
                 WHERE own.proname = regexp_replace(t.tgname, '_[iudt]$', '') AND own.pronamespace = c.relnamespace
                   AND own.oid <> p.oid AND d.classoid = 'pg_proc'::regclass AND own.prorettype = 'trigger'::regtype
                   AND starts_with(d.description, '{{"pgmagic"')),
                obj_description(p.oid, 'pg_proc')),
       l.lanname = 'plpgsql' AND regexp_replace(p.prosrc, {_ASKING_LINE}, '') !~* '\\mreturn\\M') ORDER BY t.tgname)
     FROM pg_trigger AS t JOIN relations AS c ON c.oid = t.tgrelid
       JOIN pg_proc AS p ON p.oid = t.tgfoid JOIN pg_language AS l ON l.oid = p.prolang
       JOIN pg_namespace AS n ON n.oid = p.pronamespace
     WHERE NOT t.tgisinternal AND n.oid <> pg_my_temp_schema()),
  'rules', (SELECT jsonb_agg(jsonb_build_array(ev_class::bigint, rulename, ev_type))
     FROM pg_rewrite JOIN relations AS r ON r.oid = ev_class
     WHERE is_instead AND ev_enabled IN ('O', 'A') ),
  'links', (SELECT jsonb_agg(jsonb_build_array(origin::bigint, target::bigint)) FROM (
       SELECT confrelid, conrelid FROM pg_constraint
       WHERE contype = 'f' AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd'))
       UNION SELECT inhparent, inhrelid FROM pg_inherits
       UNION SELECT w.ev_class, d.refobjid FROM pg_rewrite AS w JOIN pg_depend AS d
         ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
     ) AS l (origin, target) JOIN relations AS r ON r.oid = origin))::text
"""  # noqa: S608 - constants of ours

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Relation:
    """A table or view. rows: whether it stores rows itself. may_probe: whether triggers may be created on it.

    is_large: whether it probably holds thousands of rows. key: the first column of its primary key.
    """

    oid: int
    schema: str
    name: str
    rows: bool
    may_probe: bool
    is_large: bool = False
    key: str | None = None


@dataclass(frozen=True)
class LiveTrigger:
    """A trigger of the catalog. function: its name as messages show it, without and with its schema.

    comment: of the function that was made for the trigger. only_raises: its function never returns, so that a row which
    passes the trigger is unchanged.
    """

    relation: int
    name: str
    kind: int
    enabled: str
    function_oid: int
    function: tuple[str, str]
    comment: str | None
    only_raises: bool = False

    @property
    def mark(self) -> Mark | None:
        """What pgmagic noted about it."""
        mark = Mark.from_comment(self.comment)
        return mark and mark.of_trigger(self.name)

    @property
    def uri(self) -> str:
        """Its URI, or its name in Postgres if pgmagic did not make it."""
        return self.mark.uri if self.mark else self.name

    @property
    def may_alter_rows(self) -> bool:
        """Whether it can change or swallow a row in an ordinary session."""
        is_before_row = self.kind & _ROW != 0 and self.kind & _BEFORE != 0
        return is_before_row and self.enabled in "OA" and not self.only_raises

    @property
    def events(self) -> frozenset[Event]:
        """The operations on rows that fire it."""
        return frozenset(event for event in EVENTS if self.kind & _EVENT_BITS[event])


@dataclass(frozen=True)
class TriggerCatalog:
    """The relations and triggers of the session's schemas. links: the relations that a write to one may write, too."""

    relations: Mapping[int, Relation] = field(default_factory=dict)
    triggers: tuple[LiveTrigger, ...] = ()
    functions: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    links: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    # (relation, name, event) of the rules by which a table or view does something else instead.
    rules: tuple[tuple[int, str, str], ...] = ()

    @cached_property
    def probed_tables(self) -> dict[int, ProbedTable]:
        """The tables that have BEFORE ROW triggers which can change or swallow a row, by oid."""
        found: dict[int, list[BeforeRow]] = {}
        for trigger in self.triggers:
            if trigger.may_alter_rows and self.relations[trigger.relation].rows:
                found.setdefault(trigger.relation, []).append(BeforeRow(trigger.name, trigger.events))
        return {
            oid: ProbedTable(self.relations[oid].schema, self.relations[oid].name, tuple(triggers), oid)
            for oid, triggers in found.items()
        }

    @cached_property
    def shows_queries(self) -> bool:
        """Whether a function that may write looks at the text of the statement under way."""
        return any("current_query" in source or "pg_stat_activity" in source for _, source in self.functions.values())

    @cached_property
    def has_truncating_functions(self) -> bool:
        """Whether the source of a function holds a TRUNCATE."""
        return any("truncate" in source.lower() for _, source in self.functions.values())

    def reached_tables(self, statement: str, writes: bool) -> frozenset[int]:
        """Return the tables with BEFORE ROW triggers that a statement may write to.

        These are the relations that a writing statement names, and the functions that any statement names; then what is
        reached from these: foreign keys that cascade, partitions, the tables of a view, and what the source of a
        function names. The text is only searched for names, not parsed: a table too many costs a lock. Dynamic SQL in a
        function is not followed.
        """
        if not self.probed_tables:
            return frozenset()
        return frozenset(self.reached(statement, writes) & self.probed_tables.keys())

    def reached(self, statement: str, writes: bool) -> set[int]:
        """Return the relations, and the functions, that a statement may reach; see `reached_tables`."""
        waiting = list(self._mentioned(statement, relations=writes))
        reached: set[int] = set()
        while waiting:
            oid = waiting.pop()
            if oid in reached:
                continue
            reached.add(oid)
            waiting += self.links.get(oid, ())
            waiting += [trigger.function_oid for trigger in self.triggers if trigger.relation == oid]
            if oid in self.functions:
                waiting += self._mentioned(self.functions[oid][1], relations=True)
        return reached

    def trigger_of_context(self, context: str | None, table: str | None) -> LiveTrigger | None:
        """Return the trigger whose function an error's context names innermost.

        table: decides if several triggers share the function. The server translates the words around the name, but not
        the name with its parentheses. None if no trigger function is named, or it is not clear which trigger it was.
        """
        for line in (context or "").splitlines():
            found = [trigger for trigger in self.triggers if any(f" {name}()" in line for name in trigger.function)]
            here = [trigger for trigger in found if self.relations[trigger.relation].name == table]
            if found:
                candidates = {trigger.uri: trigger for trigger in here or found}
                return next(iter(candidates.values())) if len(candidates) == 1 else None
        return None

    def rule_instead(self, table: str, verb: str) -> str | None:
        """Return the name of the rule by which a table does something else instead of a statement."""
        return next(
            (
                name
                for relation, name, event in self.rules
                if event == _RULE_EVENTS.get(verb) and self.relations[relation].name == table
            ),
            None,
        )

    def uri_of(self, relation: int, name: str) -> str:
        """Return the URI of a table's trigger by its name in Postgres."""
        found = (trigger.uri for trigger in self.triggers if (trigger.relation, trigger.name) == (relation, name))
        return next(found, name)

    def _mentioned(self, text: str, *, relations: bool) -> Iterable[int]:
        lowered = text.lower()
        words = set(_WORD.findall(lowered))
        for name, oid in [*self._names[0], *(self._names[1] if relations else ())]:
            if name in words:
                yield oid
            elif not _WORD.fullmatch(name):
                # Its quotes, and in a statement with parameters its percent signs, stand there twice.
                quoted = name.replace('"', '""')
                if quoted in lowered or quoted.replace("%", "%%") in lowered:
                    yield oid

    @cached_property
    def _names(self) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        """The names and oids of functions, and those of relations."""
        return (
            [(name.lower(), oid) for oid, (name, _) in self.functions.items()],
            [(relation.name.lower(), oid) for oid, relation in self.relations.items()],
        )


def read_trigger_catalog(raw: DriverConnection) -> TriggerCatalog:
    """Return the triggers of the schemas in a psycopg connection's `search_path`, in one query."""
    with unwatched(raw) as cursor:
        cursor.execute(f"SELECT {JIT_OFF}; {_CATALOG}; SELECT {JIT_AS_BEFORE}", prepare=False)
        cursor.nextset()
        [(text,)] = cursor.fetchall()
    found = json.loads(text)
    links: dict[int, tuple[int, ...]] = {}
    for origin, target in found["links"] or ():
        links[origin] = (*links.get(origin, ()), target)
    return TriggerCatalog(
        relations={oid: Relation(oid, *rest) for oid, *rest in found["relations"] or ()},
        triggers=tuple(
            LiveTrigger(relation, name, kind, enabled, function_oid, (plain, qualified), *rest)
            for relation, name, kind, enabled, function_oid, plain, qualified, *rest in found["triggers"] or ()
        ),
        functions={oid: (name, source) for oid, _, name, source in found["functions"] or ()},
        links=links,
        rules=tuple((relation, name, event) for relation, name, event in found["rules"] or ()),
    )
