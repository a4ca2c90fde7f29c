"""One of Django's migration operations that alters a table: its statements, and the step that it becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

from django.core.exceptions import FieldError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import operations as ops
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from psycopg import sql

from pgmagic.db.driver import driver_connection, only_row
from pgmagic.db.evolution.schema_editor import collecting_editor
from pgmagic.errors import DataLossError, DeclarationError
from pgmagic.plan.steps import Action, Kind, Step

_WORDS: dict[type[Operation], tuple[Kind, Action]] = {
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


@dataclass(frozen=True)
class Alteration:
    """An operation, with the models before and after it."""

    app_label: str
    operation: Operation
    before: ProjectState
    after: ProjectState

    @classmethod
    def of(cls, app_label: str, operation: Operation, before: ProjectState) -> Alteration:
        """Return an operation with the models as it leaves them."""
        after = before.clone()
        operation.state_forwards(app_label, after)
        return cls(app_label, operation, before, after)

    @property
    def label(self) -> str:
        """The label of the model whose table is altered; empty if there is no such model before."""
        name = str(getattr(self.operation, "model_name", None) or getattr(self.operation, "name", ""))
        found = self.before.models.get((self.app_label, name.lower()))
        return f"{self.app_label}.{found.name}" if found else ""

    def statements(self, connection: BaseDatabaseWrapper) -> tuple[str, ...]:
        """Return what Django's schema editor would execute.

        Raises:
            DeclarationError: if Django cannot make the change, such as to turn a field into a many-to-many field.
        """
        try:
            with collecting_editor(connection) as editor:
                self.operation.database_forwards(self.app_label, editor, self.before, self.after)
        except (ValueError, FieldError) as error:
            raise DeclarationError(f"Django cannot carry out this change of a table: {error}") from error
        return tuple(editor.collected_sql)

    def step(self, statements: tuple[str, ...]) -> Step:
        """Return the step of the plan that executes the statements."""
        operation = self.operation
        kind, action = _WORDS.get(type(operation), ("table", "alter"))
        if kind == "table":
            return Step(self.label, kind, action, statements)
        name = getattr(operation, "old_name", None) or getattr(operation, "name", None)
        for part in ("index", "constraint"):
            name = getattr(getattr(operation, part, None), "name", None) or name
        return Step(f"{self.label}.{name}", kind, action, statements)

    def check_rows(self, connection: BaseDatabaseWrapper, *, allow_data_loss: bool) -> None:
        """Refuse to drop data that nobody allowed to drop, and to require values that existing rows do not have.

        Raises:
            DataLossError: if a column or table that would be dropped holds data.
            DeclarationError: if a column that would become NOT NULL has no value in existing rows.
        """
        if isinstance(self.operation, ops.RemoveField) and not allow_data_loss:
            _check_dropped(connection, self.operation, self.before, self.app_label)
        if isinstance(self.operation, ops.AddField | ops.AlterField):
            _check_not_null(connection, self.operation, self.before, self.app_label)


def _check_dropped(
    connection: BaseDatabaseWrapper, operation: ops.RemoveField, state: ProjectState, app_label: str
) -> None:
    model = state.apps.get_model(app_label, operation.model_name)
    dropped, name = model._meta.get_field(operation.name), f"{model._meta.object_name}.{operation.name}"
    if dropped.generated:
        return
    if dropped.many_to_many:
        through = dropped.remote_field.through._meta
        if through.auto_created and _any_row(connection, through.db_table, "true"):
            raise DataLossError(
                f"The table {through.db_table} of {name} holds data and would be dropped: say --allow-data-loss to "
                f"drop it, or --rename {name}=NEW_NAME if the field has a new name."
            )
        return
    if not dropped.concrete or not dropped.column:
        return
    if _any_row(connection, model._meta.db_table, "{} IS NOT NULL", f"{dropped.column}"):
        raise DataLossError(
            f"The column {model._meta.db_table}.{dropped.column} holds data and would be dropped: say "
            f"--allow-data-loss to drop it, or --rename {name}=NEW_NAME if the field has a new name."
        )


def _check_not_null(
    connection: BaseDatabaseWrapper, operation: ops.AddField | ops.AlterField, state: ProjectState, app_label: str
) -> None:
    declared = operation.field
    if declared.null or declared.many_to_many or declared.has_default() or declared.has_db_default():
        return
    if declared.generated or (declared.blank and declared.empty_strings_allowed):
        return
    model = state.apps.get_model(app_label, operation.model_name)
    table = model._meta.db_table
    if isinstance(operation, ops.AddField):
        is_missing = _any_row(connection, table, "true")
    else:
        existing = model._meta.get_field(operation.name)
        is_missing = existing.null and _any_row(connection, table, "{} IS NULL", existing.column)
    if is_missing:
        raise DeclarationError(
            f"{model._meta.object_name}.{operation.name} is NOT NULL, and rows of {table} have no value for it: give "
            f"the field null=True or a default=."
        )


def _any_row(connection: BaseDatabaseWrapper, table: str, condition: LiteralString, column: str | None = None) -> bool:
    """Return whether a row fulfils a condition, in which {} stands for a column."""
    test = sql.SQL(condition).format(*([sql.Identifier(column)] if column else []))
    with connection.wrap_database_errors, driver_connection(connection).cursor() as cursor:
        cursor.execute(sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {})").format(sql.Identifier(table), test))
        return bool(only_row(cursor)[0])
