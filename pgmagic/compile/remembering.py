"""What was compiled before, for as long as nothing that it was made from has changed.

Installing again what is installed was mostly compiling it again: half a millisecond for each trigger. What a
trigger of pgmagic's own classes comes to depends on its attributes, its model's fields, the target and the time zone
alone; a class of the user's may override anything, so it is compiled each time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from operator import is_
from typing import Any
from weakref import WeakKeyDictionary, ref

from django.conf import settings
from django.db import models

from pgmagic.compile.desired import DesiredTrigger
from pgmagic.compile.triggers import Target
from pgmagic.declare.trigger import Trigger

Model = type[models.Model]

_OWN_MODULES = frozenset(f"pgmagic.declare.{name}" for name in ("trigger", "ready_made", "composer", "fsm"))

_State = list[Any]
_compiled: WeakKeyDictionary[Trigger, WeakKeyDictionary[Model, tuple[_State, DesiredTrigger]]] = (
    WeakKeyDictionary()
)


def remembered(
    trigger: Trigger, model: Model, target: Target, compile_: Callable[[], DesiredTrigger]
) -> DesiredTrigger:
    """Return what a trigger was compiled to, or compile it where anything that it depends on has changed."""
    if type(trigger).__module__ not in _OWN_MODULES:
        return compile_()
    state = _state(trigger, model, target)
    by_model = _compiled.setdefault(trigger, WeakKeyDictionary())
    former = by_model.get(model)
    if former is None or not _same(former[0], state):
        former = by_model[model] = state, compile_()
    return former[1]


def _state(trigger: Trigger, model: Model, target: Target) -> _State:
    """Return everything that the result depends on, one behind the other."""
    meta = model._meta
    state: _State = [target.schema, settings.TIME_ZONE, settings.USE_TZ]
    state += [meta.app_label, meta.object_name, meta.db_table, meta.managed]
    for field in meta.fields:
        remote: Any = field.remote_field and field.remote_field.model
        # Weakly, since a field leads to its model, and that one to the trigger under which this is kept.
        state += (ref(field), field.column, ref(remote) if isinstance(remote, type) else remote)
    _add(vars(trigger), state)
    return state


def _add(value: Any, state: _State) -> None:
    """Add a value to a state: what can be changed in place by its parts."""
    if isinstance(value, dict):
        _add_all(value.items(), state)
    elif isinstance(value, list | tuple | set | frozenset):
        _add_all(value, state)
    elif isinstance(value, models.Q):
        state += (value.connector, value.negated)
        _add_all(value.children, state)
    else:
        state.append(value)


def _add_all(values: Collection[Any], state: _State) -> None:
    # The length keeps the parts of two values apart.
    state.append(len(values))
    for value in values:
        _add(value, state)


def _same(former: _State, now: _State) -> bool:
    """Return whether two states are made of the same objects; equal ones do not do: 1 and True make different SQL."""
    return len(former) == len(now) and all(map(is_, former, now))
