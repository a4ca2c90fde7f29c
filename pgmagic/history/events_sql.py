"""The SQL of event tables: their expressions, and one query over the events of all models, with the same columns.

Each event table is a branch of a UNION ALL, so that Postgres applies a filter to each of them, and computes only the
columns that are selected: `pgh_diff` looks up the event before, instead of a window over all events. A branch of one
table without conditions is read in the order of its primary key; a branch with a join would be read as a whole.

Source: https://www.postgresql.org/docs/current/functions-json.html
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from django.db import models

from pgmagic.compile.event_values import CONTEXT_TABLE, has_shared_context, live_keys, object_fields
from pgmagic.compile.offline import offline_connection
from pgmagic.compile.sql import Fragment, compose, identifier, join, literal, verbatim
from pgmagic.declare.model_types import AnyField, EventModel, Model
from pgmagic.declare.trackers import tracked_fields
from pgmagic.history.event_labels import old_labels

# A function takes 100 arguments: 50 pairs of key and value.
# Source: https://www.postgresql.org/docs/current/runtime-config-preset.html
_PAIRS: Final = 50

COLUMNS: Final[dict[str, str]] = {
    "pgh_slug": "text",
    "pgh_model": "text",
    "pgh_id": "bigint",
    "pgh_created_at": "timestamptz",
    "pgh_label": "text",
    "pgh_data": "jsonb",
    "pgh_diff": "jsonb",
    "pgh_context_id": "uuid",
    "pgh_context": "jsonb",
    "pgh_obj_model": "text",
    "pgh_obj_id": "text",
}


@dataclass(frozen=True)
class Rows:
    """Objects of one model, whose events are looked up."""

    label: str
    objects: tuple[models.Model, ...]

    @classmethod
    def grouped(cls, objects: Iterable[models.Model]) -> tuple[Rows, ...]:
        """Return objects grouped by the label of their model: a class that is declared again keeps its label."""
        groups: dict[str, list[models.Model]] = {}
        for instance in objects:
            groups.setdefault(_label(type(instance)), []).append(instance)
        return tuple(cls(label, tuple(found)) for label, found in groups.items())


@dataclass(frozen=True)
class Scope:
    """Which events a query reads: of which event models, of which objects, with foreign keys to which objects.

    by_context: whether a filter uses the context; contexts are joined then, so that Postgres may begin with them.
    latest: if nothing is asked but the latest events by their times, how many; older events are left out.
    """

    across: frozenset[str] | None = None
    tracks: tuple[tuple[Rows, ...], ...] = ()
    references: tuple[tuple[Rows, ...], ...] = ()
    by_context: bool = False
    latest: int | None = None

    def chosen(self, event_models: Iterable[EventModel]) -> list[EventModel]:
        """Return the event models in the scope."""
        return [
            event_model for event_model in event_models if self.across is None or event_model._meta.label in self.across
        ]

    def only(self, labels: Iterable[str]) -> Scope:
        """Return the scope narrowed to event models, by their labels."""
        wanted = frozenset(labels)
        return replace(self, across=wanted if self.across is None else self.across & wanted)

    def of(self, objects: Iterable[models.Model]) -> Scope:
        """Return the scope narrowed to the events of objects."""
        return replace(self, tracks=(*self.tracks, Rows.grouped(objects)))

    def referring_to(self, objects: Iterable[models.Model]) -> Scope:
        """Return the scope narrowed to events with a foreign key, `pgh_obj` too, to one of the objects."""
        return replace(self, references=(*self.references, Rows.grouped(objects)))


def events_sql(event_models: Sequence[EventModel], scope: Scope) -> Fragment:
    """Return a query of the events in a scope, with `COLUMNS`; in no order."""
    branches = []
    for event_model in scope.chosen(event_models):
        conditions = [_of_objects(event_model, rows) for rows in scope.tracks]
        conditions += [_refers_to(event_model, rows) for rows in scope.references]
        found = [condition for condition in conditions if condition is not None]
        if len(found) < len(conditions):
            continue
        if scope.latest is not None and not found:
            # The latest by `pgh_id`, and whatever is as young: the latest by time are among them, whatever the order
            # of the times, and the index of the times finds them.
            found.append(
                compose(
                    "event.pgh_created_at >= (SELECT min(last.pgh_created_at) FROM (SELECT event.pgh_created_at ",
                    _table(event_model), " ORDER BY event.pgh_id DESC LIMIT ", literal(scope.latest), ") AS last)",
                )
            )  # fmt: skip
        if scope.by_context:
            branches.append(_branch(event_expressions(event_model), event_source(event_model), found))
        else:
            branches.append(_branch(_expressions_alone(event_model), _table(event_model), found))
    if not branches:
        columns = [verbatim(f"NULL::{kind} AS {name}") for name, kind in COLUMNS.items()]
        branches.append(compose("SELECT ", join(", ", columns), " WHERE FALSE"))
    return join("\nUNION ALL\n", branches)


def _branch(columns: dict[str, Fragment], source: Fragment, conditions: Sequence[Fragment]) -> Fragment:
    selected = [compose(columns[name], verbatim(f"::{kind} AS {name}")) for name, kind in COLUMNS.items()]
    where = compose("\nWHERE ", join(" AND ", conditions)) if conditions else compose("")
    return compose("SELECT ", join(",\n  ", selected), "\n", source, where)


def column_of_event(event_models: Iterable[EventModel], column: str, model: Fragment, pgh_id: Fragment) -> Fragment:
    """Return one of `COLUMNS` of the event with a `pgh_id`, of the event model with a label."""
    cases = [
        compose(
            "\nWHEN ", literal(event_model._meta.label), " THEN (SELECT ", _expressions_alone(event_model)[column],
            verbatim(f"::{COLUMNS[column]} "), _table(event_model), " WHERE event.pgh_id = ", pgh_id, ")",
        )
        for event_model in event_models
    ]  # fmt: skip
    return compose("(CASE ", model, join("", cases), " END)")


def _table(event_model: EventModel) -> Fragment:
    return compose("FROM ", identifier(event_model._meta.db_table), " AS event")


def _expressions_alone(event_model: EventModel) -> dict[str, Fragment]:
    """Return the SQL of each of `COLUMNS` over the event table alone: the context is a subquery."""
    columns = event_expressions(event_model)
    if has_shared_context(event_model):
        columns["pgh_context"] = compose(
            "(SELECT context.metadata FROM ", identifier(CONTEXT_TABLE), " AS context WHERE context.id = ",
            columns["pgh_context_id"], ")",
        )  # fmt: skip
    return columns


def event_source(event_model: EventModel) -> Fragment:
    """Return the FROM of an event table as `event`, joined with the shared contexts as `context` if it uses them."""
    source = _table(event_model)
    if not has_shared_context(event_model):
        return source
    key = _column("event", _own(event_model)["pgh_context"])
    return compose(source, " LEFT JOIN ", identifier(CONTEXT_TABLE), " AS context ON context.id = ", key)


def event_expressions(event_model: EventModel) -> dict[str, Fragment]:
    """Return the SQL, over `event_source`, of each of `COLUMNS`."""
    own = _own(event_model)
    label = literal(event_model._meta.label)
    object_key = object_columns(event_model, "event")
    return {
        "pgh_slug": compose("concat(", label, ", ':', event.pgh_id)"),
        "pgh_model": label,
        "pgh_id": compose("event.pgh_id"),
        "pgh_created_at": compose("event.pgh_created_at"),
        "pgh_label": compose("event.pgh_label"),
        "pgh_data": _data(event_model, "event"),
        "pgh_diff": _diff(event_model),
        **context_expressions(event_model),
        "pgh_obj_model": literal(event_model.pgh_tracked_model._meta.label),
        "pgh_obj_id": object_key[0] if "pgh_obj" in own or len(object_key) == 1 else compose("NULL"),
    }


def context_expressions(event_model: EventModel) -> dict[str, Fragment]:
    """Return the SQL of an event's context, `pgh_context`, and its id; NULL if the events store no context."""
    own = _own(event_model)
    if has_shared_context(event_model):
        return {"pgh_context_id": _column("event", own["pgh_context"]), "pgh_context": compose("context.metadata")}
    return {name: _column("event", own[name]) if name in own else compose("NULL") for name in
              ("pgh_context_id", "pgh_context")}  # fmt: skip


def object_columns(event_model: EventModel, alias: str) -> list[Fragment]:
    """Return the columns of an event with the key of its object: `pgh_obj`, or else the mirrored primary key.

    Empty if the events do not have it.
    """
    return [_column(alias, field) for field in object_fields(event_model)]


def same_object(event_model: EventModel, alias: str, other: str) -> Fragment:
    """Return the condition that two events, by the aliases of their tables, belong to one object."""
    pairs = zip(object_columns(event_model, alias), object_columns(event_model, other), strict=True)
    return join(" AND ", [compose(left, " = ", right) for left, right in pairs])


def is_event_of(event_model: EventModel, alias: str, row: str) -> Fragment:
    """Return the condition that an event belongs to a row of the tracked table; both by their aliases."""
    keys = [identifier(row, column) for column in live_keys(event_model)]
    pairs = zip(keys, object_columns(event_model, alias), strict=True)
    return join(" AND ", [compose(key, " = ", event) for key, event in pairs])


def _diff(event_model: EventModel) -> Fragment:
    """Return what an event changed against the event before it of the same object and the same side of the row.

    NULL on the first event, and if no tracked field differs.
    """
    if not object_columns(event_model, "event"):
        return compose("NULL")
    same = same_object(event_model, "before", "event")
    old = old_labels(event_model)
    if old and len(old) < len(event_model.pgh_trackers):
        before, here = (
            compose("(", alias, ".pgh_label IN (", join(", ", map(literal, old)), "))")
            for alias in (identifier("before"), identifier("event"))
        )
        same = compose(same, " AND ", before, " = ", here)
    return compose(
        "(SELECT jsonb_object_agg(key, jsonb_build_array(was.value, now.value))\n"
        "   FROM (SELECT ", _data(event_model, "before"), " AS data FROM ",
        identifier(event_model._meta.db_table), " AS before\n"
        "         WHERE ", same, " AND before.pgh_id < event.pgh_id\n"
        "         ORDER BY before.pgh_id DESC LIMIT 1) AS previous,\n"
        "     jsonb_each(previous.data) AS was JOIN jsonb_each(", _data(event_model, "event"), ") AS now USING (key)\n"
        "   WHERE was.value IS DISTINCT FROM now.value)",
    )  # fmt: skip


def _data(event_model: EventModel, alias: str) -> Fragment:
    """Return the tracked fields of an event as jsonb; a foreign key has the name of its id, `author_id`."""
    pairs = [compose(literal(event.attname), ", ", _column(alias, event)) for event, _ in tracked_fields(event_model)]
    objects = [
        compose("jsonb_build_object(", join(", ", pairs[start : start + _PAIRS]), ")")
        for start in range(0, len(pairs), _PAIRS)
    ]
    return compose("(", join(" || ", objects or [compose("'{}'::jsonb")]), ")")


def _of_objects(event_model: EventModel, groups: tuple[Rows, ...]) -> Fragment | None:
    """Return the condition that an event belongs to one of the objects; None if no event can.

    An event without `pgh_obj` belongs to no object, as upstream.
    """
    tracked = _label(event_model.pgh_tracked_model)
    found = [instance for rows in groups if rows.label == tracked for instance in rows.objects]
    field = _own(event_model).get("pgh_obj")
    if not found or not isinstance(field, models.ForeignKey):
        return None
    return _is_one_of(field, [getattr(instance, field.target_field.attname) for instance in found])


def _refers_to(event_model: EventModel, groups: tuple[Rows, ...]) -> Fragment | None:
    """Return the condition that an event has a foreign key to one of the objects; None if no event can."""
    alternatives = []
    for field in event_model._meta.local_concrete_fields:
        target = field.related_model
        if not isinstance(field, models.ForeignKey) or not isinstance(target, type):
            continue
        found = [instance for rows in groups if rows.label == _label(target) for instance in rows.objects]
        if found:
            values = [getattr(instance, field.target_field.attname) for instance in found]
            alternatives.append(_is_one_of(field, values))
    return compose("(", join(" OR ", alternatives), ")") if alternatives else None


def _is_one_of(field: AnyField, values: Iterable[object]) -> Fragment:
    return compose(_column("event", field), " IN (", join(", ", [_value_of(field, value) for value in values]), ")")


def _value_of(field: AnyField, value: object) -> Fragment:
    return literal(field.get_db_prep_value(value, offline_connection()))


def _column(alias: str, field: AnyField) -> Fragment:
    return identifier(alias, field.column)


def _own(event_model: EventModel) -> dict[str, AnyField]:
    return {field.name: field for field in event_model._meta.local_concrete_fields}


def _label(model: Model) -> str:
    return str((model._meta.concrete_model or model)._meta.label)
