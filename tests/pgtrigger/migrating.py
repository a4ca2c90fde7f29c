"""Operations of migrations, one by one, on the test's schema."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.migrations import operations as ops
from django.db.migrations.state import ProjectState

from pgmagic.pgtrigger.compiler import Trigger, UpsertTriggerSql

LABEL = "shop"


class Migrating:
    """A state of a project and the database that goes with it."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.state = ProjectState()
        self.done: list[tuple[Any, ProjectState, ProjectState]] = []

    def forwards(self, *operations: Any, atomic: bool = True, app_label: str = LABEL) -> None:
        """Carry out operations."""
        for operation in operations:
            new = self.state.clone()
            operation.state_forwards(app_label, new)
            with self.connection.schema_editor(atomic=atomic) as editor:
                operation.database_forwards(app_label, editor, self.state, new)
            self.done.append((operation, self.state, new))
            self.state = new

    def backwards(self, app_label: str = LABEL) -> None:
        """Take the last operation back."""
        operation, before, after = self.done.pop()
        with self.connection.schema_editor() as editor:
            operation.database_backwards(app_label, editor, after, before)
        self.state = before

    def sql_of(self, operation: Any) -> str:
        """Return what `sqlmigrate` shows."""
        new = self.state.clone()
        operation.state_forwards(LABEL, new)
        with self.connection.schema_editor(collect_sql=True, atomic=False) as editor:
            operation.database_forwards(LABEL, editor, self.state, new)
        return "\n".join(editor.collected_sql)

    def sql(self, statement: str, params: Any = None) -> list[Any]:
        """Return the rows of a statement."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement, params)
            return cursor.fetchall() if cursor.description else []

    def triggers(self, table: str) -> list[tuple[str, str]]:
        """Return the name and `tgenabled` of a table's triggers."""
        return self.sql(
            "SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal ORDER BY 1",
            [f'"{table}"'],
        )

    def functions(self) -> list[str]:
        """Return the names of the functions in the schema."""
        found = self.sql("SELECT proname FROM pg_proc WHERE pronamespace = current_schema()::regnamespace ORDER BY 1")
        return [name for (name,) in found]

    def model(self, name: str) -> Any:
        """Return a model of the present state."""
        return self.state.apps.get_model(LABEL, name)


def create(name: str, /, *, options: dict[str, Any] | None = None, **fields: Any) -> ops.CreateModel:
    """Return the operation that creates a model."""
    return ops.CreateModel(name, [("id", models.BigAutoField(primary_key=True)), *fields.items()], options=options)


def item() -> ops.CreateModel:
    """Return the operation that creates `Item`."""
    return create("Item", name=models.CharField(max_length=20, default=""), price=models.IntegerField(default=0))


def upstreams(name: str, **pieces: Any) -> Trigger:
    """Return a trigger as a migration of django-pgtrigger writes it."""
    given = {
        "pgid": f"pgtrigger_{name}_12345",
        "table": "shop_item",
        "when": "BEFORE",
        "operation": "DELETE",
        **pieces,
    }
    return Trigger(name=name, sql=UpsertTriggerSql(**given))
