"""The triggers in the state of a project that migrations build up: an option of the models that they are on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.migrations.state import ModelState, ProjectState

from pgmagic.errors import DeclarationError
from pgmagic.pgtrigger.compiler import Trigger

OPTION = "triggers"


@dataclass(frozen=True)
class Place:
    """Where a trigger is: on a model of the state, or on the table of one of its many-to-many fields.

    Django makes the latter's model by itself, and the state knows nothing of it.
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
        """What the state knows the model by."""
        return self.app_label, self.model_name


@dataclass(frozen=True)
class Kept:
    """A trigger in the state, and the app whose migrations hold it."""

    app_label: str
    trigger: Trigger
    many_to_many: str = ""


def find_place(state: ProjectState, app_label: str, model_name: str) -> Place:
    """Return the place that a model's name stands for: `item`, `auth.user`, or `order_tags` of a many-to-many field.

    Raises:
        DeclarationError: the state has no such model.
    """
    other, dot, name = model_name.lower().rpartition(".")
    app_label = other if dot else app_label
    if (app_label, name) in state.models:
        return Place(app_label, name)
    for (owner_app, owner_name), owner in state.models.items():
        for field_name in owner.fields if owner_app == app_label else ():
            if f"{owner_name}_{field_name}".lower() == name and _makes_a_model(owner, field_name):
                return Place(owner_app, owner_name, field_name.lower())
    raise DeclarationError(
        f"A migration is about a trigger on {app_label}.{name}, but there is no such model at that point: is a "
        f"dependency of the migration missing?"
    )


def _makes_a_model(owner: ModelState, field_name: str) -> bool:
    field: Any = owner.fields[field_name]
    return bool(field.many_to_many)


def triggers_at(state: ProjectState, place: Place) -> dict[str, Kept]:
    """Return the triggers of a place by their names."""
    return {
        kept.trigger.name: kept for kept in _kept(state, place) if kept.many_to_many == place.many_to_many
    }


def every_trigger(state: ProjectState) -> Iterator[tuple[Place, Kept]]:
    """Iterate over all triggers of a state."""
    for (app_label, model_name), model_state in state.models.items():
        for kept in model_state.options.get(OPTION, ()):
            yield Place(app_label, model_name, kept.many_to_many), kept


def put(state: ProjectState, place: Place, kept: Kept) -> None:
    """Let a place have a trigger, in place of one of that name."""
    _change(state, place, [*_others(state, place, kept.trigger.name), kept])


def take(state: ProjectState, place: Place, name: str) -> None:
    """Let a place have no trigger of that name."""
    _change(state, place, _others(state, place, name))


def _kept(state: ProjectState, place: Place) -> tuple[Kept, ...]:
    found: tuple[Kept, ...] = state.models[place.key].options.get(OPTION, ())
    return found


def _others(state: ProjectState, place: Place, name: str) -> list[Kept]:
    return [
        kept
        for kept in _kept(state, place)
        if (kept.trigger.name, kept.many_to_many) != (name, place.many_to_many)
    ]


def _change(state: ProjectState, place: Place, triggers: list[Kept]) -> None:
    # A new tuple: states that were cloned from this one share the former.
    state.models[place.key].options[OPTION] = tuple(triggers)
    if "apps" in vars(state):
        # The schema editor reads them off the model where a table is created again. Rendering the model and all that
        # is related to it anew, as Django does for an index, took most of the time of a migration with 200 triggers.
        # States share the class, and its table comes back as the last of them has it: right before it was deleted.
        vars(state.apps.get_model(*place.key)._meta)[OPTION] = state.models[place.key].options[OPTION]
