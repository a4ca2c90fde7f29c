"""Compatibility: the trigger that migrations of django-pghistory 2.0 to 2.2 declare; later ones hold its SQL."""

from __future__ import annotations

from django.db import models

from pgmagic.declare.conditions import Condition
from pgmagic.declare.event_trigger import EventTrigger, Side
from pgmagic.declare.model_types import EventModel
from pgmagic.declare.vocabulary import Level, Operation, Row, When
from pgmagic.errors import DeclarationError


class Event(EventTrigger):
    """Records one side of each changed row as an event.

    Trackers such as `pghistory.UpdateEvent` make such triggers by themselves: use these in new code.

    Args:
        name: the name of the trigger; the label, unless given.
        operation, condition, level: as of any trigger.
        label: the label of the events.
        event_model: where the events go.
        when: accepted and not used: events are recorded after the change.
        row, snapshot: `Old` or `New`, the side of the change; the second is the older name of the first.

    Raises:
        DeclarationError: if the label, the event model, the operation or the side is missing.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        operation: Operation | None = None,
        condition: Condition | models.Q | None = None,
        label: str | None = None,
        event_model: EventModel | None = None,
        when: When | None = None,
        row: Side | None = None,
        snapshot: Side | None = None,
        level: Level | None = None,
    ) -> None:
        side = row or snapshot
        if label is None or event_model is None or operation is None or side is None:
            raise DeclarationError(
                "pghistory.trigger.Event needs a label=, an event_model=, an operation= and a row=: in new code, "
                "name a tracker such as pghistory.UpdateEvent() in pghistory.track(), which makes the trigger."
            )
        super().__init__(
            event_model=event_model, label=label, row=side, name=name or label, operation=operation,
            condition=condition, level=level or Row,
        )  # fmt: skip
