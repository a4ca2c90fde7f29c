"""What this app does at the end of `migrate`, and what `manage.py check` reports about how it is installed."""

from __future__ import annotations

from collections.abc import Mapping

from django.apps import apps
from django.conf import settings
from django.core.checks import Error as CheckError
from django.core.checks import Warning as CheckWarning
from django.db import connections

from pgmagic.db.context_function import install_context_function
from pgmagic.declare.event_fields import setting
from pgmagic.history.partitioning import create_partitions_ahead

_LABEL = "pghistory"
_SETTING = "PGHISTORY_INSTALL_CONTEXT_FUNC_ON_MIGRATE"


def after_migrate(using: str, **_kwargs: object) -> None:
    """Create the next months of event tables and, if the settings say so, the function that attaches contexts.

    The setting `PGHISTORY_INSTALL_CONTEXT_FUNC_ON_MIGRATE` says whether `migrate` installs the function, as upstream.
    The migrations of this app install it anyway; where a project or its tests run without these migrations, `migrate`
    installs it unless the setting is False.
    """
    if connections[using].vendor != "postgresql":
        return
    create_partitions_ahead(using)
    if installs_context_function():
        install_context_function(using)


def installs_context_function() -> bool:
    """Return whether `migrate` installs the function at its end."""
    return bool(setting(_SETTING, _runs_without_migrations()))


def check_context_function(**_kwargs: object) -> list[CheckWarning]:
    """Warn if nothing installs the function that event triggers need while a context is open."""
    if not _runs_without_migrations() or setting(_SETTING, True):
        return []
    return [
        CheckWarning(
            f"Nothing installs the function by which event triggers attach contexts: MIGRATION_MODULES leaves out the "
            f"migrations of {_LABEL}, and {_SETTING} is False.",
            hint=f"Set {_SETTING} to True, or remove it; otherwise changes fail while a context is open.",
            id="pghistory.W001",
        )
    ]


def check_triggers_are_installed(**_kwargs: object) -> list[CheckError]:
    """Report a project that lists this app without the one that puts triggers into migrations: it records no event."""
    if apps.is_installed("pgmagic.pgtrigger"):
        return []
    return [
        CheckError(
            "pgmagic.pghistory is in INSTALLED_APPS, but pgmagic.pgtrigger is not: no migration would install the "
            "triggers that record events.",
            hint='Add "pgmagic.pgtrigger" to INSTALLED_APPS, before "pgmagic.pghistory", then run makemigrations.',
            id="pghistory.E001",
        )
    ]


def _runs_without_migrations() -> bool:
    # Not `get`: a replacement of it in tests may have no more than these two methods.
    modules: Mapping[str, str | None] = settings.MIGRATION_MODULES
    return _LABEL in modules and modules[_LABEL] is None
