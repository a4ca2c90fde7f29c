"""The settings of a project, read when they are needed: `PGTRIGGER_…`, the names and defaults of django-pgtrigger."""

from __future__ import annotations

from typing import Any

from django.conf import settings


def model_meta() -> bool:
    """Whether `class Meta` of a model may name triggers (`PGTRIGGER_MODEL_META`)."""
    return bool(_setting("MODEL_META", True))


def migrations() -> bool:
    """Whether `makemigrations` writes triggers into migrations (`PGTRIGGER_MIGRATIONS`)."""
    return bool(_setting("MIGRATIONS", True))


def install_on_migrate() -> bool:
    """Whether `migrate` ends with installing every registered trigger (`PGTRIGGER_INSTALL_ON_MIGRATE`)."""
    return bool(_setting("INSTALL_ON_MIGRATE", False))


def prune_on_install() -> bool:
    """Whether installing all triggers drops those that are registered no more (`PGTRIGGER_PRUNE_ON_INSTALL`)."""
    return bool(_setting("PRUNE_ON_INSTALL", True))


def schema_editor() -> bool:
    """Whether migrations take triggers along where a table changes under them (`PGTRIGGER_SCHEMA_EDITOR`)."""
    return bool(_setting("SCHEMA_EDITOR", True))


def schema() -> str | None:
    """Return the schema of the function that triggers of django-pgtrigger share (`PGTRIGGER_SCHEMA`).

    pgmagic's triggers share none, so it makes no difference to them; settings that name it stay valid.
    """
    found = _setting("SCHEMA", "public")
    return None if found is None else str(found)


def _setting(name: str, default: Any) -> Any:
    return getattr(settings, f"PGTRIGGER_{name}", default)
