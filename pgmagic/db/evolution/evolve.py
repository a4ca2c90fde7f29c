"""Tables that a later declaration changed: the live table is altered and keeps its data.

Django's own autodetector finds the operations and its schema editor renders them; the latter reads the names of
constraints from the live database, which is why this is not done by `compile/`. Nothing is guessed: a field is
renamed only where the user says so, and what holds data is dropped only where the user allows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from django.apps import apps
from django.core.exceptions import FieldError
from django.db import models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import operations as ops
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.graph import MigrationGraph
from django.db.migrations.questioner import MigrationQuestioner
from django.db.migrations.state import ProjectState
from psycopg import sql

from pgmagic.compile.desired import Desired, DesiredTable
from pgmagic.compile.partitions import partition_of, renamed_sql
from pgmagic.db.evolution.renames import (
    Wishes,
    asked_renames,
    find_renamings,
    project_states,
    remembered_anew,
)
from pgmagic.db.evolution.repartitioning import repartitioning
from pgmagic.db.evolution.schema_editor import collecting_editor
from pgmagic.declare.names import PARTITION_OPTION
from pgmagic.errors import DataLossError, DeclarationError
from pgmagic.plan.installed import Installed
from pgmagic.plan.planning import plan_changes
from pgmagic.plan.renaming import Renaming, as_renamed, renaming_steps
from pgmagic.plan.steps import Action, Evolution, Kind, Plan, Step


def plan_with_evolutions(
    connection: BaseDatabaseWrapper, desired: Desired, wishes: Wishes
) -> Callable[[Installed], Plan]:
    """Return what plans the changes to a catalog, renamed and altered tables included; see `plan_evolutions`."""

    def plan(installed: Installed) -> Plan:
        renamings = find_renamings(desired.tables, installed, wishes)
        renamed = as_renamed(installed, renamings)
        renames, evolutions = plan_evolutions(connection, desired.tables, renamed, renamings, wishes)
        names = renaming_steps(installed, renamings)
        return Plan([*renames, *names, *plan_changes(desired, renamed, evolutions).steps])

    return plan


def plan_evolutions(
    connection: BaseDatabaseWrapper,
    tables: Sequence[DesiredTable],
    installed: Installed,
    renamings: Sequence[Renaming],
    wishes: Wishes,
) -> tuple[list[Step], dict[str, Evolution]]:
    """Return what renames tables and columns, and what alters each table besides, by the model's label.

    installed: the catalog with the tables under their new names.

    Raises:
        DataLossError: a column that holds data would be dropped, and nobody allowed that.
        DeclarationError: a column without a value for existing rows would become NOT NULL.
    """
    changed = [table for table in tables if _was_made_differently(table, installed)]
    if not changed:
        return [], {}
    state, before, after = project_states(changed, installed, renamings)
    renames: list[Step] = []
    for app_label, operation in asked_renames(changed, before, after, renamings, wishes):
        forwards = state.clone()
        operation.state_forwards(app_label, forwards)
        statements = _statements(connection, app_label, operation, state, forwards)
        if statements:
            statements += _renamed_partitions(app_label, operation, state, forwards)
            renames.append(_rename_step(app_label, operation, forwards, statements, installed, renamings))
        state = forwards
    with _carried_out_for_now(connection, renames):
        return renames, _alterations(connection, changed, state, after, wishes)


def _alterations(
    connection: BaseDatabaseWrapper,
    changed: Sequence[DesiredTable],
    before: ProjectState,
    after: ProjectState,
    wishes: Wishes,
) -> dict[str, Evolution]:
    found: dict[str, list[tuple[Step, bool]]] = {table.label: [] for table in changed}
    for app_label, operation in _operations(before, after):
        state = before.clone()
        operation.state_forwards(app_label, state)
        label = _label(operation, app_label, before)
        if label in found:
            _check(connection, operation, before, app_label, wishes)
            statements = _statements(connection, app_label, operation, before, state)
            if statements:
                found[label].append((_step(label, operation, statements), _moves_columns(operation)))
        before = state
    for table, step in _repartitionings(changed, before, after):
        found[table.label].append((step, False))
    return {
        label: Evolution([step for step, _ in steps], any(moves for _, moves in steps))
        for label, steps in found.items()
    }


def _repartitionings(
    changed: Sequence[DesiredTable], before: ProjectState, after: ProjectState
) -> Iterator[tuple[DesiredTable, Step]]:
    """Yield the steps that lead event tables into partitions, or out of them."""
    for table in changed:
        app_label, _, name = table.label.partition(".")
        was, wanted = (
            state.models[app_label, name.lower()].options.get(PARTITION_OPTION) for state in (before, after)
        )
        if was != wanted:
            model = apps.get_model(app_label, name)
            yield table, Step(table.label, table.kind, "alter", repartitioning(model, datetime.now(UTC)))


@contextmanager
def _carried_out_for_now(connection: BaseDatabaseWrapper, steps: Sequence[Step]) -> Iterator[None]:
    """Let a block see tables and columns under their new names: the schema editor looks for their constraints."""
    if not steps:
        yield
        return
    with transaction.atomic(using=connection.alias):
        raw: Any = connection.connection
        with connection.wrap_database_errors, raw.cursor() as cursor:
            cursor.execute("\n".join(sql for step in steps for sql in step.sql))
        yield
        transaction.set_rollback(True, using=connection.alias)


def _rename_step(
    app_label: str,
    operation: Any,
    state: ProjectState,
    statements: tuple[str, ...],
    installed: Installed,
    renamings: Sequence[Renaming],
) -> Step:
    if isinstance(operation, ops.RenameField):
        label = _label(operation, app_label, state)
        return Step(f"{label}.{operation.old_name}", "column", "alter", statements)
    name = operation.new_name if isinstance(operation, ops.RenameModel) else operation.name
    [renaming] = [found for found in renamings if found.table.label.lower() == f"{app_label}.{name}".lower()]
    return Step(
        renaming.former_label,
        renaming.table.kind,
        "alter",
        statements,
        forget=renaming.former.name,
        remember_others=tuple(remembered_anew(installed, renamings)),
    )


def _renamed_partitions(
    app_label: str, operation: Any, before: ProjectState, after: ProjectState
) -> tuple[str, ...]:
    """Return what renames the partitions of a renamed table; a project's schema editor does so itself."""
    if not isinstance(operation, ops.RenameModel | ops.AlterModelTable):
        return ()
    was, name = (
        (operation.old_name, operation.new_name)
        if isinstance(operation, ops.RenameModel)
        else (operation.name, operation.name)
    )
    model: Any = after.apps.get_model(app_label, name)
    former: Any = before.apps.get_model(app_label, was)
    return () if partition_of(model) is None else (renamed_sql(former._meta.db_table, model),)


def _was_made_differently(table: DesiredTable, installed: Installed) -> bool:
    existing = installed.table(table.table, table.schema)
    return existing is not None and existing.declared not in (None, table.declared)


class _NoAnswers(MigrationQuestioner):
    """Answers the autodetector's questions so that nothing is guessed: what the user asked for is done before."""

    def ask_initial(self, app_label: str) -> bool:
        """Say that operations are wanted for an app without migrations."""
        return True

    def ask_not_null_addition(self, field_name: str, model_name: str) -> Any:
        """Offer no value: whether one is needed is checked against the live table."""
        return models.NOT_PROVIDED

    def ask_not_null_alteration(self, field_name: str, model_name: str) -> Any:
        """Offer no value: whether one is needed is checked against the live table."""
        return models.NOT_PROVIDED

    def ask_rename(self, model_name: str, old_name: str, new_name: str, field_instance: Any) -> bool:
        """Say no."""
        return False

    def ask_rename_model(self, old_model_state: Any, new_model_state: Any) -> bool:
        """Say no."""
        return False


def _operations(before: ProjectState, after: ProjectState) -> Iterator[tuple[str, Any]]:
    changes = MigrationAutodetector(before, after, _NoAnswers()).changes(MigrationGraph())
    for app_label, migrations in changes.items():
        for migration in migrations:
            for operation in migration.operations:
                _use_declared_field(app_label, operation)
                yield from ((app_label, part) for part in _possible(operation, before, app_label))


def _possible(operation: Any, state: ProjectState, app_label: str) -> list[Any]:
    """Return an operation, or those that come to the same: Django cannot alter how a column is generated."""
    if isinstance(operation, ops.AlterField):
        former = state.models[app_label, operation.model_name.lower()].fields.get(operation.name)
        if operation.field.generated or (former is not None and former.generated):
            return [
                ops.RemoveField(operation.model_name, operation.name),
                ops.AddField(operation.model_name, operation.name, operation.field),
            ]
    return [operation]


def _use_declared_field(app_label: str, operation: Any) -> None:
    """Let an operation have the field as it was declared: with the default that fills existing rows."""
    if isinstance(operation, ops.AddField | ops.AlterField):
        model = apps.get_model(app_label, operation.model_name)
        operation.field = model._meta.get_field(operation.name).clone()


def _label(operation: Any, app_label: str, state: ProjectState) -> str:
    name = str(getattr(operation, "model_name", None) or getattr(operation, "name", ""))
    found = state.models.get((app_label, name.lower()))
    return f"{app_label}.{found.name}" if found else ""


def _statements(
    connection: BaseDatabaseWrapper, app_label: str, operation: Any, before: ProjectState, after: ProjectState
) -> tuple[str, ...]:
    try:
        with collecting_editor(connection) as editor:
            operation.database_forwards(app_label, editor, before, after)
    except (ValueError, FieldError) as error:
        # Django's own words for what it cannot alter, such as a field that becomes a many-to-many one.
        raise DeclarationError(f"Django cannot carry out this change of a table: {error}") from error
    return tuple(editor.collected_sql)


def _moves_columns(operation: Any) -> bool:
    """Return whether Postgres refuses the operation where a trigger's condition depends on the column."""
    return isinstance(operation, ops.AlterField | ops.RemoveField)


_WORDS: dict[type[Any], tuple[Kind, Action]] = {
    ops.AddField: ("column", "create"),
    ops.RemoveField: ("column", "drop"),
    ops.AlterField: ("column", "alter"),
    ops.RenameField: ("column", "alter"),
    ops.AddIndex: ("index", "create"),
    ops.RemoveIndex: ("index", "drop"),
    ops.RenameIndex: ("index", "alter"),
    ops.AddConstraint: ("constraint", "create"),
    ops.RemoveConstraint: ("constraint", "drop"),
    ops.AlterConstraint: ("constraint", "alter"),
}


def _step(label: str, operation: Any, statements: tuple[str, ...]) -> Step:
    kind, action = _WORDS.get(type(operation), ("table", "alter"))
    name = getattr(operation, "old_name", None) or getattr(operation, "name", None)
    for part in ("index", "constraint"):
        name = getattr(getattr(operation, part, None), "name", None) or name
    return Step(f"{label}.{name}" if kind != "table" else label, kind, action, statements)


def _check(
    connection: BaseDatabaseWrapper, operation: Any, state: ProjectState, app_label: str, wishes: Wishes
) -> None:
    if isinstance(operation, ops.RemoveField):
        _check_dropped(connection, operation, state, app_label, wishes)
    if isinstance(operation, ops.AddField | ops.AlterField):
        _check_not_null(connection, operation, state, app_label)


def _check_dropped(
    connection: BaseDatabaseWrapper, operation: Any, state: ProjectState, app_label: str, wishes: Wishes
) -> None:
    model = state.apps.get_model(app_label, operation.model_name)
    dropped = model._meta.get_field(operation.name)
    if wishes.allow_data_loss or dropped.generated:
        return
    if dropped.many_to_many:
        through = dropped.remote_field.through._meta
        if through.auto_created and _any_row(connection, through.db_table, None, present=True):
            raise DataLossError(
                f"The table {through.db_table} of {model._meta.object_name}.{operation.name} holds data and would be "
                f"dropped: say --allow-data-loss to drop it, or --rename {model._meta.object_name}.{operation.name}="
                f"NEW_NAME if the field has a new name."
            )
        return
    if not dropped.concrete or not dropped.column:
        return
    if _any_row(connection, model._meta.db_table, f"{dropped.column}", present=True):
        raise DataLossError(
            f"The column {model._meta.db_table}.{dropped.column} holds data and would be dropped: say "
            f"--allow-data-loss to drop it, or --rename {model._meta.object_name}.{operation.name}=NEW_NAME if the "
            f"field has a new name."
        )


def _check_not_null(
    connection: BaseDatabaseWrapper, operation: Any, state: ProjectState, app_label: str
) -> None:
    declared = operation.field
    if declared.null or declared.many_to_many or declared.has_default() or declared.has_db_default():
        return
    if declared.generated or (declared.blank and declared.empty_strings_allowed):
        return
    model = state.apps.get_model(app_label, operation.model_name)
    existing = isinstance(operation, ops.AlterField)
    if existing and not model._meta.get_field(operation.name).null:
        return
    column = model._meta.get_field(operation.name).column if existing else None
    if _any_row(connection, model._meta.db_table, column, present=False):
        raise DeclarationError(
            f"{model._meta.object_name}.{operation.name} is NOT NULL, and rows of {model._meta.db_table} have no value "
            f"for it: give the field null=True or a default=."
        )


def _any_row(connection: BaseDatabaseWrapper, table: str, column: str | None, *, present: bool) -> bool:
    """Return whether a row has a value in a column, or has none; without a column, whether there is a row."""
    condition: sql.Composable = sql.SQL("true")
    if column is not None:
        test = sql.SQL("{} IS NOT NULL" if present else "{} IS NULL")
        condition = test.format(sql.Identifier(column))
    raw: Any = connection.connection
    with connection.wrap_database_errors, raw.cursor() as cursor:
        cursor.execute(
            sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {})").format(sql.Identifier(table), condition)
        )
        return bool(cursor.fetchone()[0])
