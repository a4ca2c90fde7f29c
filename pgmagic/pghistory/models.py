"""The models of history: contexts, the base of event models, and `Events`, one surface over all event tables."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from pgmagic.declare import event_setup
from pgmagic.declare.proxy_fields import ProxyField
from pgmagic.declare.trackers import Tracker
from pgmagic.declare.vocabulary import Level
from pgmagic.history import recording
from pgmagic.pghistory.event_queries import EventsQuerySet, LateJSONField, NoEventsManager

Model = type[models.Model]


class Context(models.Model):
    """What events have in common: who, why, from where. Written by triggers, when the first event needs it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    metadata = models.JSONField(default=dict, encoder=DjangoJSONEncoder)

    def __str__(self) -> str:
        return str(self.id)


class _CanRevert:
    """Whether events can be reverted, asked of an event or of its model."""

    def __get__(self, instance: Any, owner: Any) -> bool:
        return recording.can_revert(owner)


class Event(models.Model):
    """The base of event models. The events of one object happened in the order of `pgh_id`."""

    pgh_id = models.BigAutoField(primary_key=True)
    pgh_created_at = models.DateTimeField(auto_now_add=True)
    pgh_label = models.TextField(help_text="The event label.")

    # Supplied by `create_event_model`.
    pgh_tracked_model: ClassVar[Model]
    pgh_trackers: ClassVar[tuple[Tracker, ...]]
    pgh_append_only: ClassVar[bool]
    pgh_level: ClassVar[Level | None]
    pgh_hash_chain: ClassVar[bool] = False
    pgh_partition_by: ClassVar[str | None] = None
    can_revert: ClassVar[_CanRevert] = _CanRevert()

    class Meta:  # noqa: D106 - Django's own
        abstract = True

    def revert(self, using: str | None = None) -> models.Model:
        """Make the object's row what it was in this event, also if it is gone by now, and return the object.

        Every column gets the recorded value, also those that set themselves on a save. Of a model that inherits from
        another by multi-table inheritance it is the row of its own table; the parent's is for the parent's events to
        put back. In one transaction; triggers fire as for any change. using: the event's own database unless given.

        Raises:
            HistoryError: the event does not track every field, or what it refers to does not exist any more.
        """
        return recording.revert(self, using)

    @classmethod
    def pghistory_setup(cls) -> None:
        """Register the triggers of a finished event model."""
        event_setup.set_up(cls)


class Events(models.Model):
    """Every event of every event model. Read only; `objects` is the manager.

    Of one event model the newest come first by `order_by("-pgh_id")`, which is the order of its changes and reads an
    index; `-pgh_created_at` goes by the beginnings of transactions. A slice of that order is quick where nothing else
    is asked; with filters, all events that these leave are sorted.

    pgh_slug: `app.PostEvent:1`. pgh_model, pgh_obj_model: labels of the event model and the tracked one. pgh_data: the
    tracked fields. pgh_diff: `{field: [before, after]}` against the event before of the same object, event model and
    side of the row, None on the first and where nothing differs. pgh_obj_id: the primary key as text.
    """

    pgh_slug = models.TextField(primary_key=True)
    pgh_model = models.CharField(max_length=64)
    pgh_id = models.BigIntegerField()
    pgh_created_at = models.DateTimeField(auto_now_add=True)
    pgh_label = models.TextField()
    pgh_data = LateJSONField(encoder=DjangoJSONEncoder)
    pgh_diff = LateJSONField(encoder=DjangoJSONEncoder)
    pgh_context_id = models.UUIDField(null=True)
    pgh_context = LateJSONField(null=True, encoder=DjangoJSONEncoder)
    pgh_obj_model = models.CharField(max_length=64)
    pgh_obj_id = models.TextField(null=True)

    no_objects = NoEventsManager()
    objects = EventsQuerySet.as_manager()

    class Meta:  # noqa: D106 - Django's own
        managed = False

    def __str__(self) -> str:
        return f"{self.pgh_slug} {self.pgh_label}"

    def refresh_from_db(self, using: Any = None, fields: Any = None, from_queryset: Any = None) -> None:
        """Read the event again, or what of it was deferred."""
        events = type(self).objects.all() if from_queryset is None else from_queryset
        super().refresh_from_db(using=using, fields=fields, from_queryset=events)


class MiddlewareEvents(Events):
    """Events with what `HistoryMiddleware` attaches: the user and the URL; None where the context has none."""

    user = ProxyField(
        "pgh_context__user",
        models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.DO_NOTHING, null=True),
    )
    url = ProxyField("pgh_context__url", models.TextField(null=True))

    class Meta:  # noqa: D106 - Django's own
        proxy = True


# The name in older tutorials.
AggregateEvent = Events
