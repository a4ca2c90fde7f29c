"""The live catalog: triggers, their functions and tables, read in one query.

Definitions are read under an empty `search_path`, so that Postgres spells a trigger the same way for every session.

Source: https://www.postgresql.org/docs/current/catalog-pg-trigger.html
"""

from __future__ import annotations

import json
import re
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from pgmagic.plan.state import Installed, InstalledTable, InstalledTrigger, Mark

# The table in which a schema remembers from which declaration its tables were made.
STATE_TABLE = "pgmagic_model"

# What Postgres holds of a trigger and of a function, as a digest. `t` is pg_trigger, `p` is pg_proc.
STORED_TRIGGER = "md5(pg_get_triggerdef(t.oid))"
STORED_FUNCTION = "md5(concat_ws('|', p.prosrc, p.proconfig::text, p.prosecdef::text, p.prolang::text))"

_PIN_PATH = """
SELECT set_config('pgmagic.schemas', current_schemas(false)::text, true),
       set_config('pgmagic.search_path', current_setting('search_path'), true),
       set_config('search_path', '', true)"""

_RESTORE_PATH = """
SELECT set_config('search_path', current_setting('pgmagic.search_path'), true)"""

_SCHEMAS = "current_setting('pgmagic.schemas')::name[]"

_CATALOG = f"""
WITH searched AS (SELECT oid, nspname, array_position({_SCHEMAS}, nspname) AS place
                  FROM pg_namespace WHERE nspname = ANY ({_SCHEMAS})),
tables AS (SELECT c.oid, c.relname, s.nspname, s.place
           FROM pg_class AS c JOIN searched AS s ON s.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'f'))
SELECT
  (SELECT nspname FROM searched ORDER BY place LIMIT 1),
  jsonb_build_array((SELECT jsonb_object_agg(relname, jsonb_build_array(nspname, columns)) FROM (
     SELECT DISTINCT ON (c.relname) c.relname, c.nspname,
            (SELECT coalesce(jsonb_agg(a.attname ORDER BY a.attnum), '[]') FROM pg_attribute AS a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
     FROM tables AS c ORDER BY c.relname, c.place) AS visible),
  (SELECT jsonb_object_agg(p.proname, d.description) FROM pg_proc AS p
     JOIN searched AS s ON s.oid = p.pronamespace
     JOIN pg_description AS d ON d.objoid = p.oid AND d.classoid = 'pg_proc'::regclass
     WHERE d.description LIKE '{{"pgmagic"%' AND p.prorettype <> 'trigger'::regtype
       AND s.place = (SELECT min(place) FROM searched)),
  (SELECT jsonb_agg(jsonb_build_array(
       c.nspname, c.relname, t.tgname, t.tgtype, t.tgdeferrable, t.tginitdeferred,
       (SELECT jsonb_agg(a.attname ORDER BY a.attnum) FROM pg_attribute AS a
        WHERE a.attrelid = t.tgrelid AND a.attnum = ANY (t.tgattr)),
       pg_get_triggerdef(t.oid), t.tgenabled, obj_description(t.oid, 'pg_trigger'), {STORED_TRIGGER},
       n.nspname, p.proname, obj_description(p.oid, 'pg_proc'), {STORED_FUNCTION})
       ORDER BY c.place, c.relname, t.tgname)
   FROM pg_trigger AS t
     JOIN tables AS c ON c.oid = t.tgrelid
     JOIN pg_proc AS p ON p.oid = t.tgfoid
     JOIN pg_namespace AS n ON n.oid = p.pronamespace
   WHERE NOT t.tgisinternal))::text
"""  # noqa: S608 - constants of ours

_STATE = f"SELECT table_name, declared, state FROM {STATE_TABLE}"  # noqa: S608 - a constant of ours

_WHEN = re.compile(r" WHEN \((.*)\) EXECUTE (?:FUNCTION|PROCEDURE) ", re.DOTALL)


def read_catalog(connection: BaseDatabaseWrapper) -> Installed:
    """Return what the schemas of the session's `search_path` hold; takes no lock that a writer would notice."""
    connection.ensure_connection()
    raw: Any = connection.connection
    with connection.wrap_database_errors, raw.cursor() as cursor:
        cursor.execute(f"{_PIN_PATH};{_CATALOG};{_RESTORE_PATH}")
        cursor.nextset()
        schema, found = cursor.fetchone()
        tables, routines, triggers = (part or [] for part in json.loads(found))
        tables = dict(tables)
        remembered: dict[str, tuple[str, str]] = {}
        if STATE_TABLE in tables and tables[STATE_TABLE][0] == schema:
            cursor.execute(_STATE)
            remembered = {name: (declared, state) for name, declared, state in cursor.fetchall()}
    return Installed(
        schema=schema,
        tables={
            name: _installed_table(name, columns, where, remembered if where == schema else {})
            for name, (where, columns) in tables.items()
        },
        routines={name: Mark.from_comment(comment) for name, comment in dict(routines).items()},
        triggers=tuple(_installed_trigger(*row) for row in triggers),
    )


def _installed_table(
    name: str, columns: list[str], schema: str, remembered: dict[str, tuple[str, str]]
) -> InstalledTable:
    declared, state = remembered.get(name, (None, None))
    return InstalledTable(name, tuple(columns), declared, schema, state)


def _installed_trigger(
    schema: str,
    table: str,
    name: str,
    kind: int,
    deferrable: bool,
    deferred: bool,
    columns: list[str] | None,
    definition: str,
    *rest: Any,
) -> InstalledTrigger:
    fires = describe_kind(kind, columns or [])
    if deferrable:
        fires += " · DEFERRED" if deferred else " · IMMEDIATE"
    when = _WHEN.search(definition)
    return InstalledTrigger(schema, table, name, fires, when[1] if when else "", definition, *rest)


def describe_kind(kind: int, columns: list[str]) -> str:
    """Return the bits of `tgtype` in the words of CREATE TRIGGER, such as `BEFORE DELETE · ROW`."""
    when = "BEFORE" if kind & 2 else "INSTEAD OF" if kind & 64 else "AFTER"
    names = {4: "INSERT", 8: "DELETE", 16: "UPDATE", 32: "TRUNCATE"}
    events = [name for bit, name in names.items() if kind & bit]
    if columns:
        quoted = ", ".join(f'"{column}"' for column in columns)
        events[events.index("UPDATE")] = f"UPDATE OF {quoted}"
    return f"{when} {' OR '.join(events)} · {'ROW' if kind & 1 else 'STATEMENT'}"
