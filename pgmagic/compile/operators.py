"""Conditions in bodies of ours that mean the same under any `search_path`, as far as types are Postgres's own."""

from __future__ import annotations

import re
from typing import Any, LiteralString

from django.db import models

from pgmagic.compile import clock
from pgmagic.compile.offline import offline_connection
from pgmagic.compile.predicate import TYPES_WITHOUT_EQUALITY, column_of, condition_sql, renders_itself
from pgmagic.compile.qualified import EQUALS
from pgmagic.compile.sql import Fragment, compose, join, verbatim
from pgmagic.declare.conditions import Combined, Condition, Not, _Change
from pgmagic.declare.event_trigger import EventTrigger
from pgmagic.declare.model_types import AnyField, Model
from pgmagic.declare.trackers import tracked_fields
from pgmagic.declare.trigger import Trigger

# Types whose equality is in `pg_catalog`.
_BUILT_IN = re.compile(
    r"(bigint|boolean|bytea|char|cidr|date|double precision|inet|integer|interval|json|jsonb|macaddr|money|numeric|real"
    r"|smallint|text|time|timestamp|tsvector|uuid|varchar|xml|(date|int4|int8|num|ts|tstz)range)"
    r"(\([\d, ]*\))?( with(out)? time zone)?(\[\d*\])*"
)


def has_built_in_equality(field: AnyField) -> bool:
    """Return whether a column's values are compared by an operator of Postgres's own."""
    return _BUILT_IN.fullmatch(_type(field)) is not None


def is_computed_when_read(field: AnyField) -> bool:
    """Return whether a column has no value in a row that a trigger sees; an expression of somebody's stands for it."""
    generated: Any = field
    return field.generated and not generated.db_persist


def _type(field: AnyField) -> str:
    return field.db_type(offline_connection()) or ""


def condition_in_body(trigger: Trigger, model: Model) -> Fragment | None:
    """Return a trigger's condition for a body that asks tables called `old` and `new`; None where it has none."""
    condition = trigger.get_condition(model)
    if condition is None:
        return None
    return _qualified(condition, model) or condition_sql(condition, model)


def is_qualified(trigger: Trigger, model: Model) -> bool:
    """Return whether `condition_in_body` means the same under any `search_path`.

    A condition of somebody's own does not: it names operators, and perhaps functions, as he would.
    """
    condition = trigger.get_condition(model)
    return condition is None or _qualified(condition, model) is not None


def values_are_qualified(trigger: EventTrigger) -> bool:
    """Return whether what a trigger puts into its events means the same under any `search_path`."""
    return clock.is_built_in() and not any(
        is_computed_when_read(tracked) for _, tracked in tracked_fields(trigger.event_model)
    )


def _qualified(condition: Condition | models.Q, model: Model) -> Fragment | None:
    """Return a condition that does nothing but compare columns of built-in types, or None of any other."""
    if renders_itself(condition):
        return None
    if isinstance(condition, Combined):
        parts = [_qualified(part, model) for part in condition.conditions]
        if None in parts:
            return None
        connector: LiteralString = " AND " if condition.connector == "AND" else " OR "
        return compose("(", join(connector, [part for part in parts if part is not None]), ")")
    if isinstance(condition, Not):
        negated = _qualified(condition.condition, model)
        return None if negated is None else compose("NOT ", negated)
    if not isinstance(condition, _Change):
        return None
    return _change(condition, model)


def _change(condition: _Change, model: Model) -> Fragment | None:
    fields = condition.compared_fields(model)
    if not all(has_built_in_equality(field) and not is_computed_when_read(field) for field in fields):
        return None
    if not fields:
        return condition_sql(condition, model)
    comparisons = [
        _differ(field) if condition.changed else compose("NOT ", _differ(field)) for field in fields
    ]
    return compose("(", join(" AND " if condition.connector == "AND" else " OR ", comparisons), ")")


def _differ(field: AnyField) -> Fragment:
    """Return what is true where a column changed, and never NULL."""
    old, new = column_of("OLD", field), column_of("NEW", field)
    cast = verbatim("::pg_catalog.text" if _type(field) in TYPES_WITHOUT_EQUALITY else "")
    differ = compose("(", old, cast, EQUALS, new, cast, ") IS NOT TRUE")
    if not field.null and field.model._meta.managed:
        # There is no NULL to be equal to another, and each look at one takes time: 0.15 µs for each field.
        return differ
    return compose("(", differ, " AND (", old, " IS NOT NULL OR ", new, " IS NOT NULL))")
