"""The Django app `pgmagic.pgtrigger`."""

from __future__ import annotations

from types import ModuleType

from django.apps import AppConfig, apps
from django.conf import settings
from django.core import checks
from django.core.management.commands import makemigrations, migrate
from django.db import connections
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.models.signals import post_migrate

from pgmagic.aliases import add_aliases
from pgmagic.db.evolution.schema_editor import take_triggers_along
from pgmagic.db.installation import install_where_possible
from pgmagic.pgtrigger import features
from pgmagic.pgtrigger.autodetector import MigrationAutodetectorMixin
from pgmagic.pgtrigger.checks import check_choices, check_owners, check_settings


class PgTriggerConfig(AppConfig):
    """Makes `Meta.triggers` and the runtime functions work in a project, and puts triggers into its migrations."""

    name = "pgmagic.pgtrigger"
    label = "pgtrigger"
    verbose_name = "Postgres triggers"

    def __init__(self, app_name: str, app_module: ModuleType | None) -> None:
        super().__init__(app_name, app_module)
        # Before the project's models are imported. A notebook has names of its own, as long as pgmagic is loaded.
        if not (
            getattr(settings, "PGMAGIC_NOTEBOOK", False) or {"pgtrigger", "pghistory"} & {*settings.INSTALLED_APPS}
        ):
            add_aliases()

    def ready(self) -> None:
        """Let `makemigrations` and `migrate` detect triggers, also where another app replaced their autodetector."""
        detecting: dict[type, type[MigrationAutodetector]] = {}
        for command in (makemigrations.Command, migrate.Command):
            former = command.autodetector
            # Django wants the same class for both commands.
            command.autodetector = detecting.setdefault(former, _detecting_triggers(former))
        take_triggers_along()
        checks.register(check_owners, "pgtrigger")
        checks.register(check_choices, "pgtrigger")
        checks.register(check_settings, "pgtrigger")
        post_migrate.connect(_install, dispatch_uid="pgmagic.install_on_migrate")


def _detecting_triggers(autodetector: type[MigrationAutodetector]) -> type[MigrationAutodetector]:
    """Return the class that also detects triggers."""
    if issubclass(autodetector, MigrationAutodetectorMixin):
        return autodetector
    return type(autodetector.__name__, (MigrationAutodetectorMixin, autodetector), {})


def _install(sender: AppConfig, using: str, **_kwargs: object) -> None:
    """Install every registered trigger on a database that was just migrated, if the settings say so.

    Django sends the signal for each app that has models. This app has none, so the last app is waited for.
    """
    last = [config for config in apps.get_app_configs() if config.models_module][-1]
    if sender is last and features.install_on_migrate() and connections[using].vendor == "postgresql":
        install_where_possible(using)
