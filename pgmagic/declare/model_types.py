"""The types that every room speaks of: models, their fields, and event models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeGuard

from django.db import models

if TYPE_CHECKING:
    import datetime as dt
    from typing import ClassVar

    from pgmagic.declare.trackers import Tracker
    from pgmagic.declare.vocabulary import Level

    class EventRow(models.Model):
        """What every event model has; at run time, `pgmagic.pghistory.models.Event` is their base."""

        pgh_id: int
        pgh_created_at: dt.datetime
        pgh_label: str
        pgh_context: object
        pgh_tracked_model: ClassVar[type[models.Model]]
        pgh_trackers: ClassVar[tuple[Tracker, ...]]
        pgh_append_only: ClassVar[AppendOnly]
        pgh_level: ClassVar[Level | None]
        pgh_hash_chain: ClassVar[bool]
        pgh_partition_by: ClassVar[str | None]

        class Meta:  # noqa: D106 - Django's own
            abstract = True

        @classmethod
        def pghistory_setup(cls) -> None:
            """Set the event model up, once it is complete."""


Model: TypeAlias = type[models.Model]
"""A model class."""

AppendOnly: TypeAlias = bool | Literal["truncate"]
"""Whether events cannot be updated or deleted; "truncate": nor truncated."""

EventModel: TypeAlias = "type[EventRow]"
"""The class of an event model."""

AnyField: TypeAlias = "models.Field[Any, Any]"
"""A field of a model, whatever its values are."""


def is_event_model(model: object) -> TypeGuard[EventModel]:
    """Return whether a model is an event model."""
    return hasattr(model, "pgh_tracked_model")
