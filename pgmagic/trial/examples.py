"""A row to try things on, made up if a table has none."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal

from django.db import Error as DatabaseFailure
from django.db import models
from django.utils import timezone

from pgmagic.db.runtime.ignore import ignore
from pgmagic.declare.model_types import AnyField, Model
from pgmagic.errors import CellError

# The first class that a field is an instance of counts: a date-time is a date, too.
_VALUES: tuple[tuple[type[AnyField], object], ...] = (
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
    """Insert a row with made-up values, while pgmagic's triggers are ignored, and return it.

    Raises:
        Exception: if a field, a constraint or a trigger that is not pgmagic's refuses the values.
    """
    instance = made_up(model, using, depth)
    with ignore():
        instance.save(force_insert=True, using=using)
    return instance


def row_to_try(model: Model, using: str) -> models.Model:
    """Insert a row with made-up values, and return it.

    Raises:
        CellError: if the database, or Django, refuses the values.
    """
    try:
        return make_row(model, using)
    except (DatabaseFailure, ValueError, TypeError) as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise CellError(
            f"{model._meta.object_name} has no rows, and none could be made up to try transitions on ({reason}): "
            f"create one first."
        ) from None


def made_up(model: Model, using: str, depth: int = 0) -> models.Model:
    """Return an unsaved object with made-up values; rows that it must refer to are saved."""
    instance = model()
    for field in model._meta.concrete_fields:
        if isinstance(field, models.AutoField) or field.generated or field.model is None:
            continue
        if field.has_default() or getattr(field, "has_db_default", bool)() or field.null:
            continue
        if isinstance(field, models.ForeignKey):
            value = _key_to_refer_to(field, using, depth)
        else:
            value = field.flatchoices[0][0] if field.flatchoices else example_of(field)
        if value is not None:
            setattr(instance, field.attname, value)
    return instance


def _key_to_refer_to(field: models.ForeignKey[object, object], using: str, depth: int) -> object:
    """Return the key of a row that a foreign key may refer to, None if the rows are nested too deeply."""
    row = any_row(field.remote_field.model, using)
    if row is None and depth < _DEEPEST:
        row = make_row(field.remote_field.model, using, depth + 1)
    return None if row is None else getattr(row, field.target_field.attname)


def example_of(field: AnyField, *, is_unique: bool = False) -> object:
    """Return an example of a field's type, None if none is known; a text that is new if it must be unique."""
    for kind, value in _VALUES:
        if isinstance(field, kind):
            return value() if callable(value) else value
    if isinstance(field, models.CharField | models.TextField):
        text = uuid.uuid4().hex if is_unique or field.unique else "example"
        return text[: field.max_length] if field.max_length else text
    return None
