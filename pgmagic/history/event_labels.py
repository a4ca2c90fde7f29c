"""What the events of a label say about rows: which side of which changes they hold, and whether all are recorded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from django.db import models

from pgmagic.declare.conditions import Condition
from pgmagic.declare.event_trigger import New, Old, Side
from pgmagic.declare.model_types import EventModel
from pgmagic.declare.trackers import RowEvent, Tracker


class Meaning(NamedTuple):
    """The side of the row that the events of a label hold, and the operations that cause them."""

    is_old: bool
    kinds: frozenset[str]

    @property
    def is_delete(self) -> bool:
        """Whether the object is gone after each of them."""
        return self.is_old and self.kinds <= {"DELETE", "TRUNCATE"}

    @property
    def is_insert(self) -> bool:
        """Whether the object did not exist before any of them."""
        return self.kinds == {"INSERT"}


def meanings(event_model: EventModel) -> dict[str, Meaning]:
    """Return the meaning of each label that is recorded by triggers; events made by hand and baselines have none."""
    return {
        str(tracker.label): Meaning(tracker.row == Old, frozenset(kinds_of(tracker)))
        for tracker in changes_of(event_model)
    }


def changes_of(event_model: EventModel) -> list[RowEvent]:
    """Return the trackers whose events are changes of rows, not records made by hand."""
    return [tracker for tracker in event_model.pgh_trackers if isinstance(tracker, RowEvent)]


def kinds_of(tracker: RowEvent) -> set[str]:
    """Return the names of the operations that a tracker records."""
    return {single.name for single in tracker.operation or ()}


def records_every(event_model: EventModel, kind: str, row: Side | None = None) -> bool:
    """Return whether every change of a kind (`INSERT`, `UPDATE`, `DELETE`) becomes an event. row: with this side."""
    return any(
        kind in kinds_of(tracker)
        and row in (None, tracker.row)
        and not isinstance(tracker.condition, Condition | models.Q)
        for tracker in changes_of(event_model)
    )


def old_labels(event_model: EventModel) -> list[str]:
    """Return the labels whose events hold rows as they were before a change."""
    return _labels(tracker for tracker in event_model.pgh_trackers if tracker.side == Old)


def labels_by_hand(event_model: EventModel) -> list[str]:
    """Return the labels of events that no change causes."""
    return _labels(tracker for tracker in event_model.pgh_trackers if not isinstance(tracker, RowEvent))


def labels_apart(event_model: EventModel) -> list[str]:
    """Return the labels whose events are left out when rows of the past are put together.

    Events made by hand may hold what no row ever held, unless all events are made by hand. If an update is recorded
    from both sides, its NEW row suffices; the order of the two depends on the names of their triggers.
    """
    recorded = changes_of(event_model)
    if not recorded:
        return []
    apart = labels_by_hand(event_model)
    if records_every(event_model, "UPDATE", New):
        apart += _labels(tracker for tracker in recorded if tracker.row == Old and kinds_of(tracker) == {"UPDATE"})
    return apart


def end_labels(event_model: EventModel) -> list[str]:
    """Return the labels of events after which the object is gone."""
    return [label for label, meaning in meanings(event_model).items() if meaning.is_delete]


def old_update_labels(event_model: EventModel) -> list[str]:
    """Return the labels of events with an OLD row after which the object may still exist."""
    others = {*end_labels(event_model), *labels_apart(event_model)}
    return [label for label, meaning in meanings(event_model).items() if meaning.is_old and label not in others]


def new_update_labels(event_model: EventModel) -> list[str]:
    """Return the labels of events with a NEW row before which the object existed already."""
    return [
        label
        for label, meaning in meanings(event_model).items()
        if not meaning.is_old and "INSERT" not in meaning.kinds
    ]


def _labels(trackers: Iterable[Tracker]) -> list[str]:
    return [str(tracker.label) for tracker in trackers]
