"""Tables that a later declaration changed: the live table is altered and keeps its data.

Django's own autodetector finds the operations and its schema editor renders them; the latter reads the names of
constraints from the live database, which is why this is not done by `compile/`. Nothing is guessed: a field is
renamed only where the user says so, and what holds data is dropped only where the user allows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import operations as ops
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.graph import MigrationGraph
from django.db.migrations.questioner import MigrationQuestioner
from django.db.migrations.state import ModelState, ProjectState
from psycopg import sql

from pgmagic.compile.desired import Desired, DesiredTable
from pgmagic.compile.model_state import load_state
from pgmagic.errors import DataLossError, DeclarationError
from pgmagic.plan.diff import plan_changes
from pgmagic.plan.state import Installed
from pgmagic.plan.steps import Action, Evolution, Kind, Plan, Step


@dataclass(frozen=True)
class Wishes:
    """What the user said about changes that cannot be told from the declarations alone.

    renames: new field name by (model label in lower case, former field name).
    """

    renames: Mapping[tuple[str, str], str] = field(default_factory=dict)
    allow_data_loss: bool = False


def plan_evolutions(
    connection: BaseDatabaseWrapper, tables: Sequence[DesiredTable], installed: Installed, wishes: Wishes
) -> dict[str, Evolution]:
    """Return what alters each table whose model is declared differently than before, by the model's label.

    Raises:
        DataLossError: a column that holds data would be dropped, and nobody allowed that.
        DeclarationError: a column without a value for existing rows would become NOT NULL.
    """
    changed = [table for table in tables if _was_made_differently(table, installed)]
    if not changed:
        return {}
    before, after = _project_states(changed, installed)
    found: dict[str, list[tuple[Step, bool]]] = {table.label: [] for table in changed}
    for app_label, operation in _operations(before, after, wishes):
        state = before.clone()
        operation.state_forwards(app_label, state)
        label = _label(operation, app_label, before)
        if label in found:
            _check(connection, operation, before, app_label, wishes)
            statements = _statements(connection, app_label, operation, before, state)
            if statements:
                found[label].append((_step(label, operation, statements), _moves_columns(operation)))
        before = state
    return {
        label: Evolution([step for step, _ in steps], any(moves for _, moves in steps))
        for label, steps in found.items()
    }


def plan_with_evolutions(
    connection: BaseDatabaseWrapper, desired: Desired, wishes: Wishes
) -> Callable[[Installed], Plan]:
    """Return what plans the changes to a catalog, alterations of tables included; see `plan_evolutions`."""
    return lambda installed: plan_changes(
        desired, installed, plan_evolutions(connection, desired.tables, installed, wishes)
    )


def _was_made_differently(table: DesiredTable, installed: Installed) -> bool:
    existing = installed.table(table.table, table.schema)
    return existing is not None and existing.declared not in (None, table.declared)


def _project_states(
    changed: Sequence[DesiredTable], installed: Installed
) -> tuple[ProjectState, ProjectState]:
    """Return the models as their tables were made, and as they are declared now; all other models are in both."""
    before, after = ProjectState(), ProjectState()
    renewed = {table.label: table for table in changed}
    for model in apps.get_models():
        table = renewed.get(model._meta.label)
        if table is None:
            before.add_model(ModelState.from_model(model))
            after.add_model(ModelState.from_model(model))
        else:
            existing = installed.table(table.table, table.schema)
            before.add_model(load_state(str(existing.state if existing else None)))
            after.add_model(load_state(table.state))
    return before, after


class _Answers(MigrationQuestioner):
    """Answers the autodetector's questions by what the user said, and by nothing else."""

    def __init__(self, wishes: Wishes) -> None:
        super().__init__()
        self.wishes = wishes

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
        """Say whether the user named this pair."""
        labels = {model_name.lower(), _tracked_name(model_name)}
        return any(
            label.rpartition(".")[2] in labels and former == old_name and new == new_name
            for (label, former), new in self.wishes.renames.items()
        )

    def ask_rename_model(self, old_model_state: Any, new_model_state: Any) -> bool:
        """Say no: tables are told apart by their models' labels."""
        return False


def _tracked_name(model_name: str) -> str:
    """Return the name of the model that an event model records: its fields are renamed with the model's own."""
    for model in apps.get_models():
        tracked = getattr(model, "pgh_tracked_model", None)
        if tracked is not None and model._meta.model_name == model_name.lower():
            return str(tracked._meta.model_name)
    return ""


def _operations(before: ProjectState, after: ProjectState, wishes: Wishes) -> Iterator[tuple[str, Any]]:
    changes = MigrationAutodetector(before, after, _Answers(wishes)).changes(MigrationGraph())
    for app_label, migrations in changes.items():
        for migration in migrations:
            for operation in migration.operations:
                _use_declared_field(app_label, operation)
                yield app_label, operation


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
    with connection.schema_editor(collect_sql=True, atomic=False) as editor:
        # In a project's process; the plan itself moves triggers out of the way.
        vars(editor)["takes_triggers_along"] = False
        operation.database_forwards(app_label, editor, before, after)
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
    if wishes.allow_data_loss or not dropped.concrete or not dropped.column:
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
