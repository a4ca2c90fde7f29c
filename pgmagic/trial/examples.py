"""A row to try things on, made up where a table has none."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

from django.db import models
from django.utils import timezone

from pgmagic.db.runtime.ignore import ignore

Model = type[models.Model]

# The first that a field is an instance of counts: a date-time is a date, too.
_VALUES: tuple[tuple[type[models.Field[Any, Any]], Any], ...] = (
    (models.BooleanField, False),
    (models.UUIDField, uuid.uuid4),
    (models.IntegerField, 1),
    (models.FloatField, 1.0),
    (models.DecimalField, Decimal(0)),
    (models.DateTimeField, timezone.now),
    (models.DateField, dt.date.today),
    (models.TimeField, dt.time),
    (models.DurationField, dt.timedelta),
    (models.JSONField, dict),
    (models.BinaryField, b""),
    (models.EmailField, "someone@example.org"),
    (models.URLField, "https://example.org/"),
    (models.GenericIPAddressField, "192.0.2.1"),
)

# Rows that rows refer to are made up, too, down to this depth.
_DEEPEST = 4


def any_row(model: Model, using: str) -> models.Model | None:
    """Return a row of a model's table, None if it is empty."""
    return models.QuerySet(model, using=using).order_by("pk").first()


def make_row(model: Model, using: str, depth: int = 0) -> models.Model:
    """Insert a row with made-up values, while triggers of pgmagic's are ignored, and return it.

    Raises:
        Exception: a field, a constraint, or somebody else's trigger does not accept what was made up.
    """
    instance = made_up(model, using, depth)
    with ignore():
        instance.save(force_insert=True, using=using)
    return instance


def made_up(model: Model, using: str, depth: int = 0) -> models.Model:
    """Return an object with made-up values, which is not saved; rows that it has to refer to are."""
    instance = model()
    for field in model._meta.concrete_fields:
        if not isinstance(field, models.AutoField) and not field.generated and field.model is not None:
            value = _value(field, using, depth)
            if value is not None:
                setattr(instance, field.attname, value)
    return instance


def _value(field: Any, using: str, depth: int) -> Any:
    """Return a value for a field, None where it has one already or needs none."""
    if field.has_default() or getattr(field, "has_db_default", bool)() or field.null:
        return None
    if isinstance(field, models.ForeignKey):
        target: Any = field.related_model
        row = any_row(target, using)
        if row is None and depth < _DEEPEST:
            row = make_row(target, using, depth + 1)
        return None if row is None else getattr(row, field.target_field.attname)
    return field.flatchoices[0][0] if field.flatchoices else example_of(field)


def example_of(field: Any) -> Any:
    """Return an example of a field's type, one of its own if it is unique; None where none is known."""
    for kind, value in _VALUES:
        if isinstance(field, kind):
            return value() if callable(value) else value
    if isinstance(field, models.CharField | models.TextField):
        text = uuid.uuid4().hex if field.unique else "example"
        return text[: field.max_length] if field.max_length else text
    return None
