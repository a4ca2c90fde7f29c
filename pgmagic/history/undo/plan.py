"""The plan that undoes a context: for each row what would be done, and what stands against it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import UUID

from django.apps import apps
from django.db import connections, models, router
from django.utils import timezone

from pgmagic.db.runtime.context import open_context
from pgmagic.errors import HistoryError
from pgmagic.history.undo.foreign_keys import conflicts_of_keys
from pgmagic.history.undo.objects import Key, Touched, TouchedTable, meanings
from pgmagic.history.undo.order import by_foreign_keys
from pgmagic.history.undo.touched import read_touched
from pgmagic.history.undo.undo_sql import tells_contexts

Action = Literal["delete", "change back", "restore", "nothing"]

# Rows that were made go first, since what comes back may need their place; what comes back is put in last.
_TURNS: dict[Action, int] = {"delete": 0, "change back": 1, "restore": 2, "nothing": 3}


@dataclass(frozen=True)
class Step:
    """What would be done to one row.

    event: the `pgh_id` of the event that tells its key and, unless it is deleted, its row. now, then: the row as it is,
    and as it would be; None for no row. conflict: what stands against it.
    """

    model: type[models.Model]
    event_model: type[Any]
    key: Key
    action: Action
    event: int
    now: dict[str, Any] | None
    then: dict[str, Any] | None
    conflict: str | None = None

    @property
    def identity(self) -> tuple[str, Key, str, int, str | None]:
        """What makes two steps the same."""
        return (self.model._meta.label, self.key, self.action, self.event, self.conflict)


@dataclass(frozen=True)
class Plan:
    """What undoes a context, in the order in which it would be done."""

    context_id: UUID
    using: str
    steps: tuple[Step, ...]
    complete: bool = False

    @property
    def conflicts(self) -> tuple[Step, ...]:
        """The steps that something stands against."""
        return tuple(step for step in self.steps if step.conflict is not None)


def make_plan(context: Any, using: str | None = None, *, complete: bool = False) -> Plan:
    """Return what would undo a context; nothing is changed.

    context: a context, or its id. Every object that the context's events are of becomes again what it was before the
    context's first event of it. A conflict is: it was changed since by somebody else, no event tells what it was,
    the events do not hold whole rows, or a foreign key would lead nowhere. complete: whether every row was tracked
    since it was made, so that an event without an earlier one may be of its creation.

    Raises:
        HistoryError: it is no context, it is still open, or no event was recorded in it.
    """
    context_id = _context_id(context)
    opened = open_context()
    if opened is not None and opened.id == context_id:
        raise HistoryError(f"The context {context_id} is still open: leave its block, then undo it.")
    alias = using or router.db_for_write(apps.get_model("pghistory", "Context"))
    tables = _tables(context_id, alias, complete=complete)
    if not tables:
        raise HistoryError(f"No event was recorded in a context {context_id}: there is nothing to undo.")
    steps = [step for table in tables for step in _steps(table, context_id)]
    return Plan(context_id, alias, tuple(_ordered(_with_key_conflicts(steps, alias))), complete)


def _context_id(context: Any) -> UUID:
    found = getattr(context, "id", context)
    try:
        return found if isinstance(found, UUID) else UUID(str(found))
    except ValueError:
        raise HistoryError(
            f"A context, or the id of one, is needed to undo it, but {context!r} was given: events have it in "
            f"pgh_context_id."
        ) from None


def _tables(context_id: UUID, alias: str, *, complete: bool) -> list[TouchedTable]:
    """Return what the context touched, each tracked table once: by whole rows, if an event model has them."""
    found: dict[type[models.Model], dict[Key, tuple[TouchedTable, Touched]]] = {}
    with connections[alias].cursor() as cursor:
        for event_model in _event_models(alias):
            table = read_touched(cursor, event_model, context_id, complete=complete)
            known = found.setdefault(table.model, {})
            for touched in table.objects:
                other = known.get(touched.key)
                if other is None or _tells_more(table, touched, *other):
                    known[touched.key] = (table, touched)
    tables: dict[int, TouchedTable] = {}
    for known in found.values():
        for table, touched in known.values():
            kept = tables.setdefault(id(table), replace(table, objects=[]))
            kept.objects.append(touched)
    return list(tables.values())


def _tells_more(table: TouchedTable, touched: Touched, other_table: TouchedTable, other: Touched) -> bool:
    """Return whether one event model says more of an object than another: whole rows, and what it was."""
    ranks = [
        (bool(found.missing), seen.untold is not None)
        for found, seen in ((table, touched), (other_table, other))
    ]
    return ranks[0] < ranks[1]


def _event_models(alias: str) -> Iterator[type[Any]]:
    for model in apps.get_models():
        if (
            hasattr(model, "pgh_tracked_model")
            and not model._meta.proxy
            and router.allow_migrate_model(alias, model)
            and tells_contexts(model)
        ):
            yield model


def _steps(table: TouchedTable, context_id: UUID) -> Iterator[Step]:
    conflicts = {
        touched.key: _conflict(touched, table, context_id, table.live.get(touched.key))
        for touched in table.objects
    }
    stuck = [touched for touched in table.objects if touched.is_moved and conflicts[touched.key] is not None]
    for touched in table.objects:
        now = table.live.get(touched.key)
        then = None if touched.before is None else table.rows[touched.before]
        conflict = conflicts[touched.key]
        if touched.is_moved and stuck and conflict is None:
            conflict = (
                f"its row was moved, as that of {', '.join(map(str, stuck[0].key))}, which has a conflict"
            )
        action = _action(now, then)
        if touched.untold is not None:
            action, then = "nothing", now
        yield Step(
            table.model, table.event_model, touched.key, action, touched.before or touched.since, now, then,
            conflict if action != "nothing" or touched.untold is not None else None,
        )  # fmt: skip


def _action(now: Any, then: Any) -> Action:
    if then is None:
        return "nothing" if now is None else "delete"
    if now is None:
        return "restore"
    return "nothing" if now == then else "change back"


def _conflict(touched: Touched, table: TouchedTable, context_id: UUID, now: Any) -> str | None:
    if table.missing:
        return f"{table.event_model._meta.object_name} does not track {', '.join(table.missing)}"
    if touched.untold is not None:
        return touched.untold
    last = None if touched.last is None else table.rows[touched.last]
    if touched.is_last_told and now == last:
        # Whatever happened since was undone.
        return None
    first, known = touched.since, meanings(table.event_model)
    others = [
        event
        for event in touched.events
        if event.pgh_id > first and event.context_id != context_id and event.label in known
    ]
    if others:
        latest = others[-1]
        where = f"in the context {latest.context_id}" if latest.context_id else "outside any context"
        moment = timezone.localtime(latest.created_at).isoformat(sep=" ", timespec="seconds")
        return f'changed since, {where}: "{latest.label}" at {moment}'
    if touched.is_last_told:
        return "changed since, and no event tells by whom"
    if not touched.is_last_told and now is None and known[touched.inside[-1].label].kinds == {"UPDATE"}:
        return "it is gone, and no event tells how: it was deleted, or its key was changed"
    return None


def _with_key_conflicts(steps: list[Step], alias: str) -> list[Step]:
    """Return steps with the conflicts of their foreign keys: each may bring about another, until none is new."""
    while True:
        found = conflicts_of_keys(steps, alias)
        if not found:
            return steps
        steps = [
            step if step.conflict or place not in found else replace(step, conflict=found[place])
            for place, step in enumerate(steps)
        ]


def _ordered(steps: Iterable[Step]) -> list[Step]:
    """Return steps in the order of execution: what refers to others is deleted before these, and comes back after."""
    listed = list(steps)
    ranks = by_foreign_keys({step.model for step in listed})

    def turn(step: Step) -> tuple[Any, ...]:
        rank = ranks[step.model]
        if step.action == "delete":
            return (0, -rank, 0, -step.event)
        return (1, rank, _TURNS[step.action], -step.event)

    return sorted(listed, key=turn)
