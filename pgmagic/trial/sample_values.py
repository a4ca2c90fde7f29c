"""Values of fields that a rule may ask for: those that its condition names, those of other rows, and others."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from itertools import islice

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Max

from pgmagic.compile.sql_tokens import tokens
from pgmagic.declare.fsm import FSM
from pgmagic.declare.model_types import AnyField, Model
from pgmagic.declare.trigger import Trigger
from pgmagic.trial.examples import example_of, make_row

_NUMBERS = (models.IntegerField, models.FloatField, models.DecimalField)
_TEXTS = (models.CharField, models.TextField)

# How many values of a field are taken from its table, and how many are tried.
_MOST_KNOWN = 12
_MOST_VALUES = 36


def distinct(values: Sequence[object]) -> list[object]:
    """Return the different values, in the order in which they first appear; they need not be hashable."""
    found: list[object] = []
    for value in values:
        # A state may be a list, as in an array field, so that no set or dict can hold it.
        if value not in found:
            found.append(value)
    return found


def column_values(model: Model, name: str, using: str, most: int) -> list[object]:
    """Return at most so many different values of a column, in no order."""
    rows: models.QuerySet[models.Model] = models.QuerySet(model, using=using).order_by()
    return list(rows.values_list(name, flat=True).distinct()[:most])


def values_of(field: AnyField, model: Model, trigger: Trigger, condition: str, using: str) -> Iterator[object]:
    """Yield values for a field: its choices and states, those that a condition names, and those of other rows."""
    states: list[object] = []
    if isinstance(trigger, FSM) and trigger.field in (field.name, field.attname):
        states = trigger.states()
    known = column_values(model, field.attname, using, _MOST_KNOWN)
    candidates = [*states, *(value for value, _ in field.flatchoices)]
    for token in tokens(condition):
        if token.kind not in ("string", "number"):
            continue
        try:
            value = field.to_python(token.value)
        except (ValidationError, ValueError, TypeError, ArithmeticError):
            continue
        candidates += [value, *_neighbours(field, value)]
    candidates += [*known, *_others(field, [value for value in known if value is not None], using), None]
    fitting = [value for value in candidates if value is not None or field.null]
    yield from islice(distinct(fitting), _MOST_VALUES)


def _neighbours(field: AnyField, value: object) -> Iterator[object]:
    """Yield neighbours of a value."""
    if isinstance(value, bool) or value is None:
        return
    if isinstance(field, _NUMBERS):
        yield from (value + 1, value - 1)  # type: ignore[operator]  # a number, as the field's type says
    elif isinstance(value, dt.date):
        yield from (value + dt.timedelta(days=1), value - dt.timedelta(days=1))
    elif isinstance(value, str) and isinstance(field, _TEXTS):
        fits = not field.max_length or len(value) < field.max_length
        yield f"{value}x" if fits else value[:-1]


def _others(field: AnyField, known: Sequence[object], using: str) -> Iterator[object]:
    """Yield values of a field's type that differ from known ones."""
    if isinstance(field, models.BooleanField):
        yield from (True, False)
        return
    if isinstance(field, models.ForeignKey):
        target = field.remote_field.model
        yield from column_values(target, field.target_field.attname, using, _MOST_KNOWN)
        return
    for value in known[:3]:
        yield from _neighbours(field, value)
    if isinstance(field, _NUMBERS):
        yield from (0, 1, -1)
    elif isinstance(field, _TEXTS):
        yield from ("x", "")
    elif (example := example_of(field)) is not None:
        yield example


def unused_value(field: AnyField, model: Model, using: str) -> object:
    """Return a value that no row of a table has yet, None if none is known; a row to refer to may be made up.

    Raises:
        Exception: if the database refuses the row that is made up.
    """
    rows: models.QuerySet[models.Model] = models.QuerySet(model, using=using).order_by()
    if isinstance(field, models.ForeignKey):
        target, attname = field.remote_field.model, field.target_field.attname
        taken = rows.exclude(**{field.attname: None}).values(field.attname)
        others: models.QuerySet[models.Model] = models.QuerySet(target, using=using).order_by()
        free = others.exclude(**{f"{attname}__in": taken}).values_list(attname, flat=True).first()
        return getattr(make_row(target, using), attname) if free is None else free
    if isinstance(field, (*_NUMBERS, models.DateField)):
        largest = rows.aggregate(largest=Max(field.attname))["largest"]
        return example_of(field) if largest is None else next(_neighbours(field, largest))
    if isinstance(field, (*_TEXTS, models.BooleanField, models.UUIDField)):
        return example_of(field, is_unique=True)
    return None


def unique_fields(model: Model) -> set[str]:
    """Return the names of the fields that are unique, by themselves or together with others."""
    meta = model._meta
    together = [name for constraint in meta.total_unique_constraints for name in constraint.fields]
    together += [name for names in meta.unique_together for name in names]
    return {*together, *(field.name for field in meta.local_concrete_fields if field.unique)}
