"""The models of history: contexts, the base of event models, and `Events`, all event tables as one."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Self, cast

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from pgmagic.declare import event_setup
from pgmagic.declare.model_types import AppendOnly, EventModel, Model
from pgmagic.declare.proxy_fields import ProxyField
from pgmagic.declare.trackers import Tracker
from pgmagic.declare.vocabulary import Level
from pgmagic.history import recording
from pgmagic.pghistory.event_queries import EventQuerySet, EventsQuerySet, LateJSONField, NoEventsManager
from pgmagic.pghistory.utils import JSONField

if TYPE_CHECKING:
    from pgmagic.declare.model_types import EventRow


class Context(models.Model):
    """What the events of one `with pghistory.context(...)` block share: who, why, from where.

    Triggers write the row when the first event needs it; a block without events leaves no row.

    Attributes:
        id: the primary key (UUID).
        created_at, updated_at: when the row was written, and last changed (in UTC).
        metadata: the keywords of the block (dict).

    Example:
        >>> from pgmagic.pghistory.models import Context
        >>> with pghistory.context(reason="typo"):
        ...     Post.objects.update(title="Hi")
        1
        >>> Context.objects.get().metadata
        {'reason': 'typo'}
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    metadata = models.JSONField(default=dict, encoder=DjangoJSONEncoder)

    def __str__(self) -> str:
        return str(self.id)


class _CanRevert:
    """Whether events can be reverted; the attribute of an event and of its model."""

    def __get__(self, instance: Event | None, owner: EventModel) -> bool:
        return recording.can_revert(owner)


class Event(models.Model):
    """The base of event models such as `PostEvent`; the order of an object's events is that of `pgh_id`.

    Attributes:
        pgh_id: the primary key (int).
        pgh_created_at: when the transaction of the change began (in UTC).
        pgh_label: the label of the tracker, such as "insert".
        pgh_obj, pgh_context: the object and the open context, unless the event model is declared without them.
        pgh_tracked_model: the model whose events these are.
        can_revert: whether the events hold every field, so that `revert` works.

    Example:
        >>> event = post.events.get()
        >>> event.pgh_label, event.title
        ('insert', 'Hello')
    """

    pgh_id = models.BigAutoField(primary_key=True)
    pgh_created_at = models.DateTimeField(auto_now_add=True)
    pgh_label = models.TextField(help_text="The event label.")

    # Set by `create_event_model`.
    pgh_tracked_model: ClassVar[Model]
    pgh_trackers: ClassVar[tuple[Tracker, ...]]
    pgh_append_only: ClassVar[AppendOnly]
    pgh_level: ClassVar[Level | None]
    pgh_hash_chain: ClassVar[bool] = False
    pgh_partition_by: ClassVar[str | None] = None
    can_revert: ClassVar[_CanRevert] = _CanRevert()

    objects = EventQuerySet.as_manager()

    class Meta:  # noqa: D106 - Django's own
        abstract = True

    def revert(self, using: str | None = None) -> models.Model:
        """Write the recorded values into the object's row, and return the object; a deleted row is inserted again.

        Every column gets the recorded value, also those that set themselves on a save. With multi-table inheritance
        only the model's own table is written; the events of the parent revert the parent's table. It is one
        transaction, and triggers fire as for any change.

        Args:
            using: the alias of the database to write to; by default the one that the event was read from.

        Returns:
            The object, read from the database.

        Raises:
            HistoryError: if the event does not hold every field, or a row that it refers to no longer exists.

        Example:
            >>> changed = Post.objects.update(title="Bye")
            >>> post.events.earliest("pgh_id").revert().title
            'Hello'
        """
        return recording.revert(cast("EventRow", self), using)

    @classmethod
    def pghistory_setup(cls) -> None:
        """Register the triggers of a finished event model; pgmagic calls it, and a base model may extend it."""
        event_setup.set_up(cast("EventModel", cls))


class Events(models.Model):
    """Every event of every event model, read only; `objects` is the manager, with the methods of `EventsQuerySet`.

    Order the events of one model by `-pgh_id` to get the newest first: that is the order of the changes, and it reads
    an index. `-pgh_created_at` orders by the starts of transactions; a slice of it is fast without filters, and with
    filters all events that are left are sorted.

    Attributes:
        pgh_slug: `app.PostEvent:1`, the primary key.
        pgh_model, pgh_obj_model: the labels of the event model and of the tracked model.
        pgh_id, pgh_created_at, pgh_label: as on the event; the time is that of the transaction's start (in UTC).
        pgh_data: the tracked fields (dict).
        pgh_diff: `{field: [before, after]}` against the previous event of the same object, event model and side of the
            row; None on the first event, and where nothing changed.
        pgh_context_id, pgh_context: the id and the metadata of the context; None without a context.
        pgh_obj_id: the primary key of the object, as text.

    Example:
        >>> from pgmagic.pghistory.models import Events
        >>> changed = Post.objects.update(likes=1)
        >>> Events.objects.tracks(post).latest("pgh_id").pgh_diff
        {'likes': [0, 1]}
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

    def refresh_from_db(
        self,
        using: str | None = None,
        fields: Iterable[str] | None = None,
        from_queryset: models.QuerySet[Self] | None = None,
    ) -> None:
        """Read the event again, or its deferred fields."""
        events = from_queryset if from_queryset is not None else cast("models.QuerySet[Self]", type(self).objects.all())
        super().refresh_from_db(using=using, fields=fields, from_queryset=events)


class MiddlewareEvents(Events):
    """`Events` with two more fields out of the context, as `HistoryMiddleware` writes them.

    Attributes:
        user: the user, as a foreign key; None where the context has no user.
        url: the path of the request; None where the context has no url.

    Example:
        >>> from pgmagic.pghistory.models import MiddlewareEvents
        >>> with pghistory.context(user=1, url="/posts/"):
        ...     Post.objects.update(likes=1)
        1
        >>> MiddlewareEvents.objects.filter(url="/posts/").values_list("user", "pgh_label").get()
        (1, 'update')
    """

    user = ProxyField(
        "pgh_context__user", models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.DO_NOTHING, null=True)
    )
    url = ProxyField("pgh_context__url", models.TextField(null=True))

    class Meta:  # noqa: D106 - Django's own
        proxy = True


# The names in older tutorials, and in migrations of that time.
AggregateEvent = Events
PGHistoryJSONField = JSONField
