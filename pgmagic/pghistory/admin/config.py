"""The settings of the admin: `PGHISTORY_ADMIN_…`, the names and defaults of django-pghistory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.db import models

from pgmagic.declare.event_fields import imported, setting

_LIST_DISPLAY = ("pgh_created_at", "pgh_obj_model", "pgh_obj_id", "pgh_diff")
# Events that one transaction wrote have one time.
_ORDERING = ("-pgh_created_at", "-pgh_id")


def model() -> Any:
    """Return the model whose page shows all events, given by its label (`PGHISTORY_ADMIN_MODEL`)."""
    return apps.get_model(setting("PGHISTORY_ADMIN_MODEL", "pghistory.Events"))


def admin_class() -> Any:
    """Return the class of that page, given as a class or as a dotted path (`PGHISTORY_ADMIN_CLASS`)."""
    return imported(setting("PGHISTORY_ADMIN_CLASS", "pgmagic.pghistory.admin.EventsAdmin"))


def queryset() -> models.QuerySet[Any]:
    """Return the events that the page is about (`PGHISTORY_ADMIN_QUERYSET`)."""
    found: Any = setting("PGHISTORY_ADMIN_QUERYSET", None)
    events: models.QuerySet[Any] = model().objects.all() if found is None else found.all()
    return events


def ordering() -> Sequence[str]:
    """Return the order of the page, one field or several (`PGHISTORY_ADMIN_ORDERING`)."""
    found = setting("PGHISTORY_ADMIN_ORDERING", _ORDERING)
    return (found,) if isinstance(found, str) else tuple(found or ())


def list_display() -> Sequence[str]:
    """Return the columns of the page (`PGHISTORY_ADMIN_LIST_DISPLAY`)."""
    return tuple(setting("PGHISTORY_ADMIN_LIST_DISPLAY", _LIST_DISPLAY))


def shows_all_events() -> bool:
    """Whether the page shows events before anything was filtered for (`PGHISTORY_ADMIN_ALL_EVENTS`)."""
    return bool(setting("PGHISTORY_ADMIN_ALL_EVENTS", True))
