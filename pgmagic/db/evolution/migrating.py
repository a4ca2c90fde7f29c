"""What migrations do to triggers: through Django's schema editor, so that `sqlmigrate` shows it, in its transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import Error as DatabaseFailure

from pgmagic.compile import ddl
from pgmagic.compile.desired import DesiredTrigger
from pgmagic.db.evolution.repartitioning import repartitioning
from pgmagic.db.marks import marks_sql
from pgmagic.errors import InstallationError


def install(editor: Any, table: str, desired: DesiredTrigger, former: DesiredTrigger | None = None) -> None:
    """Make a table have a trigger, in place of a former declaration of it; one that was disabled stays so.

    Raises:
        InstallationError: Postgres refused.
    """
    if desired.by_row is not None and not editor.collect_sql and _is_in_tree(editor.connection, table):
        desired = desired.by_row
    names = [part.name for part in desired.triggers]
    states = {} if editor.collect_sql else _states(editor.connection, table, names)
    if former is not None:
        _drop_leftovers(editor, table, former, desired)
    try:
        _execute(editor, desired.function.create)
        for part in desired.triggers:
            if editor.collect_sql or part.name in states:
                _execute(editor, ddl.drop_trigger_if_exists(table, part.name))
            _execute(
                editor, part.create, *ddl.keep_enabled(None, table, part.name, states.get(part.name, "O"))
            )
        _execute(editor, marks_sql([desired.marking]))
    except DatabaseFailure as error:
        raise InstallationError(
            f"Postgres refused to install the trigger {desired.uri}: {str(error).strip()}"
        ) from error


def repartition(editor: Any, event_model: Any) -> None:
    """Lead an event table into partitions, or out of them, as its model says; the one that is there already stays.

    Raises:
        InstallationError: Postgres refused, or something means the table that another takes the place of.
    """
    try:
        _execute(editor, *repartitioning(event_model, datetime.now(UTC)))
    except DatabaseFailure as error:
        raise InstallationError(str(error).strip().partition("\n")[0]) from error


def _is_in_tree(connection: Any, table: str) -> bool:
    """Return whether a table has partitions, is one, or inherits in Postgres's own way."""
    with connection.cursor() as cursor:
        cursor.execute(_IN_TREE, [table])
        return bool(cursor.fetchone()[0])


def uninstall(editor: Any, table: str, desired: DesiredTrigger) -> None:
    """Take a trigger off a table, with its function; nothing happens where it is not installed."""
    for name in _names(desired):
        _drop(editor, table, name)
    _execute(editor, ddl.drop_function_if_exists(desired.function.name))


def _drop(editor: Any, table: str, name: str) -> None:
    _execute(editor, ddl.drop_trigger_if_exists(table, name))
    vars(editor).setdefault("dropped_triggers", set()).add((table, name))


def _names(desired: DesiredTrigger) -> list[str]:
    """Return the names of a declaration's triggers in Postgres, whatever the table needed of them."""
    by_row = desired.by_row.triggers if desired.by_row else ()
    return list(dict.fromkeys(part.name for part in (*desired.triggers, *by_row)))


def _drop_leftovers(editor: Any, table: str, former: DesiredTrigger, desired: DesiredTrigger) -> None:
    """Drop what a former declaration needed, and the present one does not."""
    kept = {part.name for part in desired.triggers}
    for name in _names(former):
        if name not in kept:
            _drop(editor, table, name)
    if former.function.name != desired.function.name:
        _execute(editor, ddl.drop_function_if_exists(former.function.name))


def _execute(editor: Any, *statements: str) -> None:
    for statement in statements:
        # Without parameters a percent sign is itself.
        editor.execute(statement, params=None)


def _states(connection: Any, table: str, names: Sequence[str]) -> dict[str, str]:
    """Return `tgenabled` of those triggers of a table that are there, by name."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname, tgenabled FROM pg_trigger "
            "WHERE tgrelid = to_regclass(quote_ident(%s)) AND tgname = ANY (%s)",
            [table, list(names)],
        )
        return dict(cursor.fetchall())


_IN_TREE = """
SELECT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = to_regclass(quote_ident(%s)) AND (
  c.relkind = 'p' OR EXISTS (SELECT FROM pg_inherits AS i WHERE c.oid IN (i.inhrelid, i.inhparent))))"""


def own_functions(connection: Any, table: str) -> list[tuple[str, str]]:
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
