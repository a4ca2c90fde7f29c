"""The triggers that are registered in this process, by URI."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, NoReturn, cast

from django.apps import apps
from django.db import models

from pgmagic.declare import names
from pgmagic.declare.model_types import Model
from pgmagic.errors import DeclarationError, DuplicateNameError, UnknownTriggerError

if TYPE_CHECKING:
    from pgmagic.declare.trigger import Trigger

_registry: dict[str, tuple[Model, Trigger]] = {}
# URIs of triggers that were declared together with their models: these go when the model is declared without them.
_declared_with_model: set[str] = set()
# While a cell runs: what was registered before, and the cell has not declared again.
_before_block: dict[str, tuple[Model, Trigger]] = {}


def add(model: Model, trigger: Trigger) -> None:
    """Register a trigger for a model; one of the same name on a former class of the model is replaced.

    Raises:
        DuplicateNameError: if the model already has another trigger of that name.
        DeclarationError: if it is not a model, or has no table.
    """
    check_model(model)
    uri = trigger.get_uri(model)
    known = _registry.get(uri)
    if known and known[0] is model and known[1] is not trigger and uri not in _before_block:
        raise DuplicateNameError(
            f'{model._meta.object_name} has two triggers named "{trigger.name}": give one of them another name.'
        )
    _registry[uri] = (model, trigger)
    _before_block.pop(uri, None)


def check_class(given: object, expectation: str) -> None:
    """Check that something is a model; expectation: what a model is needed for, as the beginning of a sentence.

    Raises:
        DeclarationError: if it is not.
    """
    if isinstance(given, type) and issubclass(given, models.Model):
        return
    advice = f": write `class {given.__name__}(models.Model):`" if isinstance(given, type) else ""
    raise DeclarationError(f"{expectation}, but {given!r} was given{advice}.")


def check_model(model: object) -> None:
    """Check that something is a model with a table.

    Raises:
        DeclarationError: if it is not.
    """
    check_class(model, "A trigger is registered for a model")
    checked = cast("Model", model)
    if checked._meta.abstract:
        raise DeclarationError(
            f"{checked.__name__} is abstract, so it has no table: name the trigger in its Meta.triggers, which each "
            f"child has as its own, or register it for a child."
        )


def remove(model: Model, trigger: Trigger) -> None:
    """Remove a trigger from a model.

    Raises:
        UnknownTriggerError: if it is not registered.
    """
    uri = trigger.get_uri(model)
    if uri not in _registry:
        raise UnknownTriggerError(_unknown(uri))
    _forget(uri)


class remember(AbstractContextManager[None]):  # noqa: N801 - called as a function
    """What is registered under URIs now; leaving the `with` block registers that again."""

    def __init__(self, uris: Iterable[str]) -> None:
        self._entries = {uri: (_registry.get(uri), uri in _declared_with_model) for uri in uris}

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_exception: object) -> None:
        for uri, (entry, with_model) in self._entries.items():
            _registry.pop(uri, None)
            _declared_with_model.discard(uri)
            if entry is not None:
                _registry[uri] = entry
            if with_model:
                _declared_with_model.add(uri)


def declare_with_model(trigger: Trigger, model: Model) -> None:
    """Note that a trigger was declared together with its model."""
    _declared_with_model.add(trigger.get_uri(model))


def is_declared_with_model(trigger: Trigger, model: Model) -> bool:
    """Return whether a trigger was declared together with its model, not registered for it elsewhere."""
    return trigger.get_uri(model) in _declared_with_model


def move(trigger: Trigger, former: Model, new: Model) -> None:
    """Move a trigger of a former class to the class that replaced it."""
    _registry.pop(trigger.get_uri(former), None)
    _registry.setdefault(trigger.get_uri(new), (new, trigger))


def remove_model(model: Model) -> None:
    """Remove every trigger from a model."""
    for uri in [uri for uri, (registered_model, _) in _registry.items() if registered_model is model]:
        _forget(uri)


def _forget(uri: str) -> None:
    del _registry[uri]
    # A trigger of the same name may be registered for the model later, without being declared with it.
    _declared_with_model.discard(uri)


def find(uri: str) -> tuple[Model, Trigger] | None:
    """Return the model and trigger registered under a URI, or None."""
    return _registry.get(uri)


def registered(*uris: str) -> list[tuple[Model, Trigger]]:
    """Return the model and the trigger of each URI.

    Args:
        uris: such as "app_label.ModelName:trigger_name"; without a URI, all triggers. "ModelName:trigger_name" and
            "ModelName.field_name" (of an FSM's field) are enough if only one trigger is meant.

    Returns:
        Pairs, in the order of the URIs; of all triggers, in the order in which they were registered.

    Raises:
        DeclarationError: if a text is not a URI, or a short one may mean several triggers.
        UnknownTriggerError: if nothing is registered under it.

    Example:
        >>> [trigger.name for model, trigger in pgtrigger.registered() if model is Post]
        ['keep_published', 'forward_only', 'insert_insert', 'update_update']
        >>> pgtrigger.registered("notebook.Post:forward_only")
        [(<class '__main__.Post'>, <FSM: forward_only>)]
    """
    return [_meant(uri) for uri in uris] if uris else list(_registry.values())


def _meant(uri: str) -> tuple[Model, Trigger]:
    """Return what a URI, or a short form of it, means."""
    if isinstance(uri, str) and uri in _registry:
        return _registry[uri]
    found = _found_by_short_name(uri) if isinstance(uri, str) else []
    if not found:
        _refuse_unknown(uri)
    if len(found) > 1:
        meant = " or ".join(sorted(trigger.get_uri(model) for model, trigger in found))
        raise DeclarationError(f'"{uri}" may mean several triggers: write {meant}.')
    return found[0]


def _found_by_short_name(text: str) -> list[tuple[Model, Trigger]]:
    """Return what `Model:name`, `Model.name` or `Model.field` may mean, with an app label or without."""
    separator = ":" if ":" in text else "."
    label, _, name = text.partition(":") if separator == ":" else text.rpartition(".")
    wanted = label.lower()
    of_model = [
        (model, trigger)
        for model, trigger in _registry.values()
        if wanted in (model._meta.label_lower, model._meta.model_name)
    ]
    named = [(model, trigger) for model, trigger in of_model if trigger.get_name() == name]
    if named or separator == ":":
        return named
    return [(model, trigger) for model, trigger in of_model if getattr(trigger, "field", None) == name]


def _refuse_unknown(uri: str) -> NoReturn:
    is_short = isinstance(uri, str) and re.fullmatch(r"[^.:]+:.+", uri)
    if not is_short:
        names.split_uri(uri)
    raise UnknownTriggerError(_unknown(uri))


def of_project(*uris: str) -> list[tuple[Model, Trigger]]:
    """Return what `registered` does; without a URI, only of the project's models.

    Those of another registry of models, such as `isolate_apps` makes for a test, are left out.
    """
    found = registered(*uris)
    return found if uris else [(model, trigger) for model, trigger in found if model._meta.apps is apps]


def _unknown(uri: str) -> str:
    known = ", ".join(sorted(_registry)) or "none"
    return f'URI "{uri}" not found in pgtrigger registry; registered are: {known}.'


@contextmanager
def block() -> Iterator[None]:
    """Let the block register again, once, what is registered; if it raises, also KeyboardInterrupt, undo that."""
    before, declared_before = dict(_registry), set(_declared_with_model)
    _before_block.update(before)
    try:
        yield
    except BaseException:
        _registry.clear()
        _registry.update(before)
        _declared_with_model.clear()
        _declared_with_model.update(declared_before)
        raise
    finally:
        _before_block.clear()


def registered_in_block() -> list[tuple[Model, Trigger]]:
    """Return what the current block registered."""
    return [entry for uri, entry in _registry.items() if uri not in _before_block]
