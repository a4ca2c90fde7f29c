"""Whether a condition in a body of ours can be trusted to mean the same under any `search_path`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from django.db import models

from pgmagic.compile.offline import offline_connection
from pgmagic.declare.conditions import AnyChange, Condition
from pgmagic.declare.event_trigger import EventTrigger

Model = type[models.Model]

# Types whose equality is in `pg_catalog`, which every session searches first.
_BUILT_IN = re.compile(
    r"(bigint|boolean|bytea|char|cidr|date|double precision|inet|integer|interval|json|jsonb|macaddr|money|numeric|real"
    r"|smallint|text|time|timestamp|tsvector|uuid|varchar|xml|(date|int4|int8|num|ts|tstz)range)"
    r"(\([\d, ]*\))?( with(out)? time zone)?(\[\d*\])*"
)


def has_built_in_equality(field: models.Field[Any, Any]) -> bool:
    """Return whether a column is compared by an operator that every session finds."""
    return _BUILT_IN.fullmatch(_type(field)) is not None


def _type(field: models.Field[Any, Any]) -> str:
    return field.db_type(offline_connection()) or ""


def has_only_built_in_operators(trigger: EventTrigger, model: Model) -> bool:
    """Return whether a condition in the body needs no operators but those that every session finds.

    A WHEN clause finds its operators when it is created; a body would look for them whenever it is executed.
    """
    condition = trigger.get_condition(model)
    return (
        condition is None
        or not trigger.asks_tables
        or all(_BUILT_IN.fullmatch(kind) for kind in _compared_types(condition, model))
    )


def _compared_types(condition: Condition | models.Q, model: Model) -> Iterator[str]:
    """Yield the types of the columns that a condition compares; of one that does more, what is no type."""
    if type(condition) is not AnyChange:
        yield ""
        return
    for field in condition.compared_fields(model):
        yield _type(field)
