"""What `migrate` ends with, beside migrations: the months of partitioned tables, and the function of contexts."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import Warning as CheckWarning
from django.db import connections

from pgmagic.db.context_function import install_context_function
from pgmagic.declare.event_fields import setting
from pgmagic.history.partitioning import create_partitions_ahead

_LABEL = "pghistory"
_SETTING = "PGHISTORY_INSTALL_CONTEXT_FUNC_ON_MIGRATE"


def after_migrate(using: str, **_kwargs: Any) -> None:
    """Make the next months of event tables; and, if the settings say so, what triggers attach contexts by.

    `PGHISTORY_INSTALL_CONTEXT_FUNC_ON_MIGRATE`, as upstream: whether `migrate` installs the function. The migrations of
    this app do so anyway; unless it is False, it is also installed where a project, or its tests, go without them.
    """
    if connections[using].vendor != "postgresql":
        return
    create_partitions_ahead(using)
    if setting(_SETTING, _goes_without_migrations()):
        install_context_function(using)


def check_context_function(**_kwargs: object) -> list[CheckWarning]:
    """Warn where nothing installs the function without which no event is recorded in a context."""
    if not _goes_without_migrations() or setting(_SETTING, True):
        return []
    return [
        CheckWarning(
            f"Nothing installs the function that event triggers attach contexts by: MIGRATION_MODULES leaves out the "
            f"migrations of {_LABEL}, and {_SETTING} is False.",
            hint=f"Set {_SETTING} to True, or leave it out; else no change can be recorded while a context is open.",
            id="pghistory.W001",
        )
    ]


def _goes_without_migrations() -> bool:
    # Not `get`: what stands in for it in tests may have no more than these two.
    modules: Any = settings.MIGRATION_MODULES
    return _LABEL in modules and modules[_LABEL] is None
