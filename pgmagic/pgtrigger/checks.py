"""What `manage.py check` says about triggers and their settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import Info
from django.core.checks import Warning as CheckWarning

from pgmagic.declare import registry
from pgmagic.pgtrigger import features


def check_owners(**_kwargs: object) -> list[CheckWarning]:
    """Warn of triggers whose migrations would be written into an installed package, from where nobody deploys them."""
    if not features.migrations():
        return []
    return [
        CheckWarning(
            f"The trigger {trigger.get_uri(model)} belongs to the installed package {model._meta.app_label}, "
            f"into which makemigrations would write its migration.",
            hint=f"Declare it on a proxy model in an app of yours: class My{model.__name__}({model.__name__}) with "
            f"proxy = True in its Meta; or name a module for that app's migrations in MIGRATION_MODULES.",
            obj=model,
            id="pgtrigger.W001",
        )
        for model, trigger in registry.registered()
        if _is_in_a_package(_owner(model, trigger))
    ]


def check_settings(**_kwargs: object) -> list[Info]:
    """Say of a setting that it makes no difference."""
    if getattr(settings, "PGTRIGGER_SCHEMA", None) is None:
        return []
    return [
        Info(
            "PGTRIGGER_SCHEMA has no effect: it places the function that the triggers of django-pgtrigger share to "
            "find out whether they are ignored, and pgmagic's ask for themselves, under any search_path.",
            hint="Remove the setting; a function's schema is that of the connection's search_path, as its table's.",
            id="pgtrigger.I001",
        )
    ]


def _owner(model: Any, trigger: Any) -> str:
    event_model = getattr(trigger, "event_model", None)
    return str((event_model or model)._meta.app_label)


def _is_in_a_package(app_label: str) -> bool:
    config = apps.app_configs.get(app_label)
    if config is None or app_label in settings.MIGRATION_MODULES:
        return False
    return bool({"site-packages", "dist-packages"} & {*Path(config.path).parts})
