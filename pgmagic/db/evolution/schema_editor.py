"""Django's schema editor, taking triggers along: where a column is retyped, where a table goes, and comes back.

Postgres refuses to retype a column that a trigger's condition names. Such triggers make room, and are put back as they
were: definition, comment, enabled or disabled. `PGTRIGGER_SCHEMA_EDITOR = False` leaves all this to Django alone.

Source: https://www.postgresql.org/docs/current/catalog-pg-depend.html
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any, cast

from django.db import Error as DatabaseFailure
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from pgmagic.compile import ddl
from pgmagic.compile.declarations import compile_as_declared
from pgmagic.compile.desired import DesiredTrigger, Marking
from pgmagic.compile.partitions import (
    after_table,
    before_table,
    partition_of,
    partitioned_table_sql,
    renamed_sql,
)
from pgmagic.compile.target import Target
from pgmagic.db.catalog import read_catalog
from pgmagic.db.evolution import migrating
from pgmagic.db.marks import marks_sql
from pgmagic.db.schemas import target_of
from pgmagic.declare import registry
from pgmagic.declare.event_fields import setting
from pgmagic.errors import InstallationError
from pgmagic.plan.installed import InstalledFunction, InstalledTrigger
from pgmagic.plan.marking import marking_again

# Triggers by the names that pgmagic and django-pgtrigger give them: nobody else's is touched.
_DEPENDENT = r"""
SELECT t.tgname FROM pg_trigger AS t
  JOIN pg_depend AS d ON d.classid = 'pg_trigger'::regclass AND d.objid = t.oid AND d.refclassid = 'pg_class'::regclass
    AND d.refobjid = t.tgrelid
  JOIN pg_attribute AS a ON a.attrelid = t.tgrelid AND a.attnum = d.refobjsubid
WHERE t.tgrelid = to_regclass(quote_ident(%s)) AND a.attname = %s
  AND NOT t.tgisinternal AND t.tgparentid = 0 AND starts_with(t.tgname, 'pgtrigger_')"""


class DatabaseSchemaEditorMixin:
    """Takes triggers along; goes with `django.db.backends.postgresql.schema.DatabaseSchemaEditor`."""

    connection: Any
    collect_sql: bool
    execute: Any
    # What plans its changes to triggers itself says no.
    takes_triggers_along = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The triggers that made room in the present alteration; None outside of one.
        self._moved: list[InstalledTrigger] | None = None
        self._marks: dict[InstalledFunction, Marking] = {}
        self._transaction = ExitStack()
        # What operations dropped, as (table, name): SQL that is only collected leaves the catalog as it is.
        self.dropped_triggers: set[tuple[str, str]] = set()

    def create_model(self, model: Any) -> None:
        """Create a model's table, and the triggers that it had, or has without migrations of its app."""
        is_partitioned = partition_of(model) is not None
        if is_partitioned:
            self.execute(before_table(model), params=None)
        super().create_model(model)  # type: ignore[misc]
        if is_partitioned:
            for statement in after_table(model, datetime.now(UTC)):
                self.execute(statement, params=None)
        if self._is_active():
            for table, desired in _triggers_of(model, target_of(self.connection.alias)):
                migrating.install(self, table, desired)

    def table_sql(self, model: Any) -> Any:
        """Return the statement that creates a table, and its parameters."""
        if partition_of(model) is not None:
            return partitioned_table_sql(self, model)
        return super().table_sql(model)  # type: ignore[misc]

    def alter_db_table(self, model: Any, old_db_table: str, new_db_table: str) -> None:
        """Rename a table, and the partitions that are called like it."""
        super().alter_db_table(model, old_db_table, new_db_table)  # type: ignore[misc]
        if partition_of(model) is not None:
            self.execute(renamed_sql(old_db_table, model), params=None)

    def delete_model(self, model: Any) -> None:
        """Drop a model's table, and the functions of its triggers."""
        functions = (
            migrating.own_functions(self.connection, model._meta.db_table) if self._is_active() else []
        )
        super().delete_model(model)  # type: ignore[misc]
        for schema, name in functions:
            self.execute(ddl.drop_function(schema, name), params=None)

    def alter_field(self, model: Any, old_field: Any, new_field: Any, strict: bool = False) -> None:
        """Alter a field; triggers that depend on its column, or on one that is retyped with it, stay what they are."""
        with self._putting_back():
            super().alter_field(model, old_field, new_field, strict)  # type: ignore[misc]

    def remove_field(self, model: Any, field: Any) -> None:
        """Remove a field.

        Raises:
            InstallationError: a trigger depends on its column, which Postgres would drop along without a word.
        """
        table, column = model._meta.db_table, field.db_parameters(self.connection)["type"] and field.column
        if column and self._is_active() and (names := self._dependent(table, column)):
            triggers = ", ".join(sorted(names))
            raise InstallationError(
                f"The column {column} of {table} cannot be dropped, because {triggers} would go with it: "
                f"change the declaration, or remove the trigger in front of this operation by RemoveTrigger."
            )
        super().remove_field(model, field)  # type: ignore[misc]

    def _alter_column_type_sql(self, model: Any, old_field: Any, new_field: Any, *rest: Any) -> Any:
        # Django comes here for every column whose type changes, in other tables too.
        if self._moved is not None and self._is_active():
            self._make_room(model._meta.db_table, new_field.column)
        return super()._alter_column_type_sql(model, old_field, new_field, *rest)  # type: ignore[misc]

    def _is_active(self) -> bool:
        return self.takes_triggers_along and bool(setting("PGTRIGGER_SCHEMA_EDITOR", True))

    @contextmanager
    def _putting_back(self) -> Iterator[None]:
        if self._moved is not None:
            # Within an alteration that puts them back.
            yield
            return
        self._moved, self._marks = [], {}
        try:
            with self._transaction:
                yield
                for trigger in self._moved:
                    self._put_back(trigger)
                if self._marks:
                    # Postgres may spell a condition in another way by now.
                    self.execute(marks_sql(list(self._marks.values())), params=None)
        finally:
            self._moved = None

    def _dependent(self, table: str, column: str) -> set[str]:
        """Return the names of the triggers on a table that depend on a column of it."""
        with self.connection.cursor() as cursor:
            cursor.execute(_DEPENDENT, [table, column])
            return {name for (name,) in cursor.fetchall() if (table, name) not in self.dropped_triggers}

    def _make_room(self, table: str, column: str) -> None:
        names = self._dependent(table, column)
        moved = cast("list[InstalledTrigger]", self._moved)
        names -= {trigger.name for trigger in moved if trigger.table == table}
        if not names:
            return
        if not moved and not self.collect_sql:
            # A migration that is not atomic: the table is never seen without them.
            self._transaction.enter_context(transaction.atomic(using=self.connection.alias))
        triggers = list(read_catalog(self.connection).triggers_on(table))
        for trigger in triggers:
            if trigger.name in names:
                self.execute(ddl.drop_trigger(trigger.schema, table, trigger.name), params=None)
                moved.append(trigger)
                marking = marking_again(trigger.own_function, triggers)
                if marking is not None:
                    self._marks[trigger.own_function] = marking

    def _put_back(self, trigger: InstalledTrigger) -> None:
        place = (trigger.schema, trigger.table, trigger.name)
        try:
            self.execute(f"{trigger.definition};", params=None)
        except DatabaseFailure as error:
            raise InstallationError(
                f"The trigger {trigger.mark.uri if trigger.mark else trigger.name} does not hold for "
                f"the column's new type ({str(error).strip()}): remove it in front of this operation by RemoveTrigger, "
                f"and add what holds behind it; makemigrations does so where the declaration changes, too."
            ) from error
        for statement in ddl.keep_enabled(*place, trigger.enabled):
            self.execute(statement, params=None)
        if trigger.comment:
            self.execute(ddl.comment_on_trigger(*place, trigger.comment), params=None)


def _triggers_of(model: Any, target: Target) -> Iterator[tuple[str, DesiredTrigger]]:
    """Iterate over the triggers that a new table has from the start, with the table of each.

    In a migration, those that its state has already: the table comes back. Without migrations of its app, as in
    tests that go without, all that are registered.
    """
    if model.__module__ == "__fake__":
        for kept in getattr(model._meta, "triggers", None) or ():
            through = f"{model._meta.model_name}_{kept.many_to_many}" if kept.many_to_many else ""
            owner = model._meta.apps.get_model(model._meta.app_label, through) if through else model
            yield owner._meta.db_table, kept.trigger.desired(owner._meta.label)
        return
    if setting("PGTRIGGER_MIGRATIONS", True):
        for owner, trigger in registry.registered():
            options: Any = owner._meta
            if options.concrete_model is model:
                yield options.db_table, compile_as_declared(trigger, owner, target)


class _CollectingMixin:
    """Collects statements as they are to be executed."""

    def execute(self, statement: Any, params: Any = ()) -> None:
        """Collect a statement; the percent sign of a comment, for which Django's has no parameters, is one."""
        params = None if str(statement).startswith("COMMENT ON ") else params
        super().execute(statement, params)  # type: ignore[misc]


def collecting_editor(connection: BaseDatabaseWrapper) -> Any:
    """Return an editor that collects statements and executes none, and leaves triggers to the plan."""
    editor: Any = connection.SchemaEditorClass
    collecting = type(editor.__name__, (_CollectingMixin, editor), {"takes_triggers_along": False})
    return collecting(connection, collect_sql=True, atomic=False)


def take_triggers_along() -> None:
    """Let the schema editors of every Postgres connection take triggers along."""
    for alias in connections:
        connection = connections[alias]
        kind = type(connection)
        editor: Any = kind.SchemaEditorClass
        if connection.vendor == "postgresql" and not issubclass(editor, DatabaseSchemaEditorMixin):
            # On the class: each thread has connections of its own.
            kind.SchemaEditorClass = type(editor.__name__, (DatabaseSchemaEditorMixin, editor), {})
