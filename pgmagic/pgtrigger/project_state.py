"""The triggers in the project state that migrations build up: an option of the models whose tables have them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.db.migrations.state import ProjectState

from pgmagic.declare.model_types import EventModel, Model
from pgmagic.declare.trigger import Trigger as DeclaredTrigger
from pgmagic.errors import DeclarationError
from pgmagic.pgtrigger.compiler import Trigger

OPTION = "triggers"


@dataclass(frozen=True)
class Place:
    """Where a trigger is: on a model of the state, or on the table of one of its many-to-many fields.

    Django makes the model of a many-to-many field by itself; the state does not have it.
    """

    app_label: str
    model_name: str
    many_to_many: str = ""

    @property
    def table_model(self) -> str:
        """The name of the model whose table it is, in lower case."""
        return f"{self.model_name}_{self.many_to_many}" if self.many_to_many else self.model_name

    @property
    def key(self) -> tuple[str, str]:
        """The key of the model in the state."""
        return self.app_label, self.model_name


@dataclass(frozen=True)
class Kept:
    """A trigger in the state, and the app whose migrations hold it."""

    app_label: str
    trigger: Trigger
    many_to_many: str = ""


def place_of(model: Model) -> Place:
    """Return where the triggers of a model are in the state; those of an automatic model are with its field."""
    owner: Model | None = model._meta.auto_created or None  # type: ignore[assignment]
    if owner is None:
        return Place(model._meta.app_label, str(model._meta.model_name))
    [field] = [field for field in owner._meta.local_many_to_many if field.remote_field.through is model]
    return Place(owner._meta.app_label, str(owner._meta.model_name), field.name.lower())


def home(model: Model, trigger: DeclaredTrigger) -> str:
    """Return the app whose migrations hold a trigger; an event model may be in another app than the tracked model."""
    event_model: EventModel | None = getattr(trigger, "event_model", None)
    return (event_model or model)._meta.app_label


def find_place(state: ProjectState, app_label: str, model_name: str) -> Place:
    """Return the place that a model's name means: `item`, `auth.user`, or `order_tags` of a many-to-many field.

    Raises:
        DeclarationError: if the state has no such model.
    """
    other, dot, name = model_name.lower().rpartition(".")
    app_label = other if dot else app_label
    if (app_label, name) in state.models:
        return Place(app_label, name)
    for (owner_app, owner_name), owner in state.models.items():
        for field_name, field in owner.fields.items() if owner_app == app_label else ():
            if f"{owner_name}_{field_name}".lower() == name and field.many_to_many:
                return Place(owner_app, owner_name, field_name.lower())
    raise DeclarationError(
        f"A migration has a trigger on {app_label}.{name}, but there is no such model at that point: add the migration "
        f"that creates the model to the dependencies."
    )


def triggers_at(state: ProjectState, place: Place) -> dict[str, Kept]:
    """Return the triggers of a place by their names."""
    return {kept.trigger.name: kept for kept in _kept(state, place) if kept.many_to_many == place.many_to_many}


def every_trigger(state: ProjectState) -> Iterator[tuple[Place, Kept]]:
    """Iterate over all triggers of a state."""
    for (app_label, model_name), model_state in state.models.items():
        for kept in model_state.options.get(OPTION, ()):
            yield Place(app_label, model_name, kept.many_to_many), kept


def put(state: ProjectState, place: Place, kept: Kept) -> None:
    """Add a trigger to a place, or replace the trigger of the same name."""
    _change(state, place, [*_others(state, place, kept.trigger.name), kept])


def take(state: ProjectState, place: Place, name: str) -> None:
    """Remove the trigger of that name from a place."""
    _change(state, place, _others(state, place, name))


def _kept(state: ProjectState, place: Place) -> tuple[Kept, ...]:
    found: tuple[Kept, ...] = state.models[place.key].options.get(OPTION, ())
    return found


def _others(state: ProjectState, place: Place, name: str) -> list[Kept]:
    return [
        kept for kept in _kept(state, place) if (kept.trigger.name, kept.many_to_many) != (name, place.many_to_many)
    ]


def _change(state: ProjectState, place: Place, triggers: list[Kept]) -> None:
    # A new tuple: states that were cloned from this one share the former.
    state.models[place.key].options[OPTION] = tuple(triggers)
    if "apps" in vars(state):
        # The schema editor reads the triggers from the model when it creates a deleted table again. Django would render
        # the model and all related models anew, as it does for an index: that took most of the time of a migration with
        # 200 triggers. States share the class, so it has the triggers of the last state before the table was deleted.
        vars(state.apps.get_model(*place.key)._meta)[OPTION] = state.models[place.key].options[OPTION]
