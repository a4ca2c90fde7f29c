"""What was compiled before, for as long as nothing that it was made from has changed.

Installing again what is installed was mostly compiling it again: half a millisecond for each trigger. What a
trigger of pgmagic's own classes comes to depends on its attributes, its model's fields, the target and the time zone
alone; a class of the user's may override anything, so it is compiled each time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple
from typing import Any
from weakref import WeakKeyDictionary, ref

from django.conf import settings
from django.db import models

from pgmagic.compile.desired import DesiredTrigger
from pgmagic.compile.triggers import Target
from pgmagic.declare.trigger import Trigger

Model = type[models.Model]

_OWN_MODULES = frozenset(f"pgmagic.declare.{name}" for name in ("trigger", "ready_made", "composer", "fsm"))

_compiled: WeakKeyDictionary[Trigger, WeakKeyDictionary[Model, tuple[Any, DesiredTrigger]]] = (
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


def _state(trigger: Trigger, model: Model, target: Target) -> tuple[Any, ...]:
    meta = model._meta
    # Weakly, since a field leads to its model, and that one to the trigger under which this is kept.
    fields = tuple((ref(field), field.column, _remote(field)) for field in meta.fields)
    names = meta.app_label, meta.object_name, meta.db_table, meta.managed
    return astuple(target), settings.TIME_ZONE, settings.USE_TZ, names, fields, _frozen(vars(trigger))


def _remote(field: Any) -> Any:
    remote = field.remote_field and field.remote_field.model
    return ref(remote) if isinstance(remote, type) else remote


def _frozen(value: Any) -> Any:
    """Return a value with what can be changed in place in it as tuples."""
    if isinstance(value, dict):
        return tuple((key, _frozen(part)) for key, part in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return tuple(map(_frozen, value))
    if isinstance(value, models.Q):
        return type(value), value.connector, value.negated, _frozen(value.children)
    return value


def _same(former: Any, now: Any) -> bool:
    """Return whether two states are the same, not only equal: 1 and True make different SQL."""
    if type(former) is tuple and type(now) is tuple:
        return len(former) == len(now) and all(map(_same, former, now))
    return former is now or (type(former) is type(now) is str and former == now)
