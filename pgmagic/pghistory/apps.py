"""The Django app `pgmagic.pghistory`."""

from __future__ import annotations

from django.apps import AppConfig


class PgHistoryConfig(AppConfig):
    """Adds the shared table of contexts to a project, and lets every connection carry the open context."""

    name = "pgmagic.pghistory"
    label = "pghistory"
    verbose_name = "History"
    default_auto_field = "django.db.models.BigAutoField"
