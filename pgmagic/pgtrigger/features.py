"""The settings of a project that its migrations ask for, read when they are needed; names and defaults are upstream's.

`PGTRIGGER_MODEL_META` is read where models are declared, `PGTRIGGER_PRUNE_ON_INSTALL` where triggers are installed, and
`PGTRIGGER_SCHEMA_EDITOR` where tables are altered. `PGTRIGGER_SCHEMA` says where the function goes that upstream's
triggers share; pgmagic's share none, so it may stay and makes no difference, which `manage.py check` says.
"""

from __future__ import annotations

from pgmagic.declare.event_fields import setting


def migrations() -> bool:
    """Whether `makemigrations` writes triggers into migrations (`PGTRIGGER_MIGRATIONS`)."""
    return bool(setting("PGTRIGGER_MIGRATIONS", True))


def install_on_migrate() -> bool:
    """Whether `migrate` ends with installing every registered trigger (`PGTRIGGER_INSTALL_ON_MIGRATE`)."""
    return bool(setting("PGTRIGGER_INSTALL_ON_MIGRATE", False))
