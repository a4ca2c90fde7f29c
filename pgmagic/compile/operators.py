"""Conditions in pgmagic's bodies that mean the same under any `search_path`, if all types are Postgres's own."""

from __future__ import annotations

import re
from typing import LiteralString

from django.db import models

from pgmagic.compile import clock
from pgmagic.compile.offline import offline_connection
from pgmagic.compile.predicate import TYPES_WITHOUT_EQUALITY, column_of, condition_sql, renders_itself
from pgmagic.compile.qualified import EQUALS
from pgmagic.compile.row_query import virtual_expression
from pgmagic.compile.sql import Fragment, compose, join, verbatim
from pgmagic.declare.conditions import Change, Combined, Condition, Not
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
    """Return whether a column's values are compared by one of Postgres's own operators."""
    return _BUILT_IN.fullmatch(_type(field)) is not None


def _type(field: AnyField) -> str:
    return field.db_type(offline_connection()) or ""


def condition_in_body(trigger: Trigger, model: Model) -> Fragment | None:
    """Return a trigger's condition for a body that reads tables called `old` and `new`; None if it has none."""
    condition = trigger.get_condition(model)
    if condition is None:
        return None
    return _qualified(condition, model) or condition_sql(condition, model)


def is_qualified(trigger: Trigger, model: Model) -> bool:
    """Return whether `condition_in_body` means the same under any `search_path`.

    A condition in the user's own SQL does not: it names operators, and perhaps functions, without a schema.
    """
    condition = trigger.get_condition(model)
    return condition is None or _qualified(condition, model) is not None


def values_are_qualified(trigger: EventTrigger) -> bool:
    """Return whether the values that a trigger puts into its events are the same under any `search_path`."""
    return clock.is_built_in() and not any(
        virtual_expression(tracked) is not None for _, tracked in tracked_fields(trigger.event_model)
    )


def _qualified(condition: Condition | models.Q, model: Model) -> Fragment | None:
    """Return a condition that only compares columns of built-in types; None for any other condition."""
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
    return _change(condition, model) if isinstance(condition, Change) else None


def _change(condition: Change, model: Model) -> Fragment | None:
    fields = condition.compared_fields(model)
    if not all(has_built_in_equality(field) and virtual_expression(field) is None for field in fields):
        return None
    if not fields:
        return condition_sql(condition, model)
    comparisons = [_differ(field) if condition.changed else compose("NOT ", _differ(field)) for field in fields]
    return compose("(", join(" AND " if condition.connector == "AND" else " OR ", comparisons), ")")


def _differ(field: AnyField) -> Fragment:
    """Return a condition that is true if a column changed, and never NULL."""
    old, new = column_of("OLD", field), column_of("NEW", field)
    cast = verbatim("::pg_catalog.text" if _type(field) in TYPES_WITHOUT_EQUALITY else "")
    differ = compose("(", old, cast, EQUALS, new, cast, ") IS NOT TRUE")
    if not field.null and field.model._meta.managed:
        # The column holds no NULL, and each test for NULL takes time: 0.15 µs for each field.
        return differ
    return compose("(", differ, " AND (", old, " IS NOT NULL OR ", new, " IS NOT NULL))")
