"""The query surface of `Events`: a query set whose table is the events of all event models in its scope."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, NoReturn

from django.apps import apps
from django.db import models, router
from django.db.models.expressions import Col
from django.db.models.sql import Query
from django.db.models.sql.datastructures import BaseTable

from pgmagic.compile.sql import render, verbatim
from pgmagic.declare.trackers import EventModel
from pgmagic.errors import HistoryError
from pgmagic.history.event_source import Scope, column_of_event, events_sql


class _EventsTable(BaseTable):
    """What stands in FROM instead of a table."""

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        """Return the events in the scope of the compiled query, as a derived table."""
        query = compiler.query
        scope = replace(
            query.scope, by_context=_mentions_context(query.where), latest=_number_of_latest(query)
        )
        union = render(events_sql(registered_event_models(connection.alias), scope))
        return f"({_escaped(union)}) {compiler.quote_name_unless_alias(self.table_alias)}", []


def _escaped(sql: str) -> str:
    """Return SQL whose values are all literals for a driver that takes percent signs for its own."""
    return sql.replace("%", "%%")


def _number_of_latest(query: Any) -> int | None:
    """Return how many of the latest events by their times a query asks for, if it asks for nothing else."""
    ordering = query.order_by[0] if query.order_by else None
    is_by_time = ordering == ("-pgh_created_at" if query.standard_ordering else "pgh_created_at")
    is_all = not (query.where or query.distinct or query.extra_order_by or query.combinator)
    # Another table might leave events out, and another event would take its place.
    is_alone = query.group_by is None and sum(map(bool, query.alias_refcount.values())) <= 1
    return query.high_mark if is_by_time and is_all and is_alone else None


def _mentions_context(node: Any) -> bool:
    """Return whether a condition, or an expression in it, is about the context of an event."""
    if getattr(getattr(node, "target", None), "name", None) == "pgh_context":
        return True
    if isinstance(node, Col):
        return hasattr(node.target, "proxied_path")
    parts = getattr(node, "children", None) or (
        node.get_source_expressions() if hasattr(node, "get_source_expressions") else ()
    )
    return any(_mentions_context(part) for part in parts)


class EventsQuery(Query):
    """A query over `_EventsTable`, with a scope."""

    base_table_class = _EventsTable
    scope = Scope()


class _LateCol(Col):
    """A column that a slice of many events computes for the events in it, and not for all that it is a slice of.

    Postgres sorts first and computes afterwards, but not what is below a UNION ALL.
    """

    def select_format(self, compiler: Any, sql: Any, params: Any) -> Any:
        """Return the column, looked up by the event's model and id where that spares work."""
        query = compiler.query
        if not (isinstance(query, EventsQuery) and query.is_sliced):
            return sql, params
        # There, what is selected has to read as it does in ORDER BY or GROUP BY.
        if query.distinct or query.group_by is not None:
            return sql, params
        event_models = query.scope.chosen(registered_event_models(compiler.connection.alias))
        if len(event_models) < 2:
            return sql, params
        alias = compiler.quote_name_unless_alias(self.alias)
        model, pgh_id = verbatim(f"{alias}.pgh_model"), verbatim(f"{alias}.pgh_id")
        column: Any = self.target
        return _escaped(render(column_of_event(event_models, column.name, model, pgh_id))), []


class LateJSONField(models.JSONField):
    """A column of `Events` that takes work to compute."""

    def get_col(self, alias: str, output_field: Any = None) -> Col:
        """Return the column as an expression."""
        return _LateCol(alias, self, output_field or self)

    def deconstruct(self) -> Any:
        """Return how the field is made, as migrations write it."""
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs


class EventsQuerySet(models.QuerySet[Any, Any]):
    """Events of all event models, as rows of the same columns."""

    query: EventsQuery

    def __init__(
        self, model: Any = None, query: Any = None, using: str | None = None, hints: Any = None
    ) -> None:
        super().__init__(model=model, query=query or EventsQuery(model), using=using, hints=hints)

    def across(self, *event_models: EventModel | str) -> EventsQuerySet:
        """Return only the events of event models, given as classes or as labels.

        Raises:
            HistoryError: something is no event model.
        """
        labels = [_event_label(event_model) for event_model in event_models]
        return self._scoped(self.query.scope.only(labels))

    def tracks(self, *objects: Any) -> EventsQuerySet:
        """Return only the events of objects; of none, no events. Each argument is an object or an iterable of them."""
        return self._scoped(self.query.scope.of(_flat(objects)))

    def references(self, *objects: Any) -> EventsQuerySet:
        """Return only the events that have a foreign key, `pgh_obj` too, to one of the objects; of none, no events."""
        return self._scoped(self.query.scope.referring_to(_flat(objects)))

    def target(self, *objects: Any) -> EventsQuerySet:
        """Return only the events of objects: the older name of `tracks`."""
        return self.tracks(*objects)

    def update(self, **kwargs: Any) -> NoReturn:
        """Refuse: these are rows of many tables."""
        raise HistoryError(
            "Events are only read: change the rows of one event model, as in PostEvent.objects."
        )

    def delete(self) -> NoReturn:
        """Refuse: these are rows of many tables."""
        raise HistoryError(
            "Events are only read: delete the rows of one event model, as in PostEvent.objects."
        )

    def _scoped(self, scope: Scope) -> EventsQuerySet:
        narrowed: EventsQuerySet = self._chain()  # type: ignore[attr-defined]
        narrowed.query.scope = scope
        return narrowed


class NoEventsManager(models.Manager[Any]):
    """A manager without events: what relations and tools that walk over all models meet."""

    def get_queryset(self) -> models.QuerySet[Any]:
        """Return nothing."""
        return super().get_queryset().none()


def registered_event_models(alias: str | None = None) -> list[EventModel]:
    """Return the event models that have a table, on one database or on all, in the order of their labels."""
    found = [
        model
        for model in apps.get_models()
        if hasattr(model, "pgh_tracked_model")
        and not model._meta.proxy
        and (alias is None or router.allow_migrate_model(alias, model))
    ]
    return sorted(found, key=lambda model: model._meta.label)


def _event_label(event_model: EventModel | str) -> str:
    model: Any = apps.get_model(event_model) if isinstance(event_model, str) else event_model
    if not hasattr(model, "pgh_tracked_model"):
        name = getattr(model, "__name__", repr(model))
        raise HistoryError(f"across() takes event models such as PostEvent, but {name} is none.")
    return str(model._meta.label)


def _flat(objects: Iterable[Any]) -> Iterator[models.Model]:
    """Yield objects out of objects and iterables of them.

    Raises:
        HistoryError: something is neither.
    """
    for found in objects:
        if isinstance(found, models.Model):
            yield found
        elif isinstance(found, Iterable) and not isinstance(found, str | bytes):
            yield from _flat(found)
        else:
            raise HistoryError(f"Events are looked up for objects of models, but {found!r} was given.")
