"""The order of tables by their foreign keys."""

from __future__ import annotations

from collections.abc import Collection
from graphlib import CycleError, TopologicalSorter
from typing import Any

from django.db import models

Model = type[models.Model]


def by_foreign_keys(tracked: Collection[Model]) -> dict[Model, int]:
    """Return the rank of each model: what others refer to comes first. In a circle of them any order is as good."""
    listed = sorted(tracked, key=lambda model: model._meta.label)
    graph: dict[Model, set[Model]] = {
        model: {target for target in targets(model) if target in tracked and target is not model}
        for model in listed
    }
    while True:
        try:
            return {model: rank for rank, model in enumerate(TopologicalSorter(graph).static_order())}
        except CycleError as error:
            circle = error.args[1]
            graph[circle[1]].discard(circle[0])


def targets(model: Model) -> set[Model]:
    """Return the models that the foreign keys of a model's own table refer to."""
    return {target for _, target in constrained_keys(model)}


def constrained_keys(model: Model) -> list[tuple[Any, Model]]:
    """Return the foreign keys of a model's own table that the database holds, and what they refer to."""
    return [
        (field, field.related_model)
        for field in model._meta.local_concrete_fields
        if isinstance(field, models.ForeignKey)
        and getattr(field, "db_constraint", True)
        and isinstance(field.related_model, type)
    ]
