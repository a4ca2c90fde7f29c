"""The settings of the admin: `PGHISTORY_ADMIN_…`, the names and defaults of django-pghistory."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from django.apps import apps
from django.db import models

from pgmagic.declare.event_fields import imported, setting

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

    from pgmagic.pghistory.models import Events

_LIST_DISPLAY = ("pgh_created_at", "pgh_obj_model", "pgh_obj_id", "pgh_diff")
# Events of one transaction have the same time.
_ORDERING = ("-pgh_created_at", "-pgh_id")


def model() -> type[Events]:
    """Return the model whose page shows all events, given by its label (`PGHISTORY_ADMIN_MODEL`)."""
    return cast("type[Events]", apps.get_model(setting("PGHISTORY_ADMIN_MODEL", "pghistory.Events")))


def admin_class() -> type[ModelAdmin[Events]]:
    """Return the class of that page, given as a class or as a dotted path (`PGHISTORY_ADMIN_CLASS`)."""
    found: type[ModelAdmin[Events]] = imported(setting("PGHISTORY_ADMIN_CLASS", "pgmagic.pghistory.admin.EventsAdmin"))
    return found


def queryset() -> models.QuerySet[Events]:
    """Return the events that the page shows (`PGHISTORY_ADMIN_QUERYSET`)."""
    found: models.QuerySet[Events] | None = setting("PGHISTORY_ADMIN_QUERYSET", None)
    return model().objects.all() if found is None else found.all()


def ordering() -> tuple[str, ...]:
    """Return the order of the page, one field or several (`PGHISTORY_ADMIN_ORDERING`)."""
    found = setting("PGHISTORY_ADMIN_ORDERING", _ORDERING)
    return (found,) if isinstance(found, str) else tuple(found or ())


def list_display() -> tuple[str, ...]:
    """Return the columns of the page (`PGHISTORY_ADMIN_LIST_DISPLAY`)."""
    return tuple(setting("PGHISTORY_ADMIN_LIST_DISPLAY", _LIST_DISPLAY))


def shows_all_events() -> bool:
    """Return whether the page shows events before a filter is chosen (`PGHISTORY_ADMIN_ALL_EVENTS`)."""
    return bool(setting("PGHISTORY_ADMIN_ALL_EVENTS", True))
