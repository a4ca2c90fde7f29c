"""The operations of migrations: `AddTrigger`, `RemoveTrigger` and `AlterPartitioning`."""

from __future__ import annotations

from typing import TypeAlias

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation, OperationCategory
from django.db.migrations.operations.models import DeleteModel, IndexOperation, ModelOperation
from django.db.migrations.state import ProjectState

from pgmagic.compile.desired import DesiredTrigger
from pgmagic.db.changes import lives_on
from pgmagic.db.evolution import migrating
from pgmagic.declare.model_types import Model
from pgmagic.declare.names import PARTITION_OPTION
from pgmagic.declare.trigger import Trigger as DeclaredTrigger
from pgmagic.errors import DeclarationError
from pgmagic.pgtrigger.compiler import Trigger
from pgmagic.pgtrigger.project_state import Kept, find_place, put, take, triggers_at

Editor: TypeAlias = BaseDatabaseSchemaEditor

# The module that migration files name for these classes: Django writes `__module__`. It is upstream's name.
_WRITTEN_AS = "pgmagic.pgtrigger.migrations"


class TriggerOperationMixin:
    """What `AddTrigger` and `RemoveTrigger` have in common: both bring a table to what the new state holds."""

    model_name: str

    @property
    def trigger_name(self) -> str:
        """The name of the trigger among those of its model."""
        raise NotImplementedError

    def allow_migrate_model_trigger(self, schema_editor: Editor, model: Model) -> bool:
        """Return whether a database has the table of a model, also of a proxy and of an unmanaged model."""
        connection = schema_editor.connection
        return connection.vendor == "postgresql" and lives_on(connection.alias, model)

    def references_model(self, name: str, app_label: str) -> bool:
        """Return whether the operation depends on a model: it cannot move before what creates the model."""
        own_app, _, own_name = self.model_name.lower().rpartition(".")
        # The table of a many-to-many field belongs to a model whose name starts with the owner's name.
        return (own_app or app_label) == app_label and f"{own_name}_".startswith(f"{name.lower()}_")

    def database_forwards(
        self, app_label: str, schema_editor: Editor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Install the trigger as the new state has it, or drop it where the new state has no such trigger."""
        after = self._trigger_in(to_state, app_label)
        before = self._trigger_in(from_state, app_label)
        state = to_state if after else from_state
        place = find_place(state, app_label, self.model_name)
        model = state.apps.get_model(place.app_label, place.table_model)
        if not self.allow_migrate_model_trigger(schema_editor, model):
            return
        if after is not None:
            migrating.install(schema_editor, model._meta.db_table, after, before)
        elif before is not None:
            migrating.uninstall(schema_editor, model._meta.db_table, before)

    # Django passes the states exchanged.
    database_backwards = database_forwards

    def _trigger_in(self, state: ProjectState, app_label: str) -> DesiredTrigger | None:
        place = find_place(state, app_label, self.model_name)
        kept = triggers_at(state, place).get(self.trigger_name)
        if kept is None:
            return None
        suffix = f"_{place.many_to_many}" if place.many_to_many else ""
        return kept.trigger.desired(f"{place.app_label}.{state.models[place.key].name}{suffix}")


class AddTrigger(TriggerOperationMixin, IndexOperation):
    """Installs a trigger on a model's table, in place of a former declaration of the trigger.

    A migration runs it in its transaction. CREATE TRIGGER takes a SHARE ROW EXCLUSIVE lock on the table: others can
    read, and writers wait until the transaction ends. A former trigger is dropped first, for which readers wait, too; a
    trigger that was disabled stays disabled.

    Args:
        model_name: a model of the migration's own app, or `app_label.model`; the trigger of a proxy is on its table.
        trigger: as `makemigrations` writes it, or a declared trigger such as `pgtrigger.Protect(…)`.

    Raises:
        DeclarationError: if `trigger` is not a trigger.

    Example:
        >>> from pgmagic.pgtrigger.migrations import AddTrigger
        >>> keep = pgtrigger.Protect(name="keep", operation=pgtrigger.Delete)
        >>> AddTrigger("post", keep).describe()
        'Create trigger keep on model post'
    """

    __module__ = _WRITTEN_AS
    category = OperationCategory.ADDITION
    option_name = "triggers"

    def __init__(self, model_name: str, trigger: Trigger | DeclaredTrigger) -> None:
        if not isinstance(trigger, Trigger | DeclaredTrigger):
            raise DeclarationError(f"AddTrigger takes a trigger, but {trigger!r} was given.")
        self.model_name = model_name
        self.trigger = trigger

    @property
    def trigger_name(self) -> str:
        """The name of the trigger among those of its model."""
        return self.trigger.name if isinstance(self.trigger, Trigger) else self.trigger.get_name()

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Put the trigger into the model's state."""
        place = find_place(state, app_label, self.model_name)
        trigger = self.trigger
        if isinstance(trigger, DeclaredTrigger):
            trigger = Trigger.of(trigger, state.apps.get_model(place.app_label, place.table_model))
        put(state, place, Kept(app_label, trigger, place.many_to_many))

    def describe(self) -> str:
        """Return what the operation does, in a line."""
        return f"Create trigger {self.trigger_name} on model {self.model_name}"

    def deconstruct(self) -> tuple[str, list[object], dict[str, object]]:
        """Return the arguments, for a migration file."""
        return type(self).__name__, [], {"model_name": self.model_name, "trigger": self.trigger}

    @property
    def migration_name_fragment(self) -> str:
        """A part of a migration's name."""
        return f"{_fragment(self.model_name)}_{_fragment(self.trigger_name)}"

    def reduce(self, operation: Operation, app_label: str) -> bool | list[Operation]:
        """Drop this operation where a later one changes or removes the trigger, or deletes its model."""
        if isinstance(operation, AddTrigger | RemoveTrigger) and (operation.model_name, operation.trigger_name) == (
            self.model_name,
            self.trigger_name,
        ):
            return [operation] if isinstance(operation, AddTrigger) else []
        if isinstance(operation, DeleteModel) and operation.name_lower == self.model_name.lower():
            return [operation]
        return super().reduce(operation, app_label)


class RemoveTrigger(TriggerOperationMixin, IndexOperation):
    """Drops a trigger, with its function, from a model's table; nothing happens where it is not installed.

    A migration runs it in its transaction. DROP TRIGGER takes an ACCESS EXCLUSIVE lock on the table: readers and
    writers wait until the transaction ends.

    Args:
        model_name: a model of the migration's own app, or `app_label.model`.
        name: the name of the trigger among those of the model.

    Example:
        >>> from pgmagic.pgtrigger.migrations import RemoveTrigger
        >>> RemoveTrigger("post", "keep_published").describe()
        'Remove trigger keep_published from model post'
    """

    __module__ = _WRITTEN_AS
    category = OperationCategory.REMOVAL
    option_name = "triggers"

    def __init__(self, model_name: str, name: str) -> None:
        self.model_name = model_name
        self.name = name

    @property
    def trigger_name(self) -> str:
        """The name of the trigger among those of its model."""
        return self.name

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Take the trigger out of the model's state."""
        take(state, find_place(state, app_label, self.model_name), self.name)

    def describe(self) -> str:
        """Return what the operation does, in a line."""
        return f"Remove trigger {self.name} from model {self.model_name}"

    def deconstruct(self) -> tuple[str, list[object], dict[str, object]]:
        """Return the arguments, for a migration file."""
        return type(self).__name__, [], {"model_name": self.model_name, "name": self.name}

    @property
    def migration_name_fragment(self) -> str:
        """A part of a migration's name."""
        return f"remove_{_fragment(self.model_name)}_{_fragment(self.name)}"


class AlterPartitioning(ModelOperation):
    """Puts the events of an event model into partitions by month, or takes them out of partitions.

    The events, indexes, triggers and privileges of the table stay. The table is locked meanwhile: into partitions for
    as long as one index is built and the events of the present month are moved; out of partitions for as long as every
    event is copied. An object that refers to the table itself, such as a view, stops the operation, and nothing is
    changed.

    Args:
        name: the event model.
        partition_by: "month", or None for no partitions.
    """

    __module__ = _WRITTEN_AS
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
        self, app_label: str, schema_editor: Editor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Make the table what the new state says."""
        model = to_state.apps.get_model(app_label, self.name)
        if schema_editor.connection.vendor == "postgresql" and self.allow_migrate_model(
            schema_editor.connection.alias, model
        ):
            migrating.repartition(schema_editor, model)

    # Django passes the states exchanged.
    database_backwards = database_forwards

    def describe(self) -> str:
        """Return what the operation does, in a line."""
        if self.partition_by is None:
            return f"Take the events of {self.name} out of partitions"
        return f"Put the events of {self.name} into partitions by {self.partition_by}"

    def deconstruct(self) -> tuple[str, list[object], dict[str, object]]:
        """Return the arguments, for a migration file."""
        return type(self).__name__, [], {"name": self.name, "partition_by": self.partition_by}

    @property
    def migration_name_fragment(self) -> str:
        """A part of a migration's name."""
        return f"{self.name_lower}_partitions"

    def reduce(self, operation: Operation, app_label: str) -> bool | list[Operation]:
        """Drop this operation where a later one sets the same option, or deletes the model."""
        if isinstance(operation, AlterPartitioning | DeleteModel) and operation.name_lower == self.name_lower:
            return [operation]
        return super().reduce(operation, app_label)


def _fragment(text: str) -> str:
    """Return a text as a part of a module's name."""
    return "".join(character if character.isalnum() else "_" for character in text.lower())
