"""The Django app `pgmagic.pghistory`."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate

from pgmagic.db.partitions import create_partitions_ahead


class PgHistoryConfig(AppConfig):
    """Adds the shared table of contexts to a project, and lets every connection carry the open context."""

    name = "pgmagic.pghistory"
    label = "pghistory"
    verbose_name = "History"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Let `migrate` make the next months of event tables in partitions."""
        post_migrate.connect(_create_partitions, sender=self, dispatch_uid="pgmagic.create_partitions")


def _create_partitions(using: str, **_kwargs: Any) -> None:
    if connections[using].vendor == "postgresql":
        create_partitions_ahead(using)
