"""Ready-made triggers: what each of them is asked for; their bodies are rendered by `compile/bodies.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.db import models

from pgmagic.declare.conditions import AnyChange, Condition, concrete_field
from pgmagic.declare.delegates import delegates
from pgmagic.declare.templates import Func
from pgmagic.declare.trigger import Model, Trigger
from pgmagic.declare.vocabulary import Before, Delete, Update
from pgmagic.errors import DeclarationError


class _ReadyMade(Trigger):
    """A trigger whose body the compiler writes."""

    def get_func(self, model: Model) -> Func | str:
        """Return the body, as written by the compiler."""
        return delegates.compiler.body(self, model)


class Protect(_ReadyMade):
    """Rejects the operation."""

    when = Before


class ReadOnly(Protect):
    """Rejects changes to the fields: those named, all but the excluded ones, or all."""

    operation = Update
    fields: Sequence[str] | None = None
    exclude: Sequence[str] | None = None

    def __init__(
        self, *, fields: Sequence[str] | None = None, exclude: Sequence[str] | None = None, **kwargs: Any
    ) -> None:
        self.fields = fields or self.fields
        self.exclude = exclude or self.exclude
        for argument, value in (("fields", self.fields), ("exclude", self.exclude)):
            if isinstance(value, str):
                raise DeclarationError(f"ReadOnly takes {argument}= as a list of names, got {value!r}.")
        if self.fields and self.exclude:
            raise DeclarationError('Must provide only one of "fields" or "exclude" to ReadOnly trigger.')
        super().__init__(**kwargs)

    def protected_fields(self, model: Model) -> list[models.Field[Any, Any]]:
        """Return the concrete fields that may not change."""
        return self._changes().compared_fields(model)

    def get_condition(self, model: Model) -> Condition | models.Q:
        """Return a condition that is true where a protected field changed, and the declared condition holds."""
        changes = self._changes()
        changes.compared_fields(model)
        return changes & self.condition if self.condition is not None else changes

    def _changes(self) -> AnyChange:
        return AnyChange(*(self.fields or ()), exclude=list(self.exclude or ()))


class SoftDelete(_ReadyMade):
    """Turns a delete into an update of a field."""

    when = Before
    operation = Delete
    field: str | None = None
    value: Any = False

    _UNSET: Final = object()

    def __init__(
        self,
        *,
        name: str | None = None,
        condition: Condition | models.Q | None = None,
        field: str | None = None,
        value: Any = _UNSET,
    ) -> None:
        self.field = field or self.field
        if value is not SoftDelete._UNSET:
            self.value = value
        if not self.field:
            raise DeclarationError('Must provide "field" for soft delete.')
        super().__init__(name=name, condition=condition)


class FSM(_ReadyMade):
    """Allows only the listed transitions of a field.

    transitions: pairs (from, to) of the field's own values; None is a state, too. separator: kept for the
    upstream signature; nothing is joined to text here, so that no value can clash with it.
    """

    when = Before
    operation = Update
    field: str | None = None
    transitions: Sequence[tuple[Any, Any]] | None = None
    separator: str = ":"

    def __init__(
        self,
        *,
        name: str | None = None,
        condition: Condition | models.Q | None = None,
        field: str | None = None,
        transitions: Sequence[tuple[Any, Any]] | None = None,
        separator: str | None = None,
    ) -> None:
        self.field = field or self.field
        self.transitions = transitions or self.transitions
        self.separator = separator or self.separator
        if not self.field:
            raise DeclarationError('Must provide "field" for FSM.')
        if not self.transitions:
            raise DeclarationError('Must provide "transitions" for FSM: a list of (from, to) pairs.')
        for transition in self.transitions:
            if isinstance(transition, str) or not isinstance(transition, Sequence) or len(transition) != 2:
                raise DeclarationError(
                    f"An FSM's transition is a pair (from, to), but {transition!r} was given."
                )
        super().__init__(name=name, condition=condition)

    def get_condition(self, model: Model) -> Condition | models.Q:
        """Return a condition that is true where the field changed, and the declared condition holds."""
        changed = AnyChange(concrete_field(model, str(self.field)).name)
        return changed & self.condition if self.condition is not None else changed

    def states(self) -> list[Any]:
        """Return every state that a transition names, in the order in which they first appear."""
        states: list[Any] = []
        for state in (state for pair in self.transitions or () for state in pair):
            # A state may be a list, as in an array field, so that no dict can hold it.
            if state not in states:
                states.append(state)
        return states


__all__ = ["FSM", "Protect", "ReadOnly", "SoftDelete"]
