"""The kinds of values that options of magics take."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from datetime import datetime
from typing import Any

from django.db import connections
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime


def instant(text: str) -> datetime:
    """Return a date or a time as an aware datetime; without an offset it is in Django's current time zone.

    Raises:
        ArgumentTypeError: it is neither.
    """
    try:
        found = parse_datetime(text)
        day = None if found else parse_date(text)
    except ValueError:
        found = day = None
    if day is not None:
        found = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - made aware below
    if found is None:
        raise ArgumentTypeError(f"expected a time such as 2024-05-01 or 2024-05-01T12:00+02:00, got {text!r}")
    return found if timezone.is_aware(found) else timezone.make_aware(found)


def rename(text: str) -> tuple[str, str | None, str]:
    """Return MODEL.FIELD=NEW as (model, field, new field), and MODEL=NEW as (model, None, new model).

    Raises:
        ArgumentTypeError: it has another form.
    """
    former, _, new = text.partition("=")
    model, point, field = former.partition(".")
    if not (model.isidentifier() and new.isidentifier() and (field.isidentifier() or not point)):
        raise ArgumentTypeError(
            f"expected MODEL.FIELD=NEW or MODEL=NEW, such as Post.title=headline or Post=Article, got {text!r}"
        )
    return model, field or None, new


def key_and_value(text: str) -> tuple[str, Any]:
    """Return KEY=VALUE as a pair; a value that reads as JSON (a number, true, null) is that, any other is text.

    Raises:
        ArgumentTypeError: there is no key, or no equals sign.
    """
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ArgumentTypeError(f"expected KEY=VALUE, got {text!r}")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def database_alias(text: str) -> str:
    """Return the name of one of Django's databases.

    Raises:
        ArgumentTypeError: there is none of that name.
    """
    if text not in connections:
        raise ArgumentTypeError(f"there is no database {text!r}; there are {', '.join(connections)}")
    return text
