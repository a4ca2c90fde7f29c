"""Django's schema editor, which keeps triggers when a column gets another type, and when a table is dropped or made.

Postgres refuses to change the type of a column that the condition of a trigger names. Such triggers are dropped, and
made again as they were: definition, comment, enabled or disabled. `PGTRIGGER_SCHEMA_EDITOR = False` turns this off.

Source: https://www.postgresql.org/docs/current/catalog-pg-depend.html
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.db import Error as DatabaseFailure
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from pgmagic.compile import ddl
from pgmagic.compile.declarations import compile_as_declared
from pgmagic.compile.desired import DesiredTrigger, Marking
from pgmagic.compile.partitions import after_table, before_table, partition_of, partitioned_table_sql, renamed_sql
from pgmagic.compile.target import Target
from pgmagic.db.catalog import read_catalog
from pgmagic.db.evolution import migrating
from pgmagic.db.evolution.generated_columns import is_regenerated, made_ordinary
from pgmagic.db.marks import marks_sql
from pgmagic.db.schemas import target_of
from pgmagic.declare import registry
from pgmagic.declare.event_fields import setting
from pgmagic.declare.model_types import AnyField, Model
from pgmagic.errors import InstallationError
from pgmagic.plan.installed import InstalledFunction, InstalledTrigger
from pgmagic.plan.marking import marking_again

# Triggers with names that pgmagic and django-pgtrigger give; others are not touched.
_DEPENDENT = r"""
SELECT t.tgname FROM pg_trigger AS t
  JOIN pg_depend AS d ON d.classid = 'pg_trigger'::regclass AND d.objid = t.oid AND d.refclassid = 'pg_class'::regclass
    AND d.refobjid = t.tgrelid
  JOIN pg_attribute AS a ON a.attrelid = t.tgrelid AND a.attnum = d.refobjsubid
WHERE t.tgrelid = to_regclass(quote_ident(%s)) AND a.attname = %s
  AND NOT t.tgisinternal AND t.tgparentid = 0 AND starts_with(t.tgname, 'pgtrigger_')"""


if TYPE_CHECKING:
    from django.db.backends.postgresql.schema import DatabaseSchemaEditor as Base
else:
    # A mixin: the class beside it is the schema editor of the connection.
    Base = object


class DatabaseSchemaEditorMixin(Base):
    """Keeps triggers through schema changes; to be combined with Django's schema editor for Postgres."""

    # A subclass that leaves the triggers to a plan says False.
    takes_triggers_along = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The triggers that were dropped during the present alteration; None outside an alteration.
        self._moved: list[InstalledTrigger] | None = None
        self._marks: dict[InstalledFunction, Marking] = {}
        self._transaction = ExitStack()
        # (table, name) of triggers that operations dropped: collected SQL leaves the catalog as it is.
        self.dropped_triggers: set[tuple[str, str]] = set()

    def create_model(self, model: Model) -> None:
        """Create a model's table, and the triggers that it had, or has without migrations of its app."""
        is_partitioned = partition_of(model) is not None
        if is_partitioned:
            self.execute(before_table(model), params=None)
        super().create_model(model)
        if is_partitioned:
            for statement in after_table(model, datetime.now(UTC)):
                self.execute(statement, params=None)
        if self._is_active():
            for table, desired in triggers_of_new_table(model, target_of(self.connection.alias)):
                migrating.install(self, table, desired)

    def table_sql(self, model: Model) -> tuple[str, Any]:
        """Return the statement that creates a table, and its parameters."""
        return super().table_sql(model) if partition_of(model) is None else partitioned_table_sql(self, model)

    def alter_db_table(self, model: Model, old_db_table: str, new_db_table: str) -> None:
        """Rename a table, and the partitions that are named after it."""
        super().alter_db_table(model, old_db_table, new_db_table)
        if partition_of(model) is not None:
            self.execute(renamed_sql(old_db_table, model), params=None)

    def delete_model(self, model: Model) -> None:
        """Drop a model's table, and the functions of its triggers."""
        functions = migrating.own_functions(self.connection, model._meta.db_table) if self._is_active() else []
        super().delete_model(model)
        for schema, name in functions:
            self.execute(ddl.drop_function(schema, name), params=None)

    def alter_field(self, model: Model, old_field: AnyField, new_field: AnyField, strict: bool = False) -> None:
        """Alter a field; triggers that depend on its column, or on another one that changes with it, stay the same."""
        if self._moved is not None:
            # Inside an alteration that restores the triggers.
            super().alter_field(model, old_field, new_field, strict)
            return
        self._moved, self._marks = [], {}
        try:
            with self._transaction:
                self._alter(model, old_field, new_field, strict)
                for trigger in self._moved:
                    self._restore(trigger)
                if self._marks:
                    # Postgres may spell a condition in another way by now.
                    self.execute(marks_sql(list(self._marks.values())), params=None)
        finally:
            self._moved = None

    def _alter(self, model: Model, old_field: AnyField, new_field: AnyField, strict: bool) -> None:
        """Alter a field, also a mirrored one whose column is no longer generated, or is again."""
        if not is_regenerated(model, old_field, new_field):
            super().alter_field(model, old_field, new_field, strict)
        elif new_field.generated:
            self.remove_field(model, old_field)
            self.add_field(model, new_field)
        else:
            super().alter_field(model, made_ordinary(self, model, old_field), new_field, strict)

    def remove_field(self, model: Model, field: AnyField) -> None:
        """Remove a field.

        Raises:
            InstallationError: if a trigger depends on its column; Postgres would drop the trigger without a word.
        """
        table, column = model._meta.db_table, field.db_parameters(self.connection)["type"] and field.column
        if column and self._is_active() and (names := self._dependent(table, column)):
            triggers = ", ".join(sorted(names))
            raise InstallationError(
                f"The column {column} of {table} cannot be dropped, because {triggers} would be dropped with it: "
                f"change the declaration, or remove the trigger before this operation with RemoveTrigger."
            )
        super().remove_field(model, field)

    def _alter_column_type_sql(self, model: Model, old_field: AnyField, new_field: AnyField, *rest: Any) -> Any:
        # Django calls this for every column whose type changes, in other tables too.
        if self._moved is not None and self._is_active():
            self._drop_dependent(self._moved, model._meta.db_table, str(new_field.column))
        return super()._alter_column_type_sql(model, old_field, new_field, *rest)  # type: ignore[misc]

    def _is_active(self) -> bool:
        return self.takes_triggers_along and bool(setting("PGTRIGGER_SCHEMA_EDITOR", True))

    def _dependent(self, table: str, column: str) -> set[str]:
        """Return the names of the triggers on a table that depend on a column of it."""
        with self.connection.cursor() as cursor:
            cursor.execute(_DEPENDENT, [table, column])
            return {name for (name,) in cursor.fetchall() if (table, name) not in self.dropped_triggers}

    def _drop_dependent(self, moved: list[InstalledTrigger], table: str, column: str) -> None:
        """Drop the triggers that depend on a column, and add them to those that will be restored."""
        names = self._dependent(table, column)
        names -= {trigger.name for trigger in moved if trigger.table == table}
        if not names:
            return
        if not moved and not self.collect_sql:
            # A migration may not be atomic: nobody else may see the table without the triggers.
            self._transaction.enter_context(transaction.atomic(using=self.connection.alias))
        triggers = list(read_catalog(self.connection).triggers_on(table))
        for trigger in triggers:
            if trigger.name in names:
                self.execute(ddl.drop_trigger(trigger.schema, table, trigger.name), params=None)
                moved.append(trigger)
                marking = marking_again(trigger.own_function, triggers)
                if marking is not None:
                    self._marks[trigger.own_function] = marking

    def _restore(self, trigger: InstalledTrigger) -> None:
        try:
            self.execute(f"{trigger.definition};", params=None)
        except DatabaseFailure as error:
            raise InstallationError(
                f"The trigger {trigger.uri} is not valid for the column's new type ({str(error).strip()}): remove it "
                f"before this operation with RemoveTrigger, and add the new trigger after it; makemigrations does both "
                f"if the declaration changes, too."
            ) from error
        for statement in ddl.keep_enabled(*trigger.place, trigger.enabled):
            self.execute(statement, params=None)
        if trigger.comment:
            self.execute(ddl.comment_on_trigger(*trigger.place, trigger.comment), params=None)


def triggers_of_new_table(model: Model, target: Target) -> Iterator[tuple[str, DesiredTrigger]]:
    """Yield the triggers that a new table has from the start, with the table of each.

    In a migration, those that its state has already, since the table is made again. If its app has no migrations, all
    that are registered.
    """
    if model.__module__ == "__fake__":
        for kept in getattr(model._meta, "triggers", None) or ():
            through = f"{model._meta.model_name}_{kept.many_to_many}" if kept.many_to_many else ""
            owner = model._meta.apps.get_model(model._meta.app_label, through) if through else model
            yield owner._meta.db_table, kept.trigger.desired(owner._meta.label)
        return
    if setting("PGTRIGGER_MIGRATIONS", True):
        for owner, trigger in registry.registered():
            if owner._meta.concrete_model is model:
                yield owner._meta.db_table, compile_as_declared(trigger, owner, target)


class _CollectingMixin(Base):
    """Collects statements in the form in which they will be executed."""

    def execute(self, sql: object, params: Any = ()) -> None:
        """Collect a statement; Django's comments have no parameters, so that a percent sign means itself."""
        super().execute(sql, None if str(sql).startswith("COMMENT ON ") else params)  # type: ignore[arg-type]


def collecting_editor(connection: BaseDatabaseWrapper) -> Any:
    """Return an editor that collects statements instead of executing them, and leaves triggers to the plan."""
    editor: Any = connection.SchemaEditorClass
    collecting = type(editor.__name__, (_CollectingMixin, editor), {"takes_triggers_along": False})
    return collecting(connection, collect_sql=True, atomic=False)


def take_triggers_along() -> None:
    """Let the schema editors of every Postgres connection keep triggers."""
    for alias in connections:
        connection = connections[alias]
        kind = type(connection)
        editor: Any = kind.SchemaEditorClass
        if connection.vendor == "postgresql" and not issubclass(editor, DatabaseSchemaEditorMixin):
            # On the class, since each thread has connections of its own.
            kind.SchemaEditorClass = type(editor.__name__, (DatabaseSchemaEditorMixin, editor), {})
