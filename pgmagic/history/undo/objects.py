"""What undoing a context looks at: objects, their events, and what these mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import models

from pgmagic.compile.event_values import object_fields
from pgmagic.declare.event_trigger import Old
from pgmagic.declare.trackers import tracked_fields
from pgmagic.history.states_sql import changes_of, kinds_of

EventModel = type[Any]
Key = tuple[Any, ...]


class Happened(NamedTuple):
    """An event, without its row."""

    pgh_id: int
    created_at: datetime
    label: str
    context_id: UUID | None


class Meaning(NamedTuple):
    """What a label's events are: the side of the row that they hold, and the operations that they stand for."""

    is_old: bool
    kinds: frozenset[str]

    @property
    def is_delete(self) -> bool:
        """Whether the object is gone behind them."""
        return self.is_old and self.kinds <= {"DELETE", "TRUNCATE"}

    @property
    def is_insert(self) -> bool:
        """Whether the object was not there before them."""
        return self.kinds == {"INSERT"}


@dataclass
class Touched:
    """One object: all its events, and those of the context among them.

    before: the event whose row the object had before the context, None where there was no row. untold: why no event
    tells that. last: the event whose row it had when the context was done, None for no row. is_new_key: whether no
    event tells that the key was there before. is_moved: whether its row came from another key, or went to one.
    """

    key: Key
    events: list[Happened]
    inside: list[Happened]
    before: int | None = None
    untold: str | None = None
    last: int | None = None
    is_last_told: bool = False
    is_new_key: bool = False
    is_moved: bool = False

    @property
    def since(self) -> int:
        """The event, by its `pgh_id`, from which on the context had to do with it."""
        return (self.inside or self.events[-1:])[0].pgh_id


@dataclass
class TouchedTable:
    """What a context touched of one tracked table, as one of its event tables tells.

    rows: the rows of the events that `Touched` names, by `pgh_id`. live: the rows of now, by key. names: the fields.
    is_partitioned: whether the tracked table is, so that an insert may be of a row that moved.
    """

    event_model: EventModel
    objects: list[Touched]
    missing: list[str]
    is_partitioned: bool = False
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    live: dict[Key, dict[str, Any]] = field(default_factory=dict)

    @property
    def model(self) -> type[models.Model]:
        """The tracked model."""
        return self.event_model.pgh_tracked_model  # type: ignore[no-any-return]


def meanings(event_model: EventModel) -> dict[str, Meaning]:
    """Return what the events of each label are; those made by hand and baselines are no changes, and have none."""
    return {
        str(tracker.label): Meaning(tracker.row == Old, frozenset(kinds_of(tracker)))
        for tracker in changes_of(event_model)
    }


def read_rows(table: TouchedTable, alias: str, ids: Iterable[int]) -> None:
    """Read the rows of events that are not known yet."""
    names = {event.attname: source.attname for event, source in tracked_fields(table.event_model)}
    for part in parts(sorted(set(ids) - set(table.rows))):
        for row in (
            models.QuerySet(table.event_model, using=alias).filter(pk__in=part).values("pgh_id", *names)
        ):
            table.rows[row["pgh_id"]] = {source: row[event] for event, source in names.items()}


def key_sources(event_model: EventModel) -> list[Any]:
    """Return the fields of the tracked model that tell its objects apart in events."""
    sources = {event.name: source for event, source in tracked_fields(event_model)}
    return [
        found.target_field if found.name == "pgh_obj" else sources[found.name]
        for found in object_fields(event_model)
    ]


def parts(values: Sequence[Any], size: int = 5_000) -> Iterable[Sequence[Any]]:
    """Iterate over values in parts that a statement can name."""
    return (values[start : start + size] for start in range(0, len(values), size))
