"""Values of fields that a rule may ask for: those that its condition names, those of other rows, and others."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from itertools import islice
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Max

from pgmagic.compile.sql_tokens import tokens
from pgmagic.declare.fsm import FSM
from pgmagic.declare.trigger import Trigger
from pgmagic.trial.examples import example_of, make_row

Model = type[models.Model]

# How many values of a field are taken from its table, and how many are tried.
_MOST_KNOWN = 12
_MOST_VALUES = 36


def values_of(field: Any, model: Model, trigger: Trigger, condition: str, using: str) -> Iterator[Any]:
    """Yield values for a field: its choices and states, those that a condition names, and those of other rows."""
    is_state = isinstance(trigger, FSM) and trigger.field in (field.name, field.attname)
    states = trigger.states() if is_state and isinstance(trigger, FSM) else []
    rows: Any = models.QuerySet(model, using=using).order_by()
    known = list(rows.values_list(field.attname, flat=True).distinct()[:_MOST_KNOWN])
    candidates = [*states, *(value for value, _ in field.flatchoices), *_named(field, condition), *known]
    found: list[Any] = []
    for value in [*candidates, *_others(field, known, using), *([None] if field.null else [])]:
        # A list or a dict is no key, so that no set can hold it.
        if value not in found and not (value is None and not field.null):
            found.append(value)
    yield from islice(found, _MOST_VALUES)


def _named(field: Any, condition: str) -> Iterator[Any]:
    """Yield what a condition names, as far as the field takes it, and what is next to that."""
    for token in tokens(condition):
        if token.kind not in ("string", "number"):
            continue
        try:
            value = field.to_python(token.value)
        except (ValidationError, ValueError, TypeError, ArithmeticError):
            continue
        yield value
        yield from _beside(field, value)


def _beside(field: Any, value: Any) -> Iterator[Any]:
    """Yield neighbours of a value."""
    if isinstance(value, bool) or value is None:
        return
    if isinstance(field, models.IntegerField | models.FloatField | models.DecimalField):
        yield from (value + 1, value - 1)
    elif isinstance(value, dt.date):
        yield from (value + dt.timedelta(days=1), value - dt.timedelta(days=1))
    elif isinstance(value, str) and isinstance(field, models.CharField | models.TextField):
        fits = not field.max_length or len(value) < field.max_length
        yield f"{value}x" if fits else value[:-1]


def _others(field: Any, known: list[Any], using: str) -> Iterator[Any]:
    """Yield values of a field's type that differ from known ones."""
    present = [value for value in known if value is not None]
    if isinstance(field, models.BooleanField):
        yield from (True, False)
    elif isinstance(field, models.ForeignKey):
        target: Any = field.related_model
        rows: Any = models.QuerySet(target, using=using).order_by()
        yield from rows.values_list(field.target_field.attname, flat=True)[:_MOST_KNOWN]
    else:
        for value in present[:3]:
            yield from _beside(field, value)
        if isinstance(field, models.IntegerField | models.FloatField | models.DecimalField):
            yield from (0, 1, -1)
        elif isinstance(field, models.CharField | models.TextField):
            yield from ("x", "")
        else:
            example = example_of(field)
            yield from () if example is None else (example,)


def unused_value(field: Any, model: Model, using: str) -> Any:
    """Return a value that no row of a table has yet, None where none is known; a row to refer to may be made up.

    Raises:
        Exception: no such row is accepted.
    """
    rows: Any = models.QuerySet(model, using=using).order_by()
    if isinstance(field, models.ForeignKey):
        target, attname = field.related_model, field.target_field.attname
        others: Any = models.QuerySet(target, using=using).order_by()
        taken = rows.exclude(**{field.attname: None}).values(field.attname)
        free = others.exclude(**{f"{attname}__in": taken}).values_list(attname, flat=True).first()
        return getattr(make_row(target, using), attname) if free is None else free
    if isinstance(field, models.BooleanField | models.UUIDField):
        return example_of(field)
    if isinstance(
        field,
        models.IntegerField
        | models.FloatField
        | models.DecimalField
        | models.DateField
        | models.DateTimeField,
    ):
        largest = rows.aggregate(largest=Max(field.attname))["largest"]
        return example_of(field) if largest is None else next(_beside(field, largest))
    if isinstance(field, models.CharField | models.TextField):
        # One of its own, whether or not the field by itself is unique.
        return example_of(_as_unique(field))
    return None


def _as_unique(field: Any) -> Any:
    copy = field.clone()
    copy._unique = True
    return copy


def unique_fields(model: Model) -> set[str]:
    """Return the names of the fields that are unique, by themselves or together with others."""
    meta: Any = model._meta
    together = [name for names in meta.total_unique_constraints for name in names.fields]
    together += [name for names in meta.unique_together for name in names]
    single = [field.name for field in meta.local_concrete_fields if field.unique]
    return {*together, *single}
