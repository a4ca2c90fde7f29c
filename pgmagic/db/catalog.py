"""The live catalog: triggers, their functions and tables, read in one query.

Definitions are read under an empty `search_path`, so that Postgres spells a trigger the same way for every session.

Source: https://www.postgresql.org/docs/current/catalog-pg-trigger.html
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any, LiteralString

import psycopg.errors
from django.db import InternalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from pgmagic.plan.state import Installed, InstalledFunction, InstalledTable, InstalledTrigger, Mark

# The table in which a schema remembers from which declaration its tables were made.
STATE_TABLE = "pgmagic_model"

# What Postgres holds of a trigger and of a function, as a digest. `t` is pg_trigger, `p` is pg_proc.
STORED_TRIGGER = "md5(pg_get_triggerdef(t.oid))"
STORED_FUNCTION = "md5(concat_ws('|', p.prosrc, p.proconfig::text, p.prosecdef::text, p.prolang::text))"


def _pin_path(schemas: LiteralString) -> LiteralString:
    """Return what notes the search_path and the schemas to be read, then empties the path."""
    return f"""
SELECT set_config('pgmagic.path', current_schemas(false)::text, true),
       set_config('pgmagic.schemas', ({schemas})::text, true),
       set_config('pgmagic.search_path', current_setting('search_path'), true),
       set_config('search_path', '', true)"""


_SEARCHED = _pin_path("current_schemas(false)")
# The temporary ones are left out, those of this session too.
_EVERY = _pin_path(
    "SELECT array_agg(nspname) FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
)

_RESTORE_PATH = """
SELECT set_config('search_path', current_setting('pgmagic.search_path'), true)"""

# Of a partitioned table's triggers, those of its partitions are copies, which come and go with it.
_CATALOG = f"""
WITH searched AS (SELECT oid, nspname FROM pg_namespace
                  WHERE nspname = ANY (current_setting('pgmagic.schemas')::name[])),
tables AS (SELECT c.oid, c.relname, c.relkind, s.nspname
           FROM pg_class AS c JOIN searched AS s ON s.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'f')),
triggers AS (SELECT t.*, c.nspname, c.relname, c.relkind FROM pg_trigger AS t JOIN tables AS c ON c.oid = t.tgrelid
             WHERE NOT t.tgisinternal AND t.tgparentid = 0),
marked AS (SELECT objoid, description FROM pg_description
           WHERE classoid = 'pg_proc'::regclass AND objsubid = 0 AND description LIKE '{{"pgmagic"%'),
ours AS (SELECT p.oid, p.proname, p.prorettype, s.nspname, d.description
         FROM marked AS d JOIN pg_proc AS p ON p.oid = d.objoid JOIN searched AS s ON s.oid = p.pronamespace)
SELECT json_build_array(
  current_setting('pgmagic.path')::name[],
  (SELECT json_agg(json_build_array(nspname, relname,
            (SELECT coalesce(json_agg(a.attname ORDER BY a.attnum), '[]') FROM pg_attribute AS a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
            c.relkind = 'p' OR c.oid IN (SELECT unnest(ARRAY[inhrelid, inhparent]) FROM pg_inherits)))
   FROM tables AS c),
  (SELECT json_object_agg(proname, description) FROM ours
   WHERE prorettype <> 'trigger'::regtype AND nspname = (current_setting('pgmagic.path')::name[])[1]),
  (SELECT json_agg(json_build_array(p.oid::int8, n.nspname, p.proname, obj_description(p.oid, 'pg_proc'),
                                      {STORED_FUNCTION}, pg_get_functiondef(p.oid),
                                      p.oid IN (SELECT oid FROM ours)))
   FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
   WHERE p.oid IN (SELECT tgfoid FROM triggers)
      OR p.oid IN (SELECT oid FROM ours WHERE prorettype = 'trigger'::regtype)),
  (SELECT json_agg(json_build_array(
       t.nspname, t.relname, t.tgname, t.tgtype, t.tgdeferrable, t.tginitdeferred,
       CASE WHEN t.tgattr <> '' THEN (SELECT json_agg(a.attname ORDER BY a.attnum) FROM pg_attribute AS a
        WHERE a.attrelid = t.tgrelid AND a.attnum = ANY (t.tgattr)) END,
       d.definition, t.tgenabled, obj_description(t.oid, 'pg_trigger'), md5(d.definition), t.tgfoid::int8,
       CASE t.relkind WHEN 'p' THEN
         (SELECT json_agg(part.relid::regclass::text ORDER BY 1) FROM pg_partition_tree(t.tgrelid) AS part
            JOIN pg_trigger AS copy ON copy.tgrelid = part.relid
          WHERE part.level > 0 AND copy.tgparentid <> 0 AND copy.tgname = t.tgname
            AND copy.tgenabled <> t.tgenabled) END)
       ORDER BY array_position(current_setting('pgmagic.path')::name[], t.nspname), t.nspname, t.relname, t.tgname)
   FROM triggers AS t
     -- OFFSET, so that each definition, which takes most of this query's time, is spelled once.
     CROSS JOIN LATERAL (SELECT pg_get_triggerdef(t.oid) AS definition OFFSET 0) AS d))::text
"""  # noqa: S608 - constants of ours

# What Postgres holds of the columns of a table that `m`, a row of the state table, is about.
STORED_TABLE = """
(SELECT md5(string_agg(concat_ws(' ', a.attname, y.typname, a.atttypmod, a.attnotnull, a.attgenerated), ','
                       ORDER BY a.attnum))
 FROM pg_attribute AS a JOIN pg_type AS y ON y.oid = a.atttypid
 WHERE a.attrelid = to_regclass(quote_ident(current_schema()) || '.' || quote_ident(m.table_name))
   AND a.attnum > 0 AND NOT a.attisdropped)"""

# A state table of an earlier release has no column for what was stored.
_STATE = (
    f"SELECT table_name, declared, state, label, to_jsonb(m) ->> 'stored' <> {STORED_TABLE} "  # noqa: S608
    f"FROM {STATE_TABLE} AS m"
)

_WHEN = re.compile(r" WHEN \((.*)\) EXECUTE (?:FUNCTION|PROCEDURE) ", re.DOTALL)


# How often the whole catalog is asked, while other sessions drop what is in it.
_ATTEMPTS = 5

# Where in their rows the definitions of functions and triggers are, and the function that a trigger calls.
_STORED_FUNCTION, _FUNCTION = 4, 5
_TRIGGER, _CALLED = 7, 11


def read_catalog(connection: BaseDatabaseWrapper) -> Installed:
    """Return what the schemas of the session's `search_path` hold; takes no lock that a writer would notice."""
    return _read(connection, _SEARCHED)


def read_whole_catalog(connection: BaseDatabaseWrapper) -> Installed:
    """Return what every schema holds but those of the system; names still resolve along the `search_path`.

    Other sessions drop tables meanwhile, of which the query has read already: then it is asked again.
    """
    for _ in range(_ATTEMPTS - 1):
        with suppress(_DroppedError):
            return _read_unless_dropped(connection)
    return _read_unless_dropped(connection)


class _DroppedError(InternalError):
    """Postgres looked for something that another session has just dropped."""


def _read_unless_dropped(connection: BaseDatabaseWrapper) -> Installed:
    try:
        # A savepoint, where the caller has a transaction: the error must not end that.
        with transaction.atomic(using=connection.alias):
            return _read(connection, _EVERY)
    except InternalError as error:
        if isinstance(error.__cause__, psycopg.errors.InternalError_):
            raise _DroppedError(*error.args) from error.__cause__
        raise


def _read(connection: BaseDatabaseWrapper, pin_path: LiteralString) -> Installed:
    connection.ensure_connection()
    raw: Any = connection.connection
    with connection.wrap_database_errors, raw.cursor() as cursor:
        cursor.execute(f"{pin_path};{_CATALOG};{_RESTORE_PATH}")
        cursor.nextset()
        path, tables, routines, functions, triggers = (
            part or [] for part in json.loads(cursor.fetchone()[0])
        )
        here = path[0] if path else None
        remembered: dict[str, list[Any]] = {}
        if any((schema, name) == (here, STATE_TABLE) for schema, name, *_ in tables):
            cursor.execute(_STATE)
            remembered = {name: rest for name, *rest in cursor.fetchall()}
    own = getattr(connection, "own_schema", None)
    # Postgres looks definitions up as of now, not as of the query: those of objects that another session has just
    # dropped are missing.
    functions = [row for row in functions if None not in (row[_STORED_FUNCTION], row[_FUNCTION])]
    known = {oid: InstalledFunction(*rest) for oid, *rest, _ in functions}
    triggers = [row for row in triggers if row[_TRIGGER] is not None and row[_CALLED] in known]
    return Installed(
        search_path=tuple(path),
        home=(own,) if own else tuple(path),
        tables=tuple(
            _installed_table(name, columns, schema, in_tree, remembered if schema == here else {})
            for schema, name, columns, in_tree in tables
        ),
        routines={name: Mark.from_comment(comment) for name, comment in dict(routines).items()},
        triggers=tuple(_installed_trigger(known, *row) for row in triggers),
        functions=tuple(known[oid] for oid, *_, is_ours in functions if is_ours),
    )


def _installed_table(
    name: str, columns: list[str], schema: str, in_tree: bool, remembered: dict[str, list[Any]]
) -> InstalledTable:
    declared, state, label, is_changed = remembered.get(name, (None, None, None, False))
    return InstalledTable(name, tuple(columns), declared, schema, state, in_tree, label, bool(is_changed))


def _installed_trigger(
    functions: dict[int, InstalledFunction],
    schema: str,
    table: str,
    name: str,
    kind: int,
    deferrable: bool,
    deferred: bool,
    columns: list[str] | None,
    definition: str,
    enabled: str,
    comment: str | None,
    stored: str,
    function: int,
    apart: list[str] | None,
) -> InstalledTrigger:
    fires = describe_kind(kind, columns or [])
    if deferrable:
        fires += " · DEFERRED" if deferred else " · IMMEDIATE"
    when = _WHEN.search(definition)
    return InstalledTrigger(
        schema, table, name, fires, when[1] if when else "", definition, enabled, comment, stored,
        functions[function], tuple(apart or ()),
    )  # fmt: skip


def describe_kind(kind: int, columns: list[str]) -> str:
    """Return the bits of `tgtype` in the words of CREATE TRIGGER, such as `BEFORE DELETE · ROW`."""
    when = "BEFORE" if kind & 2 else "INSTEAD OF" if kind & 64 else "AFTER"
    names = {4: "INSERT", 8: "DELETE", 16: "UPDATE", 32: "TRUNCATE"}
    events = [name for bit, name in names.items() if kind & bit]
    if columns:
        quoted = ", ".join(f'"{column}"' for column in columns)
        events[events.index("UPDATE")] = f"UPDATE OF {quoted}"
    return f"{when} {' OR '.join(events)} · {'ROW' if kind & 1 else 'STATEMENT'}"
