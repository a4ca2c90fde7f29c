"""Values in declarations that the `choices` of their field do not have: possible, but mostly a slip of the pen."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

from django.core.exceptions import ValidationError

from pgmagic.declare.conditions import concrete_field
from pgmagic.declare.fsm import FSM
from pgmagic.declare.model_types import AnyField, Model
from pgmagic.declare.ready_made import SoftDelete
from pgmagic.declare.trigger import Trigger
from pgmagic.errors import UnknownFieldError

# How many choices a sentence names.
_NAMED = 12


@singledispatch
def _written(_trigger: Trigger) -> tuple[str | None, Sequence[object], str]:
    """Return the field of which a trigger names values, the values, and what the trigger does with them."""
    return None, (), ""


@_written.register
def _(trigger: FSM) -> tuple[str | None, Sequence[object], str]:
    return trigger.field, trigger.states(), "has the state"


@_written.register
def _(trigger: SoftDelete) -> tuple[str | None, Sequence[object], str]:
    is_expression = hasattr(trigger.value, "resolve_expression")
    return trigger.field, () if is_expression else [trigger.value], "sets the value"


def outside_choices(model: Model, trigger: Trigger) -> str | None:
    """Return a sentence about values that a trigger names and its field's choices do not have; None if there is none.

    A field that does not exist is no matter of this sentence: the compiler refuses it.
    """
    name, values, verb = _written(trigger)
    try:
        field = concrete_field(model, name) if name else None
    except UnknownFieldError:
        return None
    if field is None or not field.flatchoices:
        return None
    allowed = [value for value, _ in field.flatchoices]
    outside = [value for value in values if not _is_choice(value, field, allowed)]
    if not outside:
        return None
    named = ", ".join(_text(value) for value in allowed[:_NAMED])
    others = f" and {len(allowed) - _NAMED:,} others" if len(allowed) > _NAMED else ""
    return (
        f'The {type(trigger).__name__} "{trigger.name}" {verb} {", ".join(map(_text, outside))}, which the choices of '
        f"{field.model._meta.object_name}.{field.name} do not have: they are {named}{others}."
    )


def _is_choice(value: object, field: AnyField, allowed: Sequence[object]) -> bool:
    if value in allowed or (value is None and field.null) or (value == "" and field.blank):
        return True
    try:
        return field.to_python(value) in allowed
    except (ValidationError, ValueError, TypeError):
        return False


def _text(value: object) -> str:
    """Return a value as it is written; of a member of `TextChoices`, its value."""
    return repr(getattr(value, "value", value))
