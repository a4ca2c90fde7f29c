"""Compiled triggers, remembered until something changes from which they were compiled.

Installing a trigger again spent most of its time on compiling it again: half a millisecond for each trigger. The
SQL of a trigger of pgmagic's own classes depends only on its attributes, its model's fields, the target and the time
zone. A class of the user's may override anything, so it is compiled each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from operator import is_
from weakref import WeakKeyDictionary, ref

from django.conf import settings
from django.db import models

from pgmagic.compile.desired import DesiredTrigger
from pgmagic.compile.target import Target
from pgmagic.declare.model_types import Model
from pgmagic.declare.trigger import Trigger

_OWN_MODULES = frozenset(f"pgmagic.declare.{name}" for name in ("trigger", "ready_made", "composer", "fsm"))

_State = list[object]


@dataclass(frozen=True)
class _Remembered:
    """A compiled trigger, and everything that it depended on."""

    of_model: _State
    of_trigger: _State
    desired: DesiredTrigger


_compiled: WeakKeyDictionary[Trigger, WeakKeyDictionary[Model, _Remembered]] = WeakKeyDictionary()
_models: WeakKeyDictionary[Model, _State] = WeakKeyDictionary()
# The states of models that were read already, while models are at rest.
_at_rest: ContextVar[dict[Model, _State] | None] = ContextVar("pgmagic_models_at_rest", default=None)


@contextmanager
def models_at_rest() -> Iterator[None]:
    """Read the state of each model only once in the block, however many of its triggers are compiled there."""
    token = _at_rest.set({})
    try:
        yield
    finally:
        _at_rest.reset(token)


def remembered(
    trigger: Trigger, model: Model, target: Target, compile_: Callable[[], DesiredTrigger]
) -> DesiredTrigger:
    """Return the trigger as it was compiled before; compile it if anything that it depends on has changed."""
    if type(trigger).__module__ not in _OWN_MODULES:
        return compile_()
    of_model = _state_of_model(model)
    of_trigger: _State = [target.schema, settings.TIME_ZONE, settings.USE_TZ]
    _add_all(vars(trigger).items(), of_trigger)
    by_model = _compiled.get(trigger)
    if by_model is None:
        by_model = _compiled[trigger] = WeakKeyDictionary()
    former = by_model.get(model)
    if former is None or former.of_model is not of_model or not _same(former.of_trigger, of_trigger):
        former = by_model[model] = _Remembered(of_model, of_trigger, compile_())
    return former.desired


def _state_of_model(model: Model) -> _State:
    """Return everything in a model that a trigger may depend on: the same list while nothing of it changes."""
    seen = _at_rest.get()
    if seen is not None and model in seen:
        return seen[model]
    meta = model._meta
    state: _State = [meta.app_label, meta.object_name, meta.db_table, meta.managed]
    for field in meta.fields:
        remote: object = field.remote_field and field.remote_field.model
        # Weakly, since a field refers to its model, and the model to the trigger, which is the key of this state.
        state += (ref(field), field.column, ref(remote) if isinstance(remote, type) else remote)
    former = _models.get(model)
    if former is not None and _same(former, state):
        state = former
    _models[model] = state
    if seen is not None:
        seen[model] = state
    return state


def _add_all(values: Iterable[object], state: _State) -> None:
    """Add values to a state: a value that can be changed in place is added by its parts, after their number."""
    for value in values:
        kind = type(value)
        if kind is str or kind is int or value is None:
            state.append(value)
        elif isinstance(value, dict):
            state.append(len(value))
            _add_all(value.items(), state)
        elif isinstance(value, list | tuple | set | frozenset):
            state.append(len(value))
            _add_all(value, state)
        elif isinstance(value, models.Q):
            state += (value.connector, value.negated, len(value.children))
            _add_all(value.children, state)
        else:
            state.append(value)


def _same(former: _State, now: _State) -> bool:
    """Return whether two states hold the same objects. Equal objects are not enough: 1 and True make different SQL."""
    return len(former) == len(now) and all(map(is_, former, now))
