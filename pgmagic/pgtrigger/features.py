"""The settings of a project that its migrations read, each when it is needed; names and defaults are upstream's.

`PGTRIGGER_MODEL_META` is read where models are declared, `PGTRIGGER_PRUNE_ON_INSTALL` where triggers are installed, and
`PGTRIGGER_SCHEMA_EDITOR` where tables are altered. `PGTRIGGER_SCHEMA` has no effect, which `manage.py check` reports.
"""

from __future__ import annotations

from pgmagic.declare.event_fields import setting


def migrations() -> bool:
    """Return whether `makemigrations` writes triggers into migrations (`PGTRIGGER_MIGRATIONS`)."""
    return bool(setting("PGTRIGGER_MIGRATIONS", True))


def install_on_migrate() -> bool:
    """Return whether `migrate` installs every registered trigger at its end (`PGTRIGGER_INSTALL_ON_MIGRATE`)."""
    return bool(setting("PGTRIGGER_INSTALL_ON_MIGRATE", False))
