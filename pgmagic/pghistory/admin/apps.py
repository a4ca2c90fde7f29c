"""The Django app `pgmagic.pghistory.admin`."""

from __future__ import annotations

from django.apps import AppConfig


class PgHistoryAdminConfig(AppConfig):
    """Adds the events of all models to the admin, and links to them."""

    name = "pgmagic.pghistory.admin"
    label = "pghistory_admin"
    verbose_name = "History in the admin"
