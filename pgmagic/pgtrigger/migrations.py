"""The operations by which migrations install and drop triggers: `AddTrigger` and `RemoveTrigger`."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.migrations.operations.base import OperationCategory
from django.db.migrations.operations.models import DeleteModel, IndexOperation, ModelOperation
from django.db.migrations.state import ProjectState

from pgmagic.compile.declarations import compile_as_declared
from pgmagic.compile.desired import DesiredTrigger
from pgmagic.compile.target import Target
from pgmagic.db.changes import lives_on
from pgmagic.db.evolution import migrating
from pgmagic.db.evolution.schema_editor import DatabaseSchemaEditorMixin
from pgmagic.declare.names import PARTITION_OPTION
from pgmagic.declare.trigger import Trigger as DeclaredTrigger
from pgmagic.errors import DeclarationError
from pgmagic.pgtrigger.autodetector import MigrationAutodetectorMixin
from pgmagic.pgtrigger.compiler import Trigger, TriggerSql
from pgmagic.pgtrigger.project_state import Kept, Place, find_place, put, take, triggers_at


class TriggerOperationMixin:
    """What both operations have in common."""

    model_name: str

    def allow_migrate_model_trigger(self, schema_editor: Any, model: type[models.Model]) -> bool:
        """Return whether a database has the table of a model, also of a proxy and of one not managed by Django."""
        connection = schema_editor.connection
        return connection.vendor == "postgresql" and lives_on(connection.alias, model)

    def references_model(self, name: str, app_label: str) -> bool:
        """Return whether it is about a model: what creates the model cannot be moved across it."""
        own_app, _, own_name = self.model_name.lower().rpartition(".")
        # The table of a many-to-many field belongs to a model whose name its own begins with.
        return (own_app or app_label) == app_label and f"{own_name}_".startswith(f"{name.lower()}_")

    def _migrate(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState, name: str
    ) -> None:
        """Lead a database from what one state says of a trigger to what another says."""
        after = _find(to_state, app_label, self.model_name, name)
        before = _find(from_state, app_label, self.model_name, name)
        state = to_state if after else from_state
        place = find_place(state, app_label, self.model_name)
        model = state.apps.get_model(place.app_label, place.table_model)
        if not self.allow_migrate_model_trigger(schema_editor, model):
            return
        if after is not None:
            migrating.install(schema_editor, model._meta.db_table, after, before)
        elif before is not None:
            migrating.uninstall(schema_editor, model._meta.db_table, before)


def _find(state: ProjectState, app_label: str, model_name: str, name: str) -> DesiredTrigger | None:
    place = find_place(state, app_label, model_name)
    kept = triggers_at(state, place).get(name)
    return kept.trigger.desired(_label(state, place)) if kept else None


def _label(state: ProjectState, place: Place) -> str:
    name = state.models[place.key].name
    return f"{place.app_label}.{name}{f'_{place.many_to_many}' if place.many_to_many else ''}"


class AddTrigger(TriggerOperationMixin, IndexOperation):
    """Installs a trigger on a model's table, in place of a former declaration of it.

    model_name: of a model in the migration's own app, or `app_label.model`; a proxy's trigger is on its table.
    trigger: as `makemigrations` writes it, or a declared one such as `pgtrigger.Protect(…)`.
    """

    category = OperationCategory.ADDITION
    option_name = "triggers"

    def __init__(self, model_name: str, trigger: Trigger | DeclaredTrigger) -> None:
        if not isinstance(trigger, Trigger | DeclaredTrigger):
            raise DeclarationError(f"AddTrigger takes a trigger, but {trigger!r} was given.")
        self.model_name = model_name
        self.trigger = trigger

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Put the trigger into the model's state."""
        place = find_place(state, app_label, self.model_name)
        put(state, place, Kept(app_label, self._written(state, place), place.many_to_many))

    def _written(self, state: ProjectState, place: Place) -> Trigger:
        if isinstance(self.trigger, Trigger):
            return self.trigger
        model: Any = state.apps.get_model(place.app_label, place.table_model)
        written = TriggerSql.of(compile_as_declared(self.trigger, model, Target()))
        return Trigger(name=self.trigger.get_name(), sql=written)

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Install the trigger."""
        self._migrate(app_label, schema_editor, from_state, to_state, self._name)

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Drop the trigger, or install what it was before."""
        self._migrate(app_label, schema_editor, from_state, to_state, self._name)

    @property
    def _name(self) -> str:
        return self.trigger.name if isinstance(self.trigger, Trigger) else self.trigger.get_name()

    def describe(self) -> str:
        """Return what it does, in a line."""
        return f"Create trigger {self._name} on model {self.model_name}"

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        """Return the arguments, for a migration file."""
        return type(self).__name__, [], {"model_name": self.model_name, "trigger": self.trigger}

    @property
    def migration_name_fragment(self) -> str:
        """A part of a migration's name."""
        return f"{_fragment(self.model_name)}_{_fragment(self._name)}"

    def reduce(self, operation: Any, app_label: str) -> Any:
        """Be left out where the trigger, or its model, is changed or gone further on."""
        if isinstance(operation, AddTrigger | RemoveTrigger) and (operation.model_name, operation._name) == (
            self.model_name,
            self._name,
        ):
            return [operation] if isinstance(operation, AddTrigger) else []
        if isinstance(operation, DeleteModel) and operation.name_lower == self.model_name.lower():
            return [operation]
        return super().reduce(operation, app_label)


class RemoveTrigger(TriggerOperationMixin, IndexOperation):
    """Drops a trigger, with its function, from a model's table."""

    category = OperationCategory.REMOVAL
    option_name = "triggers"

    def __init__(self, model_name: str, name: str) -> None:
        self.model_name = model_name
        self.name = name

    @property
    def _name(self) -> str:
        return self.name

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Take the trigger out of the model's state."""
        take(state, find_place(state, app_label, self.model_name), self.name)

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Drop the trigger."""
        self._migrate(app_label, schema_editor, from_state, to_state, self.name)

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Install what was dropped."""
        self._migrate(app_label, schema_editor, from_state, to_state, self.name)

    def describe(self) -> str:
        """Return what it does, in a line."""
        return f"Remove trigger {self.name} from model {self.model_name}"

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        """Return the arguments, for a migration file."""
        return type(self).__name__, [], {"model_name": self.model_name, "name": self.name}

    @property
    def migration_name_fragment(self) -> str:
        """A part of a migration's name."""
        return f"remove_{_fragment(self.model_name)}_{_fragment(self.name)}"


class AlterPartitioning(ModelOperation):
    """Leads the table of an event model into partitions (`partition_by="month"`), or out of them (None).

    Its events, indexes, triggers and rights stay. The table is locked meanwhile: into partitions for as long as one
    index is built and the events of the present month are moved, out of them for as long as every event is copied. What
    means the table itself, such as a view, stops it, and nothing is done.
    """

    category = OperationCategory.ALTERATION

    def __init__(self, name: str, partition_by: str | None) -> None:
        self.partition_by = partition_by
        super().__init__(name)

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Note it in the model's options."""
        options = state.models[app_label, self.name_lower].options
        options.pop(PARTITION_OPTION, None)
        if self.partition_by is not None:
            options[PARTITION_OPTION] = self.partition_by
        state.reload_model(app_label, self.name_lower, delay=True)

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Make the table what the state behind it says."""
        model = to_state.apps.get_model(app_label, self.name)
        if schema_editor.connection.vendor == "postgresql" and self.allow_migrate_model(
            schema_editor.connection.alias, model
        ):
            migrating.repartition(schema_editor, model)

    def database_backwards(
        self, app_label: str, schema_editor: Any, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Make the table what the state before it says."""
        self.database_forwards(app_label, schema_editor, from_state, to_state)

    def describe(self) -> str:
        """Return what it does, in a line."""
        if self.partition_by is None:
            return f"Take the events of {self.name} out of partitions"
        return f"Put the events of {self.name} into partitions by {self.partition_by}"

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        """Return the arguments, for a migration file."""
        return type(self).__name__, [], {"name": self.name, "partition_by": self.partition_by}

    @property
    def migration_name_fragment(self) -> str:
        """A part of a migration's name."""
        return f"{self.name_lower}_partitions"

    def reduce(self, operation: Any, app_label: str) -> Any:
        """Be left out where the same is said anew, or the model goes, further on."""
        if isinstance(operation, AlterPartitioning | DeleteModel) and operation.name_lower == self.name_lower:
            return [operation]
        return super().reduce(operation, app_label)


def _fragment(text: str) -> str:
    """Return a text as a part of a module's name."""
    return "".join(character if character.isalnum() else "_" for character in text.lower())


__all__ = [
    "AddTrigger",
    "AlterPartitioning",
    "DatabaseSchemaEditorMixin",
    "MigrationAutodetectorMixin",
    "RemoveTrigger",
]
