"""The ways in which a trigger is put on a model: `@register(...)` and `Meta.triggers`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from django.apps import apps
from django.db import models
from django.db.migrations import state
from django.db.models import options
from django.db.models.signals import class_prepared

from pgmagic.declare import registry
from pgmagic.declare.event_fields import setting
from pgmagic.declare.model_types import Model
from pgmagic.declare.names import PARTITION_OPTION
from pgmagic.declare.trigger import Trigger
from pgmagic.errors import DeclarationError

M = TypeVar("M", bound=models.Model)

# The module that Django gives to the models which it makes from migrations.
_MIGRATION_STATE = "__fake__"


def register(*triggers: Trigger) -> Callable[[type[M]], type[M]]:
    """Return a class decorator that registers triggers for a model.

    Args:
        triggers: what the model is to have, beside `Meta.triggers`.

    Returns:
        A decorator that returns the model itself.

    Raises:
        DeclarationError: if it is used without parentheses; when applied, if something is not a trigger, or the model
            has another one of that name.

    Example:
        >>> @pgtrigger.register(pgtrigger.Protect(name="keep", operation=pgtrigger.Delete))
        ... class Note(models.Model):
        ...     text = models.TextField()
        >>> pgtrigger.registered("notebook.Note:keep")
        [(<class '__main__.Note'>, <Protect: keep>)]
    """
    given: Sequence[object] = triggers
    if len(given) == 1 and isinstance(given[0], type) and issubclass(given[0], models.Model):
        raise DeclarationError(
            f"pgtrigger.register was given the model {given[0].__name__}, but it takes the triggers of a model: write "
            f'@pgtrigger.register(pgtrigger.Protect(name="keep", operation=pgtrigger.Delete)) above the class.'
        )

    def decorate(model: type[M]) -> type[M]:
        _register(model, triggers, f"pgtrigger.register on {getattr(model, '__name__', repr(model))}")
        return model

    return decorate


def _register(model: Model, triggers: object, where: str) -> None:
    if not isinstance(triggers, list | tuple):
        raise DeclarationError(f"{where} is a list of triggers, but {triggers!r} was given.")
    for trigger in triggers:
        if not isinstance(trigger, Trigger):
            raise DeclarationError(f"{where} holds triggers, but {trigger!r} was given.")
    for trigger in triggers:
        registry.add(model, trigger)


def _register_meta(sender: Model, **_kwargs: object) -> None:
    triggers = getattr(sender._meta, "triggers", None)
    if triggers is None or sender.__module__ == _MIGRATION_STATE:
        return
    # Django cannot write declarations into a migration.
    sender._meta.original_attrs.pop("triggers", None)
    if sender._meta.apps is not apps:
        # Of another registry of models, as in a test: upstream takes the triggers of the project's models.
        return
    if not setting("PGTRIGGER_MODEL_META", True):
        raise TypeError("'class Meta' got invalid attribute(s): triggers")
    _register(sender, triggers, f"Meta.triggers of {sender.__name__}")


def allow_meta_triggers() -> None:
    """Let `class Meta` of every model name `triggers`; the one place where Django's option names are extended.

    Migrations also keep how an event table is partitioned, as an option of its model.
    """
    names = (*dict.fromkeys([*options.DEFAULT_NAMES, "triggers", PARTITION_OPTION]),)
    for module in (options, state):
        # Migrations took the names by value.
        vars(module)["DEFAULT_NAMES"] = names
    class_prepared.connect(_register_meta, dispatch_uid="pgmagic.meta_triggers")
