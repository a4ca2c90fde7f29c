"""What `makemigrations` finds out about triggers, on top of Django's own autodetector.

Triggers are removed first and added last: what is removed, renamed or retyped meets no trigger that depends on it, and
a new trigger finds the tables and columns that it names, under the names that they have by then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from django.db.migrations import operations as ops
from django.db.migrations.autodetector import OperationDependency
from django.db.migrations.graph import MigrationGraph
from django.db.migrations.migration import Migration
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from pgmagic.declare import registry
from pgmagic.declare.names import PARTITION_OPTION
from pgmagic.pgtrigger import features
from pgmagic.pgtrigger.compiler import Trigger
from pgmagic.pgtrigger.operations import AddTrigger, AlterPartitioning, RemoveTrigger
from pgmagic.pgtrigger.project_state import OPTION, Kept, Place, every_trigger, find_place, home, place_of

# A trigger's place and name.
Key = tuple[Place, str]

# After these, a trigger of the model is not what it was, or blocks them.
_MOVING = (ops.RemoveField, ops.RenameField, ops.AlterField, ops.AlterModelTable)
_CREATE = OperationDependency.Type.CREATE


class MigrationAutodetectorMixin:
    """Adds operations for triggers to `makemigrations`.

    Use it with Django's class: `class Detector(MigrationAutodetectorMixin, MigrationAutodetector)`. The app
    `pgmagic.pgtrigger` does so by itself, also with another app's autodetector.
    """

    from_state: ProjectState
    to_state: ProjectState
    generated_operations: dict[str, list[Operation]]
    renamed_models: dict[tuple[str, str], str]
    kept_model_keys: set[tuple[str, str]]
    add_operation: Callable[..., None]

    def _detect_changes(
        self, convert_apps: Collection[str] | None = None, graph: MigrationGraph | None = None
    ) -> dict[str, list[Migration]]:
        self._before = {(place, kept.trigger.name): kept for place, kept in every_trigger(self.from_state)}
        self._after = dict(self._declared(set(convert_apps or ())))
        for model_state in (*self.from_state.models.values(), *self.to_state.models.values()):
            # Django would write them into CreateModel.
            model_state.options.pop(OPTION, None)
        changes: dict[str, list[Migration]] = super()._detect_changes(convert_apps, graph)  # type: ignore[misc]
        return changes

    def _declared(self, convert_apps: set[str]) -> Iterator[tuple[Key, Kept]]:
        """Iterate over the triggers that are registered on models of apps with migrations."""
        unmigrated = self.from_state.real_apps - convert_apps
        for model, trigger in registry.registered():
            place, app_label = place_of(model), home(model, trigger)
            if place.key in self.to_state.models and app_label not in unmigrated:
                written = Trigger.of(trigger, model)
                yield (place, written.name), Kept(app_label, written, place.many_to_many)

    def generate_altered_options(self) -> None:
        """Add operations for options that changed: Django's own, and how event tables are partitioned."""
        super().generate_altered_options()  # type: ignore[misc]
        for app_label, name in sorted(self.kept_model_keys):
            former = self.renamed_models.get((app_label, name), name)
            before = self.from_state.models[app_label, former].options.get(PARTITION_OPTION)
            after = self.to_state.models[app_label, name].options.get(PARTITION_OPTION)
            if before != after:
                self.add_operation(app_label, AlterPartitioning(name, after))

    def _sort_migrations(self) -> None:
        self._let_proxies_wait_for_fields()
        if not features.migrations():
            super()._sort_migrations()  # type: ignore[misc]
            return
        changed = [
            key
            for key, kept in self._after.items()
            if key not in self._before or self._before[key].trigger != kept.trigger
        ]
        self._remove_first(changed)
        super()._sort_migrations()  # type: ignore[misc]
        for place, name in changed:
            kept = self._after[place, name]
            operation = AddTrigger(_model_name(place, kept.app_label), kept.trigger)
            self.add_operation(kept.app_label, operation, self._dependencies(kept.app_label, place))

    def _let_proxies_wait_for_fields(self) -> None:
        """Let a proxy of a many-to-many field's own model wait for the field; Django does not know this dependency."""
        for app_label, operations in self.generated_operations.items():
            for operation in operations:
                if not isinstance(operation, ops.CreateModel):
                    continue
                for base in operation.bases or ():
                    base_app, _, name = base.lower().rpartition(".") if isinstance(base, str) else ("", "", "")
                    if base_app == app_label and (base_app, name) not in self.to_state.models:
                        place = find_place(self.to_state, base_app, name)
                        vars(operation)["_auto_deps"].append(
                            OperationDependency(app_label, place.model_name, place.many_to_many, _CREATE)
                        )

    def _remove_first(self, changed: Collection[Key]) -> None:
        """Put removals before everything else: of triggers that go, and of changed triggers on changed tables."""
        moved = {
            (app_label, str(getattr(operation, "model_name", operation.name)).lower())
            for app_label, operations in self.generated_operations.items()
            for operation in operations
            if isinstance(operation, _MOVING)
        }
        for (place, name), kept in reversed(self._before.items()):
            if (place, name) not in self._after or (place.key in moved and (place, name) in changed):
                # Before what changes the table, also where another app's migrations hold the trigger.
                app_label = place.app_label if place.app_label in self.generated_operations else kept.app_label
                operation = RemoveTrigger(_model_name(place, app_label), name)
                self.add_operation(app_label, operation, self._dependencies(app_label, place), beginning=True)

    def _dependencies(self, app_label: str, place: Place) -> list[OperationDependency]:
        """Return what a trigger on another app's model waits for: the model, and its new fields."""
        if place.app_label == app_label:
            return []
        added = [
            OperationDependency(place.app_label, place.model_name, operation.name_lower, _CREATE)
            for operation in self.generated_operations.get(place.app_label, ())
            if isinstance(operation, ops.AddField) and operation.model_name_lower == place.model_name
        ]
        return [OperationDependency(place.app_label, place.model_name, None, _CREATE), *added]


def _model_name(place: Place, app_label: str) -> str:
    """Return the name of a place's model as a migration of an app writes it."""
    return place.table_model if place.app_label == app_label else f"{place.app_label}.{place.table_model}"
