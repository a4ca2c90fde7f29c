"""The query sets of events: of one event model, and of `Events`, whose table is a union of event tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn, cast

from django.apps import apps
from django.db import models, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.expressions import Col
from django.db.models.sql import Query
from django.db.models.sql.compiler import SQLCompiler
from django.db.models.sql.datastructures import BaseTable

from pgmagic.compile.sql import render, verbatim
from pgmagic.declare.model_types import AnyField, EventModel, Model, is_event_model
from pgmagic.errors import HistoryError
from pgmagic.history.events_sql import Scope, column_of_event, events_sql

if TYPE_CHECKING:
    from django.db.models.sql.compiler import _AsSqlType, _ParamsT

    from pgmagic.pghistory.models import Events


class _EventsTable(BaseTable):
    """The events in the scope of the compiled query, as a derived table in FROM."""

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> _AsSqlType:
        scope = cast("EventsQuery", compiler.query).scope_of_table()
        union = render(events_sql(registered_event_models(connection.alias), scope))
        return f"({_escaped(union)}) {compiler.quote_name_unless_alias(str(self.table_alias))}", ()


def _escaped(sql: str) -> str:
    """Return SQL without parameters, its percent signs doubled for the driver."""
    return sql.replace("%", "%%")


class EventsQuery(Query):
    """A query over `_EventsTable`, with a scope."""

    base_table_class = _EventsTable
    scope = Scope()

    def scope_of_table(self) -> Scope:
        """Return the scope, with what the filters and the order of the query allow to leave out."""
        ordering = self.order_by[0] if self.order_by else None
        is_by_time = ordering == ("-pgh_created_at" if self.standard_ordering else "pgh_created_at")
        is_filtered = bool(self.where or self.distinct or self.extra_order_by or self.combinator)
        # Another table might leave events out, and another event would take their place.
        is_alone = self.group_by is None and sum(map(bool, self.alias_refcount.values())) <= 1
        latest = self.high_mark if is_by_time and is_alone and not is_filtered else None
        return replace(self.scope, by_context=_mentions_context(self.where), latest=latest)


def _mentions_context(node: object) -> bool:
    """Return whether a condition, or an expression in it, is about the context of an event."""
    if getattr(getattr(node, "target", None), "name", None) == "pgh_context":
        return True
    if isinstance(node, Col):
        return hasattr(node.target, "proxied_path")
    parts: Iterable[object] = getattr(node, "children", None) or (
        node.get_source_expressions() if hasattr(node, "get_source_expressions") else ()
    )
    return any(_mentions_context(part) for part in parts)


class _LateCol(Col):
    """A column that a slice of events computes for its own events only, and not for all that it is a slice of.

    Postgres sorts first and computes the selected columns afterwards, but not those below a UNION ALL.
    """

    def select_format(self, compiler: SQLCompiler, sql: str, params: _ParamsT) -> _AsSqlType:
        """Return the column, looked up by the event's model and id where that saves work."""
        query = compiler.query
        if not (isinstance(query, EventsQuery) and query.is_sliced):
            return sql, params
        # There, a selected column has to be written as in ORDER BY or GROUP BY.
        if query.distinct or query.group_by is not None:
            return sql, params
        event_models = query.scope.chosen(registered_event_models(compiler.connection.alias))
        if len(event_models) < 2:
            return sql, params
        alias = compiler.quote_name_unless_alias(self.alias)
        model, pgh_id = verbatim(f"{alias}.pgh_model"), verbatim(f"{alias}.pgh_id")
        column = str(self.target.name)
        return _escaped(render(column_of_event(event_models, column, model, pgh_id))), ()


class LateJSONField(models.JSONField):
    """A column of `Events` that takes work to compute."""

    def get_col(self, alias: str, output_field: AnyField | None = None) -> Col:
        """Return the column as an expression."""
        return _LateCol(alias, self, output_field or self)

    def deconstruct(self) -> tuple[str, str, Sequence[object], dict[str, object]]:
        """Return how migrations write the field: as Django's JSONField."""
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs


class EventsQuerySet(models.QuerySet["Events"]):
    """Events of all event models, as rows with the same columns."""

    query: EventsQuery

    def __init__(
        self,
        model: Model | None = None,
        query: Query | None = None,
        using: str | None = None,
        hints: dict[str, models.Model] | None = None,
    ) -> None:
        super().__init__(model=model, query=query or EventsQuery(model), using=using, hints=hints)

    def across(self, *event_models: Model | str) -> EventsQuerySet:
        """Return only the events of some event models.

        Args:
            event_models: classes such as `PostEvent`, or their labels.

        Raises:
            HistoryError: if a class is not an event model.

        Example:
            >>> from pgmagic.pghistory.models import Events
            >>> Events.objects.across("notebook.PostEvent").count()
            1
        """
        labels = []
        for given in event_models:
            model = apps.get_model(given) if isinstance(given, str) else given
            if not is_event_model(model):
                name = getattr(model, "__name__", repr(model))
                raise HistoryError(f"across() takes event models such as PostEvent, but {name} was given.")
            labels.append(model._meta.label)
        return self._scoped(self.query.scope.only(labels))

    def tracks(self, *objects: models.Model | Iterable[models.Model]) -> EventsQuerySet:
        """Return only the events of some objects; no events if no objects are given.

        Events that are declared with `obj_field=None` belong to no object.

        Args:
            objects: objects, or iterables of objects such as a query set.

        Raises:
            HistoryError: if something else than objects is given.

        Example:
            >>> from pgmagic.pghistory.models import Events
            >>> [event.pgh_label for event in Events.objects.tracks(post)]
            ['insert']
        """
        return self._scoped(self.query.scope.of(_flat(objects)))

    def references(self, *objects: models.Model | Iterable[models.Model]) -> EventsQuerySet:
        """Return only the events that have a foreign key to one of the objects; `pgh_obj` counts as one.

        Args:
            objects: objects, or iterables of objects; no events are found if none are given.

        Raises:
            HistoryError: if something else than objects is given.

        Example:
            >>> from pgmagic.pghistory.models import Events
            >>> Events.objects.references(post).count()
            1
        """
        return self._scoped(self.query.scope.referring_to(_flat(objects)))

    def target(self, *objects: models.Model | Iterable[models.Model]) -> EventsQuerySet:
        """Return only the events of some objects: the older name of `tracks`."""
        return self.tracks(*objects)

    def update(self, **kwargs: object) -> NoReturn:
        """Raise HistoryError: these are rows of many tables."""
        raise HistoryError("Events are only read: change the rows of one event model, as in PostEvent.objects.")

    def delete(self) -> NoReturn:
        """Raise HistoryError: these are rows of many tables."""
        raise HistoryError("Events are only read: delete the rows of one event model, as in PostEvent.objects.")

    def _scoped(self, scope: Scope) -> EventsQuerySet:
        narrowed: EventsQuerySet = self._chain()  # type: ignore[attr-defined]
        narrowed.query.scope = scope
        return narrowed


class EventQuerySet(models.QuerySet["models.Model"]):
    """Events of one event model: what `PostEvent.objects` returns, and the base of a project's own query sets."""


class NoEventsManager(models.Manager["Events"]):
    """A manager without events, for relations and for tools that read all models."""

    def get_queryset(self) -> models.QuerySet[Events]:
        """Return nothing."""
        return super().get_queryset().none()


def registered_event_models(alias: str | None = None) -> list[EventModel]:
    """Return the event models that have a table, on one database or on all, in the order of their labels."""
    found = [
        model
        for model in apps.get_models()
        if is_event_model(model)
        and not model._meta.proxy
        and (alias is None or router.allow_migrate_model(alias, model))
    ]
    return sorted(found, key=lambda model: model._meta.label)


def _flat(objects: Iterable[object]) -> Iterator[models.Model]:
    """Yield objects out of objects and iterables of objects.

    Raises:
        HistoryError: if something is neither.
    """
    for found in objects:
        if isinstance(found, models.Model):
            yield found
        elif isinstance(found, Iterable) and not isinstance(found, str | bytes):
            yield from _flat(found)
        else:
            raise HistoryError(f"Events are looked up for objects of models, but {found!r} was given.")
