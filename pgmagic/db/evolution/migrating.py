"""What migrations do to triggers: in the transaction of Django's schema editor, so that `sqlmigrate` shows it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Protocol

from django.db import Error as DatabaseFailure
from django.db.backends.base.base import BaseDatabaseWrapper

from pgmagic.compile import ddl
from pgmagic.compile.desired import DesiredTrigger
from pgmagic.db.evolution.repartitioning import repartitioning
from pgmagic.db.marks import marks_sql
from pgmagic.declare.model_types import EventModel
from pgmagic.errors import InstallationError


class SchemaEditor(Protocol):
    """What is used here of Django's schema editor, with the mixin of `schema_editor.py` or without."""

    collect_sql: bool

    @property
    def connection(self) -> BaseDatabaseWrapper:
        """The connection of the editor."""

    def execute(self, sql: str, params: None) -> None:
        """Execute or collect a statement; without parameters a percent sign means itself."""


def install(editor: SchemaEditor, table: str, desired: DesiredTrigger, former: DesiredTrigger | None = None) -> None:
    """Give a table a trigger, in place of its former declaration; a disabled trigger stays disabled.

    Raises:
        InstallationError: if Postgres refuses.
    """
    states: dict[str, str] = {}
    if not editor.collect_sql:
        desired, states = _suited(editor.connection, table, desired)
    if former is not None:
        kept = {part.name for part in desired.triggers}
        drop_triggers(editor, table, [name for name in _names(former) if name not in kept])
        if former.function.name != desired.function.name:
            _execute(editor, ddl.drop_function_if_exists(former.function.name))
    try:
        _execute(editor, desired.function.create)
        for part in desired.triggers:
            if editor.collect_sql or part.name in states:
                _execute(editor, ddl.drop_trigger_if_exists(table, part.name))
            _execute(editor, part.create, *ddl.keep_enabled(None, table, part.name, states.get(part.name, "O")))
        _execute(editor, marks_sql([desired.marking]))
    except DatabaseFailure as error:
        raise InstallationError(
            f"Postgres refused to install the trigger {desired.uri}: {str(error).strip()}"
        ) from error


def _suited(
    connection: BaseDatabaseWrapper, table: str, desired: DesiredTrigger
) -> tuple[DesiredTrigger, dict[str, str]]:
    """Return what suits the table, and `tgenabled` of those of its triggers that exist, by name."""
    with connection.cursor() as cursor:
        if desired.by_row is not None:
            cursor.execute(_IN_TREE, [table])
            desired = desired.by_row if cursor.fetchone()[0] else desired
        cursor.execute(_STATES, [table, [part.name for part in desired.triggers]])
        return desired, dict(cursor.fetchall())


def repartition(editor: SchemaEditor, event_model: EventModel) -> None:
    """Turn an event table into a partitioned table, or a plain one, as its model says; if it is so, nothing happens.

    Raises:
        InstallationError: if Postgres refuses, or another object depends on the table.
    """
    try:
        _execute(editor, *repartitioning(event_model, datetime.now(UTC)))
    except DatabaseFailure as error:
        raise InstallationError(str(error).strip().partition("\n")[0]) from error


def uninstall(editor: SchemaEditor, table: str, desired: DesiredTrigger) -> None:
    """Drop a trigger of a table with its function; nothing happens if it is not installed."""
    drop_triggers(editor, table, _names(desired))
    _execute(editor, ddl.drop_function_if_exists(desired.function.name))


def drop_triggers(editor: SchemaEditor, table: str, names: Iterable[str]) -> None:
    """Drop triggers of a table if they exist, and note that for later operations of the editor."""
    for name in names:
        _execute(editor, ddl.drop_trigger_if_exists(table, name))
        vars(editor).setdefault("dropped_triggers", set()).add((table, name))


def _names(desired: DesiredTrigger) -> list[str]:
    """Return the names in Postgres of all triggers that a declaration can need, whatever the table needs."""
    by_row = desired.by_row.triggers if desired.by_row else ()
    return list(dict.fromkeys(part.name for part in (*desired.triggers, *by_row)))


def _execute(editor: SchemaEditor, *statements: str) -> None:
    for statement in statements:
        editor.execute(statement, params=None)


_STATES = """
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = to_regclass(quote_ident(%s)) AND tgname = ANY (%s)"""
# Whether a table has partitions, is a partition, or inherits in Postgres's own way.
_IN_TREE = """
SELECT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = to_regclass(quote_ident(%s)) AND (
  c.relkind = 'p' OR EXISTS (SELECT FROM pg_inherits AS i WHERE c.oid IN (i.inhrelid, i.inhparent))))"""


def own_functions(connection: BaseDatabaseWrapper, table: str) -> list[tuple[str, str]]:
    """Return (schema, name) of the functions of pgmagic's that only triggers of one table call."""
    with connection.cursor() as cursor:
        cursor.execute(_OWN_FUNCTIONS, [table])
        return list(cursor.fetchall())


_OWN_FUNCTIONS = """
SELECT DISTINCT n.nspname, p.proname FROM pg_trigger AS t
  JOIN pg_proc AS p ON p.oid = t.tgfoid
  JOIN pg_namespace AS n ON n.oid = p.pronamespace
  JOIN pg_description AS d ON d.objoid = p.oid AND d.classoid = 'pg_proc'::regclass
WHERE t.tgrelid = to_regclass(quote_ident(%s)) AND NOT t.tgisinternal AND starts_with(d.description, '{"pgmagic"')
  AND NOT EXISTS (SELECT FROM pg_trigger AS o WHERE o.tgfoid = p.oid AND o.tgrelid <> t.tgrelid)
ORDER BY 1, 2"""
