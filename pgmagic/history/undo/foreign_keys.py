"""Foreign keys that would lead nowhere if a plan were carried out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from django.db import models

from pgmagic.history.undo.order import constrained_keys

if TYPE_CHECKING:
    from pgmagic.history.undo.plan import Step

Model = type[models.Model]


def conflicts_of_keys(steps: Sequence[Step], alias: str) -> dict[int, str]:
    """Return what stands against steps, by position, because of foreign keys; only of steps without a conflict."""
    found = dict(_leading_nowhere(steps, alias))
    for place, conflict in _referred_to(steps, alias):
        found.setdefault(place, conflict)
    return found


def _carried_out(steps: Sequence[Step]) -> Iterator[tuple[int, Step]]:
    return (
        (place, step)
        for place, step in enumerate(steps)
        if step.conflict is None and step.action != "nothing"
    )


def _values(steps: Sequence[Step], action: str, model: Model, name: str) -> set[Any]:
    """Return what the rows that a plan deletes, or restores, have in a field."""
    rows = (
        step.now if action == "delete" else step.then
        for _, step in _carried_out(steps)
        if step.action == action and _table(step.model) == _table(model)
    )
    return {row.get(name) for row in rows if row is not None}


def _leading_nowhere(steps: Sequence[Step], alias: str) -> Iterator[tuple[int, str]]:
    """Yield rows that would refer to what is not there."""
    asked: dict[Any, dict[Any, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, step in _carried_out(steps):
        if step.then is None:
            continue
        for field, _ in constrained_keys(step.model):
            value = step.then.get(field.attname)
            if value is not None and (step.now is None or step.now.get(field.attname) != value):
                asked[field][value].append(place)
    for field, places in asked.items():
        target, name = field.related_model, field.target_field.attname
        there = set(
            models.QuerySet(target, using=alias)
            .filter(**{f"{name}__in": list(places)})
            .values_list(name, flat=True)
        )
        there = (there - _values(steps, "delete", target, name)) | _values(steps, "restore", target, name)
        for value in places.keys() - there:
            for place in places[value]:
                yield (
                    place,
                    f"its {field.name}, the {target._meta.object_name} {value}, does not exist any more",
                )


def _referred_to(steps: Sequence[Step], alias: str) -> Iterator[tuple[int, str]]:
    """Yield rows to be deleted that others refer to, which the plan neither deletes nor changes."""
    deleted: dict[Model, dict[Any, int]] = defaultdict(dict)
    for place, step in _carried_out(steps):
        if step.action == "delete":
            deleted[step.model][place] = place
    carried_out = {(_table(step.model), step.key): step for _, step in _carried_out(steps)}
    for model, places in deleted.items():
        for relation in _relations(model):
            field: Any = relation.field
            related: Any = relation.related_model
            name = field.target_field.attname
            by_value = {(steps[place].now or {}).get(name): place for place in places}
            wanted = {f"{field.attname}__in": list(by_value)}
            rows: Any = (
                models.QuerySet(related, using=alias).filter(**wanted).values_list("pk", field.attname)
            )
            for pk, value in rows:
                key = pk if isinstance(pk, tuple) else (pk,)
                own = carried_out.get((_table(related), key))
                lets_go = own is not None and (own.then is None or own.then.get(field.attname) != value)
                if not lets_go:
                    shown = ", ".join(map(str, key))
                    yield by_value[value], f"the {related._meta.object_name} {shown} refers to it"


def _table(model: Model) -> str:
    return str(model._meta.db_table)


def _relations(model: Model) -> Iterator[Any]:
    options: Any = model._meta
    for relation in options.get_fields(include_hidden=True):
        field: Any = getattr(relation, "field", None)
        if (
            relation.auto_created
            and not relation.concrete
            and (relation.one_to_many or relation.one_to_one)
            and isinstance(field, models.ForeignKey)
            and getattr(field, "db_constraint", True)
            and relation.related_model._meta.managed
        ):
            yield relation
