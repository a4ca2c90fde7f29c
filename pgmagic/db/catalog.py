"""The live catalog: triggers, their functions and tables, read in one query.

Definitions are read under an empty `search_path`, so that Postgres spells a trigger the same way for every session.

Source: https://www.postgresql.org/docs/current/catalog-pg-trigger.html
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import LiteralString, NamedTuple

import psycopg.errors
from django.db import InternalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from pgmagic.compile.sql_tokens import trigger_condition_in
from pgmagic.db.driver import driver_connection
from pgmagic.plan.installed import Installed, InstalledFunction, InstalledTable, InstalledTrigger, Mark

# The table in which a schema remembers the declarations from which its tables were made.
STATE_TABLE = "pgmagic_model"

# Digests of what Postgres holds of a trigger and of a function. `t` is pg_trigger, `p` is pg_proc.
STORED_TRIGGER = "md5(pg_get_triggerdef(t.oid))"
STORED_FUNCTION = "md5(concat_ws('|', p.prosrc, p.proconfig::text, p.prosecdef::text, p.prolang::text))"


# Compiling a query on the catalog to machine code takes fifty times as long as running it; the server may do so if the
# statistics of the catalog are out of date.
JIT_OFF: LiteralString = "set_config('pgmagic.jit', current_setting('jit'), true), set_config('jit', 'off', true)"
JIT_AS_BEFORE: LiteralString = "set_config('jit', current_setting('pgmagic.jit'), true)"


def _pin_path(schemas: LiteralString) -> LiteralString:
    """Return the SELECT that notes the search_path and the schemas to be read, then empties the path."""
    return f"""
SELECT set_config('pgmagic.path', current_schemas(false)::text, true),
       set_config('pgmagic.schemas', ({schemas})::text, true),
       set_config('pgmagic.search_path', current_setting('search_path'), true),
       set_config('search_path', '', true), {JIT_OFF}"""


_SEARCHED = _pin_path("current_schemas(false)")
# Temporary schemas are left out, also that of this session.
_EVERY = _pin_path(
    "SELECT array_agg(nspname) FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
)

_RESTORE_PATH = f"""
SELECT set_config('search_path', current_setting('pgmagic.search_path'), true), {JIT_AS_BEFORE}"""

# Objects made after initdb have OIDs from here on; so the comments of the system's own objects are not read.
# Source: https://www.postgresql.org/docs/current/system-catalog-initial-data.html
_FIRST_NORMAL_OID = 16384

# One statement, so that all parts show the same moment; the first column of a row names its kind. JSON instead of rows
# would take the server twice the time. The triggers of partitions are copies of those of the partitioned table.
_CATALOG = f"""
WITH searched AS (SELECT oid, nspname FROM pg_namespace
                  WHERE nspname = ANY (current_setting('pgmagic.schemas')::name[])),
tables AS (SELECT c.oid, c.relname, c.relkind, s.nspname
           FROM pg_class AS c JOIN searched AS s ON s.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'f')),
triggers AS MATERIALIZED (
  SELECT t.*, c.nspname, c.relname, c.relkind, pg_get_triggerdef(t.oid) AS definition
  FROM pg_trigger AS t JOIN tables AS c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal AND t.tgparentid = 0),
commented AS (SELECT objoid, classoid, description FROM pg_description
              WHERE objoid >= {_FIRST_NORMAL_OID} AND objsubid = 0
                AND classoid IN ('pg_proc'::regclass, 'pg_trigger'::regclass)),
ours AS (SELECT p.oid, p.proname, p.prorettype, s.nspname, d.description
         FROM commented AS d JOIN pg_proc AS p ON p.oid = d.objoid JOIN searched AS s ON s.oid = p.pronamespace
         WHERE d.classoid = 'pg_proc'::regclass AND d.description LIKE '{{"pgmagic"%')
SELECT 'path', NULL::name, NULL::name, NULL::name, NULL::text, NULL::text, NULL::text, NULL::text, NULL::int8,
  NULL::int2, NULL::bool, NULL::bool, current_setting('pgmagic.path')::name[]::text[], NULL::text[]
UNION ALL
SELECT 'table', nspname, relname, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
  relkind = 'p' OR oid IN (SELECT unnest(ARRAY[inhrelid, inhparent]) FROM pg_inherits), NULL,
  ARRAY(SELECT a.attname::text FROM pg_attribute AS a
        WHERE a.attrelid = tables.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum), NULL
FROM tables
UNION ALL
SELECT 'routine', NULL, NULL, proname, NULL, description, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM ours WHERE prorettype <> 'trigger'::regtype AND nspname = (current_setting('pgmagic.path')::name[])[1]
UNION ALL
SELECT 'function', n.nspname, NULL, p.proname, NULL, d.description, {STORED_FUNCTION}, NULL, p.oid::int8, NULL,
  p.oid IN (SELECT oid FROM ours), NULL, NULL, NULL
FROM (SELECT tgfoid AS oid FROM triggers UNION SELECT oid FROM ours WHERE prorettype = 'trigger'::regtype) AS f
  JOIN pg_proc AS p USING (oid) JOIN pg_namespace AS n ON n.oid = p.pronamespace
  LEFT JOIN commented AS d ON d.objoid = p.oid AND d.classoid = 'pg_proc'::regclass
UNION ALL
SELECT 'trigger', t.nspname, t.relname, t.tgname, t.definition, d.description, md5(t.definition), t.tgenabled::text,
  t.tgfoid::int8, t.tgtype, t.tgdeferrable, t.tginitdeferred,
  CASE WHEN t.tgattr <> '' THEN ARRAY(SELECT a.attname::text FROM pg_attribute AS a
    WHERE a.attrelid = t.tgrelid AND a.attnum = ANY (t.tgattr) ORDER BY a.attnum) END,
  CASE t.relkind WHEN 'p' THEN
    ARRAY(SELECT part.relid::regclass::text FROM pg_partition_tree(t.tgrelid) AS part
            JOIN pg_trigger AS copy ON copy.tgrelid = part.relid
          WHERE part.level > 0 AND copy.tgparentid <> 0 AND copy.tgname = t.tgname
            AND copy.tgenabled <> t.tgenabled ORDER BY 1) END
FROM triggers AS t
  LEFT JOIN commented AS d ON d.objoid = t.oid AND d.classoid = 'pg_trigger'::regclass
"""  # noqa: S608 - constants of this package

# The statements that create functions, by their oids.
_DEFINITIONS = "SELECT oid::int8, pg_get_functiondef(oid) FROM pg_proc WHERE oid = ANY (%s::int8[]::oid[])"

# A digest of the columns that a table has in Postgres; `m` is the row of the state table about it.
STORED_TABLE = """
(SELECT md5(string_agg(concat_ws(' ', a.attname, y.typname, a.atttypmod, a.attnotnull, a.attgenerated), ','
                       ORDER BY a.attnum))
 FROM pg_attribute AS a JOIN pg_type AS y ON y.oid = a.atttypid
 WHERE a.attrelid = to_regclass(quote_ident(current_schema()) || '.' || quote_ident(m.table_name))
   AND a.attnum > 0 AND NOT a.attisdropped)"""

# The state table of an earlier release has no column `stored`.
_STATE = (
    f"SELECT table_name, declared, state, label, to_jsonb(m) ->> 'stored' <> {STORED_TABLE} "  # noqa: S608
    f"FROM {STATE_TABLE} AS m"
)

# How often the whole catalog is read while other sessions drop objects.
_ATTEMPTS = 5


def read_catalog(connection: BaseDatabaseWrapper) -> Installed:
    """Return what the schemas of the session's `search_path` hold; takes no lock that makes a writer wait."""
    return _read(connection, _SEARCHED)


def read_whole_catalog(connection: BaseDatabaseWrapper) -> Installed:
    """Return what every schema holds except those of the system; names still resolve along the `search_path`.

    If another session drops a table while the query runs, the query is executed again.
    """
    for _ in range(_ATTEMPTS - 1):
        with suppress(_DroppedError):
            return _read_unless_dropped(connection)
    return _read_unless_dropped(connection)


class _DroppedError(InternalError):
    """Postgres looked for something that another session has just dropped."""


def _read_unless_dropped(connection: BaseDatabaseWrapper) -> Installed:
    try:
        # A savepoint if the caller has a transaction, which the error must not end.
        with transaction.atomic(using=connection.alias):
            return _read(connection, _EVERY)
    except InternalError as error:
        if isinstance(error.__cause__, psycopg.errors.InternalError_):
            raise _DroppedError(*error.args) from error.__cause__
        raise


def _read(connection: BaseDatabaseWrapper, pin_path: LiteralString) -> Installed:
    connection.ensure_connection()
    rows: defaultdict[str, list[_Row]] = defaultdict(list)
    with connection.wrap_database_errors, driver_connection(connection).cursor() as cursor:
        cursor.execute(f"{pin_path};{_CATALOG};{_RESTORE_PATH}")
        cursor.nextset()
        for kind, *row in cursor.fetchall():
            rows[kind].append(_Row(*row))
        path = tuple(rows["path"][0].names or ())
        here = next(iter(path), None)
        remembered: dict[str, _Remembered] = {}
        if any((row.schema, row.relation) == (here, STATE_TABLE) for row in rows["table"]):
            cursor.execute(_STATE)
            remembered = {name: _Remembered(*rest) for name, *rest in cursor.fetchall()}
    own = getattr(connection, "own_schema", None)
    functions = {
        row.oid: InstalledFunction(row.schema, row.name, row.comment, row.stored, row.oid) for row in rows["function"]
    }
    return Installed(
        search_path=path,
        home=(own,) if own else path,
        tables=tuple(row.as_table(here, remembered) for row in rows["table"]),
        routines={row.name: Mark.from_comment(row.comment) for row in rows["routine"]},
        triggers=tuple(_triggers(rows["trigger"], functions, path)),
        functions=tuple(functions[row.oid] for row in rows["function"] if row.first),
    )


def _triggers(
    rows: Sequence[_Row], functions: dict[int, InstalledFunction], path: Sequence[str]
) -> Iterator[InstalledTrigger]:
    """Yield the triggers by schema, in the order of the path, then by table and name."""
    marked: dict[str, list[InstalledFunction]] = {}
    for function in functions.values():
        for name, *_ in function.mark.triggers if function.mark else ():
            marked.setdefault(name, []).append(function)
    places = {schema: place for place, schema in enumerate(path)}
    for row in sorted(
        # Postgres reads definitions as of now, not as of the query: those of objects that another session has just
        # dropped are missing.
        (row for row in rows if row.definition is not None and row.oid in functions),
        key=lambda row: (places.get(row.schema, len(path)), row.schema, row.relation, row.name),
    ):
        yield row.as_trigger(functions[row.oid], marked.get(row.name, ()))


def with_definitions(connection: BaseDatabaseWrapper, installed: Installed) -> Installed:
    """Return what is installed, with the statements that create its functions unless they were read before.

    Postgres needs long to write them, and only restoring and comparing need them.
    """
    missing = [function for function in installed.all_functions if not function.definition]
    if not missing:
        return installed
    with connection.wrap_database_errors, driver_connection(connection).cursor() as cursor:
        cursor.execute(_DEFINITIONS, [[function.oid for function in missing]])
        return installed.with_definitions(dict(cursor.fetchall()))


class _Remembered(NamedTuple):
    """What the state table says of a table; is_changed: None if the columns were not noted."""

    declared: str
    state: str
    label: str
    is_changed: bool | None


class _Row(NamedTuple):
    """A row of the catalog's query without its kind; a column that does not name its kind of object explains itself."""

    schema: str
    relation: str
    name: str
    definition: str | None
    comment: str | None
    stored: str
    enabled: str
    # Of a function, or of the function that a trigger calls.
    oid: int
    # The `tgtype` of a trigger.
    kind: int
    # Whether a table is in a tree of partitions, a function is pgmagic's, a trigger is deferrable; and then deferred.
    first: bool
    second: bool
    # The schemas of the path, the columns of a table, those of a trigger's UPDATE OF.
    names: list[str] | None
    apart: list[str] | None

    def as_table(self, here: str | None, remembered: Mapping[str, _Remembered]) -> InstalledTable:
        """Return the table; remembered: what the state table, which is in the schema `here`, says by name of table."""
        columns = tuple(self.names or ())
        found = remembered.get(self.relation) if self.schema == here else None
        if found is None:
            return InstalledTable(self.relation, columns, None, self.schema, None, self.first, None, False)
        return InstalledTable(
            self.relation, columns, found.declared, self.schema, found.state, self.first, found.label,
            bool(found.is_changed),
        )  # fmt: skip

    def as_trigger(self, function: InstalledFunction, marked_by: Sequence[InstalledFunction]) -> InstalledTrigger:
        """Return the trigger; marked_by: the functions whose marks name a trigger of its name."""
        fires, definition = describe_kind(self.kind, self.names or []), str(self.definition)
        if self.first:
            fires += " · DEFERRED" if self.second else " · IMMEDIATE"
        # The function of a trigger that calls another one is found by the trigger's name, in the schema of its table.
        apart = (own for own in marked_by if own.schema == self.schema)
        return InstalledTrigger(
            self.schema, self.relation, self.name, fires, trigger_condition_in(definition) or "", definition,
            self.enabled, self.comment, self.stored, function, tuple(self.apart or ()),
            None if function in marked_by else next(apart, None),
        )  # fmt: skip


def describe_kind(kind: int, columns: list[str]) -> str:
    """Return the meaning of `tgtype` in the words of CREATE TRIGGER, such as `BEFORE DELETE · ROW`."""
    when = "BEFORE" if kind & 2 else "INSTEAD OF" if kind & 64 else "AFTER"
    names = {4: "INSERT", 8: "DELETE", 16: "UPDATE", 32: "TRUNCATE"}
    events = [name for bit, name in names.items() if kind & bit]
    if columns:
        quoted = ", ".join(f'"{column}"' for column in columns)
        events[events.index("UPDATE")] = f"UPDATE OF {quoted}"
    return f"{when} {' OR '.join(events)} · {'ROW' if kind & 1 else 'STATEMENT'}"
