"""What `makemigrations` finds out about triggers, on top of Django's own autodetector.

Triggers go first and come back last: what is removed, renamed or retyped meets no trigger that depends on it, and what
is created finds the tables and columns that it names, under the names that they have by then.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db.migrations import operations as ops
from django.db.migrations.autodetector import OperationDependency
from django.db.migrations.state import ProjectState

from pgmagic.compile.declarations import compile_as_declared
from pgmagic.compile.target import Target
from pgmagic.declare import registry
from pgmagic.declare.names import PARTITION_OPTION
from pgmagic.pgtrigger import features
from pgmagic.pgtrigger.compiler import Trigger, TriggerSql
from pgmagic.pgtrigger.project_state import OPTION, Kept, Place, every_trigger, find_place

# A trigger's place and name.
Key = tuple[Place, str]

# After these, a trigger of the model is not what it was, or stands in their way.
_MOVING = (ops.RemoveField, ops.RenameField, ops.AlterField, ops.AlterModelTable)


class MigrationAutodetectorMixin:
    """Adds operations for triggers; goes with `django.db.migrations.autodetector.MigrationAutodetector`."""

    from_state: ProjectState
    to_state: ProjectState
    generated_operations: dict[str, list[Any]]
    renamed_models: dict[tuple[str, str], str]
    kept_model_keys: set[tuple[str, str]]
    add_operation: Any

    def _detect_changes(self, convert_apps: Any = None, graph: Any = None) -> Any:
        self._before = {(place, kept.trigger.name): kept for place, kept in every_trigger(self.from_state)}
        self._after = dict(self._declared(set(convert_apps or ())))
        for model_state in (*self.from_state.models.values(), *self.to_state.models.values()):
            # Django would write them into CreateModel.
            model_state.options.pop(OPTION, None)
        return super()._detect_changes(convert_apps, graph)  # type: ignore[misc]

    def _declared(self, convert_apps: set[str]) -> Iterator[tuple[Key, Kept]]:
        """Iterate over what is registered on models of apps that have migrations."""
        unmigrated = self.from_state.real_apps - convert_apps
        for model, trigger in registry.registered():
            place = _place(model)
            app_label = _home(trigger, place)
            if place.key in self.to_state.models and app_label not in unmigrated:
                compiled = compile_as_declared(trigger, model, Target())
                written = Trigger(name=trigger.get_name(), sql=TriggerSql.of(compiled))
                yield (place, written.name), Kept(app_label, written, place.many_to_many)

    def generate_altered_options(self) -> None:
        """Find out about options that changed: Django's own, and how event tables are partitioned."""
        # Here, because the module of the operations offers this one, too.
        from pgmagic.pgtrigger.migrations import AlterPartitioning

        super().generate_altered_options()  # type: ignore[misc]
        for app_label, name in sorted(self.kept_model_keys):
            former = self.renamed_models.get((app_label, name), name)
            before = self.from_state.models[app_label, former].options.get(PARTITION_OPTION)
            after = self.to_state.models[app_label, name].options.get(PARTITION_OPTION)
            if before != after:
                self.add_operation(app_label, AlterPartitioning(name, after))

    def _sort_migrations(self) -> None:
        self._let_tables_be_there_first()
        if features.migrations():
            created = self._remove_first()
            super()._sort_migrations()  # type: ignore[misc]
            for key in created:
                self._add_last(key)
        else:
            super()._sort_migrations()  # type: ignore[misc]

    def _let_tables_be_there_first(self) -> None:
        """Let a proxy of a many-to-many field's own model wait for the field; Django does not know that it needs it."""
        for app_label, operations in self.generated_operations.items():
            for operation in operations:
                bases: Any = operation.bases if isinstance(operation, ops.CreateModel) else ()
                for base in bases:
                    base_app, _, name = (
                        base.lower().rpartition(".") if isinstance(base, str) else ("", "", "")
                    )
                    if base_app == app_label and (base_app, name) not in self.to_state.models:
                        place = find_place(self.to_state, base_app, name)
                        operation._auto_deps.append(
                            OperationDependency(
                                app_label,
                                place.model_name,
                                place.many_to_many,
                                OperationDependency.Type.CREATE,
                            )
                        )

    def _remove_first(self) -> list[Key]:
        """Put removals in front of everything else; return what is to be created, or created anew."""
        changed = [key for key, kept in self._after.items() if not self._is_as_before(key, kept)]
        moved = self._moved_models()
        for (place, name), kept in reversed(self._before.items()):
            gone = (place, name) not in self._after
            if gone or (place.key in moved and (place, name) in changed):
                # In front of what changes the table, also where another app's migrations hold the trigger.
                home = place.app_label if place.app_label in self.generated_operations else kept.app_label
                self._add(home, place, name, beginning=True)
        return changed

    def _is_as_before(self, key: Key, kept: Kept) -> bool:
        before = self._before.get(key)
        return before is not None and before.trigger == kept.trigger

    def _moved_models(self) -> set[tuple[str, str]]:
        return {
            (app_label, str(getattr(operation, "model_name", operation.name)).lower())
            for app_label, operations in self.generated_operations.items()
            for operation in operations
            if isinstance(operation, _MOVING)
        }

    def _add_last(self, key: Key) -> None:
        place, name = key
        kept = self._after[key]
        self._add(kept.app_label, place, name, trigger=kept.trigger)

    def _add(
        self,
        app_label: str,
        place: Place,
        name: str,
        *,
        trigger: Trigger | None = None,
        beginning: bool = False,
    ) -> None:
        # Here, because the module of the operations offers this one, too.
        from pgmagic.pgtrigger import migrations

        model_name = (
            place.table_model if place.app_label == app_label else f"{place.app_label}.{place.table_model}"
        )
        operation = (
            migrations.RemoveTrigger(model_name, name)
            if trigger is None
            else migrations.AddTrigger(model_name, trigger)
        )
        self.add_operation(app_label, operation, self._dependencies(app_label, place), beginning)

    def _dependencies(self, app_label: str, place: Place) -> list[OperationDependency]:
        """Return what a trigger on another app's model waits for: the model, and its new fields."""
        if place.app_label == app_label:
            return []
        create = OperationDependency.Type.CREATE
        added = [
            OperationDependency(place.app_label, place.model_name, operation.name_lower, create)
            for operation in self.generated_operations.get(place.app_label, ())
            if isinstance(operation, ops.AddField) and operation.model_name_lower == place.model_name
        ]
        return [OperationDependency(place.app_label, place.model_name, None, create), *added]


def _place(model: Any) -> Place:
    """Return where a model's triggers are in the state; of a model that Django made, with the many-to-many field."""
    options = model._meta
    owner = options.auto_created
    if not owner:
        return Place(options.app_label, options.model_name)
    [field] = [field for field in owner._meta.local_many_to_many if field.remote_field.through is model]
    return Place(owner._meta.app_label, owner._meta.model_name, field.name.lower())


def _home(trigger: Any, place: Place) -> str:
    """Return the app whose migrations hold a trigger: an event model's own, as the tracked one may be another's."""
    event_model = getattr(trigger, "event_model", None)
    return str(event_model._meta.app_label) if event_model is not None else place.app_label


__all__ = ["MigrationAutodetectorMixin"]
