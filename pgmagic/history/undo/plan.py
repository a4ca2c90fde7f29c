"""Making the plan that undoes a context: for each row what would be done, and what prevents it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

from django.apps import apps
from django.db import connections, models, router

from pgmagic.compile.event_values import has_shared_context, object_fields
from pgmagic.db.runtime.context import Context, open_context
from pgmagic.declare.model_types import EventModel, Model
from pgmagic.errors import HistoryError
from pgmagic.history.event_labels import meanings
from pgmagic.history.targets import is_event_model
from pgmagic.history.undo.foreign_keys import conflicts_of_keys, in_order
from pgmagic.history.undo.former_rows import read_touched
from pgmagic.history.undo.touched import Touched, TouchedTable
from pgmagic.history.undo.undo_step import Key, Plan, Step, action_between


def make_plan(
    context: Context | models.Model | UUID | str, using: str | None = None, *, complete: bool = False
) -> Plan:
    """Return what would undo a context; nothing is changed.

    Every object of the context's events becomes again what it was before the context's first event of it. It is a
    conflict if somebody else changed it since, if no event shows what it was, if the events do not hold whole rows, or
    if a foreign key would refer to nothing. complete: see `undo_plan`.

    Raises:
        HistoryError: it is not a context, or the context is still open, or no event was recorded in it.
    """
    found = getattr(context, "id", context)
    try:
        context_id = found if isinstance(found, UUID) else UUID(str(found))
    except ValueError:
        raise HistoryError(
            f"A context, or the id of a context, is needed to undo it, but {context!r} was given: events have the id "
            f"in pgh_context_id."
        ) from None
    opened = open_context()
    if opened is not None and opened.id == context_id:
        raise HistoryError(f"The context {context_id} is still open: leave its block, then undo it.")
    alias = using or router.db_for_write(apps.get_model("pghistory", "Context"))
    tables = _tables(context_id, alias, complete=complete)
    if not tables:
        raise HistoryError(f"No event was recorded in a context {context_id}: there is nothing to undo.")
    steps = [step for table in tables for step in _steps(table, context_id)]
    # The conflict of a foreign key may cause others.
    while conflicts := conflicts_of_keys(steps, alias):
        for place, conflict in conflicts.items():
            if not steps[place].conflict:
                steps[place] = replace(steps[place], conflict=conflict)
    return Plan(context_id, alias, tuple(in_order(steps)), complete)


def _tables(context_id: UUID, alias: str, *, complete: bool) -> list[TouchedTable]:
    """Return what the context touched, each object once: by the event model that says most about it."""
    best: dict[tuple[Model, Key], tuple[TouchedTable, Touched]] = {}
    with connections[alias].cursor() as cursor:
        for event_model in _event_models(alias):
            table = read_touched(cursor, event_model, context_id, complete=complete)
            for touched in table.objects:
                known = best.get((table.model, touched.key))
                if known is None or _lacks(table, touched) < _lacks(*known):
                    best[table.model, touched.key] = (table, touched)
    tables: dict[int, TouchedTable] = {}
    for table, touched in best.values():
        tables.setdefault(id(table), replace(table, objects=[])).objects.append(touched)
    return list(tables.values())


def _lacks(table: TouchedTable, touched: Touched) -> tuple[bool, bool]:
    """Return whether the events lack fields of the row, and whether they lack what the object was."""
    return (bool(table.missing), touched.unknown is not None)


def _event_models(alias: str) -> Iterator[EventModel]:
    """Yield the event models of a database whose events have their context and their object."""
    for model in apps.get_models():
        if not is_event_model(model) or model._meta.proxy or not router.allow_migrate_model(alias, model):
            continue
        names = {field.name for field in model._meta.local_concrete_fields}
        if (has_shared_context(model) or "pgh_context_id" in names) and object_fields(model):
            yield model


def _steps(table: TouchedTable, context_id: UUID) -> Iterator[Step]:
    conflicts = {touched.key: _conflict(touched, table, context_id) for touched in table.objects}
    stuck = [touched for touched in table.objects if touched.is_moved and conflicts[touched.key] is not None]
    for touched in table.objects:
        now = table.live.get(touched.key)
        then = table.row_of(touched.before)
        conflict = conflicts[touched.key]
        if touched.is_moved and stuck and conflict is None:
            conflict = f"its row was moved, as that of {', '.join(map(str, stuck[0].key))}, which has a conflict"
        action = action_between(now, then)
        if touched.unknown is not None:
            action, then = "nothing", now
        elif action == "nothing":
            conflict = None
        yield Step(table.model, table.event_model, touched.key, action, touched.event, now, then, conflict)


def _conflict(touched: Touched, table: TouchedTable, context_id: UUID) -> str | None:
    if table.missing:
        return f"{table.event_model._meta.object_name} does not track {', '.join(table.missing)}"
    if touched.unknown is not None:
        return touched.unknown
    now = table.live.get(touched.key)
    if touched.is_last_known and now == table.row_of(touched.last):
        # Whatever happened since was undone.
        return None
    known = meanings(table.event_model)
    for event in reversed(touched.events):
        if event.pgh_id > touched.since and event.context_id != context_id and event.label in known:
            return f"changed since, {event.described}"
    if touched.is_last_known:
        return "changed since, and no event shows by whom"
    if now is None and known[touched.inside[-1].label].kinds == {"UPDATE"}:
        return "it is gone, and no event shows how: it was deleted, or its key was changed"
    return None
