"""Foreign keys in a plan: the order of tables, and the rows that would refer to nothing if it were carried out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import TypeAlias

from django.db import models

from pgmagic.declare.model_types import AnyField, Model
from pgmagic.history.undo.undo_step import Action, Step

ForeignKey: TypeAlias = "models.ForeignKey[object, object]"

# Rows that were made are deleted first, since rows that come back may need their place; those are inserted last.
_TURNS: dict[Action, int] = {"delete": 0, "change back": 1, "restore": 2, "nothing": 3}


def in_order(steps: Sequence[Step]) -> list[Step]:
    """Return steps in the order of execution: rows are deleted before the rows they refer to, and come back after.

    In a circle of foreign keys any order will do.
    """
    touched = {step.tracked_model for step in steps}
    graph: dict[Model, set[Model]] = {}
    for model in sorted(touched, key=lambda model: model._meta.label):
        graph[model] = {target for _, target in _constrained_keys(model)} & (touched - {model})
    ranks: dict[Model, int] = {}
    while graph and not ranks:
        try:
            ranks = {model: rank for rank, model in enumerate(TopologicalSorter(graph).static_order())}
        except CycleError as error:
            circle = error.args[1]
            graph[circle[1]].discard(circle[0])

    def turn(step: Step) -> tuple[int, int, int, int]:
        rank = ranks[step.tracked_model]
        if step.action == "delete":
            return (0, -rank, 0, -step.event)
        return (1, rank, _TURNS[step.action], -step.event)

    return sorted(steps, key=turn)


def conflicts_of_keys(steps: Sequence[Step], alias: str) -> dict[int, str]:
    """Return the conflicts of steps because of foreign keys, by position; only of steps without a conflict."""
    found = dict(_dangling(steps, alias))
    for place, conflict in _still_referred_to(steps, alias):
        found.setdefault(place, conflict)
    return found


def _constrained_keys(model: Model) -> list[tuple[ForeignKey, Model]]:
    """Return the foreign keys of a model's own table that the database enforces, and what they refer to."""
    return [
        (field, field.remote_field.model)
        for field in model._meta.local_concrete_fields
        if isinstance(field, models.ForeignKey)
        and getattr(field, "db_constraint", True)
        and isinstance(field.related_model, type)
    ]


def _to_do(steps: Sequence[Step], action: Action | None = None) -> Iterator[tuple[int, Step]]:
    """Yield the steps that change a row, by one action if it is given, with their positions."""
    for place, step in enumerate(steps):
        if step.is_to_do and action in (None, step.action):
            yield place, step


def _values(steps: Sequence[Step], action: Action, model: Model, name: str) -> set[object]:
    """Return the values of a field in the rows that a plan deletes, or restores."""
    rows = (
        step.now if action == "delete" else step.then
        for _, step in _to_do(steps, action)
        if _table(step.tracked_model) == _table(model)
    )
    return {row.get(name) for row in rows if row is not None}


def _dangling(steps: Sequence[Step], alias: str) -> Iterator[tuple[int, str]]:
    """Yield the rows that would refer to a row that does not exist."""
    wanted: dict[tuple[ForeignKey, Model], dict[object, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, step in _to_do(steps):
        if step.then is None:
            continue
        for field, target in _constrained_keys(step.tracked_model):
            value = step.then.get(field.attname)
            if value is not None and (step.now is None or step.now.get(field.attname) != value):
                wanted[field, target][value].append(place)
    for (field, target), places in wanted.items():
        name = field.target_field.attname
        rows: models.QuerySet[models.Model] = models.QuerySet(target, using=alias)
        present: set[object] = set(rows.filter(**{f"{name}__in": list(places)}).values_list(name, flat=True))
        present -= _values(steps, "delete", target, name)
        present |= _values(steps, "restore", target, name)
        for value in places.keys() - present:
            for place in places[value]:
                yield (place, f"its {field.name}, the {target._meta.object_name} {value}, does not exist any more")


def _still_referred_to(steps: Sequence[Step], alias: str) -> Iterator[tuple[int, str]]:
    """Yield the rows to be deleted that are referred to by rows which the plan neither deletes nor changes."""
    to_do = {(_table(step.tracked_model), step.key): step for _, step in _to_do(steps)}
    deleted: dict[Model, list[int]] = defaultdict(list)
    for place, step in _to_do(steps, "delete"):
        deleted[step.tracked_model].append(place)
    for model, places in deleted.items():
        for related, field in _relations(model):
            name = field.target_field.attname
            by_value = {(steps[place].now or {}).get(name): place for place in places}
            rows: models.QuerySet[models.Model] = models.QuerySet(related, using=alias)
            rows = rows.filter(**{f"{field.attname}__in": list(by_value)})
            for pk, value in rows.values_list("pk", field.attname):
                key = pk if isinstance(pk, tuple) else (pk,)
                own = to_do.get((_table(related), key))
                if own is None or (own.then is not None and own.then.get(field.attname) == value):
                    shown = ", ".join(map(str, key))
                    yield by_value[value], f"the {related._meta.object_name} {shown} refers to it"


def _table(model: Model) -> str:
    return model._meta.db_table


def _relations(model: Model) -> Iterator[tuple[Model, ForeignKey]]:
    """Yield the managed models with an enforced foreign key to a model, and the key."""
    for relation in model._meta.get_fields(include_hidden=True):
        field: AnyField | None = getattr(relation, "field", None)
        if (
            isinstance(relation, models.ManyToOneRel)
            and relation.auto_created
            and isinstance(field, models.ForeignKey)
            and getattr(field, "db_constraint", True)
            and relation.related_model._meta.managed
        ):
            yield relation.related_model, field
