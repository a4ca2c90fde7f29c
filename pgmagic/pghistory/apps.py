"""The Django app `pgmagic.pghistory`."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks
from django.db.models.signals import post_migrate

from pgmagic.pghistory.installing import after_migrate, check_context_function, check_triggers_are_installed


class PgHistoryConfig(AppConfig):
    """Adds the shared table of contexts to a project, and lets every connection carry the open context."""

    name = "pgmagic.pghistory"
    label = "pghistory"
    verbose_name = "History"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect what `migrate` does at its end, and the checks of how the app is installed."""
        post_migrate.connect(after_migrate, sender=self, dispatch_uid="pgmagic.after_migrate")
        checks.register(check_context_function, "pghistory")
        checks.register(check_triggers_are_installed, "pghistory")
