"""What `manage.py check` reports about triggers and their settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.core.checks import Info
from django.core.checks import Warning as CheckWarning

from pgmagic.declare import registry
from pgmagic.declare.field_choices import outside_choices
from pgmagic.pgtrigger import features
from pgmagic.pgtrigger.project_state import home


def check_owners(**_kwargs: object) -> list[CheckWarning]:
    """Warn of triggers whose migrations would be written into an installed package, from where nobody deploys them."""
    return list(_warn_of_packages()) if features.migrations() else []


def _warn_of_packages() -> Iterator[CheckWarning]:
    for model, trigger in registry.registered():
        label = home(model, trigger)
        config = apps.app_configs.get(label)
        if config is None or label in settings.MIGRATION_MODULES:
            continue
        if {"site-packages", "dist-packages"} & {*Path(config.path).parts}:
            yield CheckWarning(
                f"The trigger {trigger.get_uri(model)} belongs to the installed package {model._meta.app_label}, "
                f"into which makemigrations would write its migration.",
                hint=f"Declare it on a proxy model in an app of yours: class My{model.__name__}({model.__name__}) with "
                f"proxy = True in its Meta; or name a module for that app's migrations in MIGRATION_MODULES.",
                obj=model,
                id="pgtrigger.W001",
            )


def check_choices(**_kwargs: object) -> list[CheckWarning]:
    """Warn of an FSM's states and a SoftDelete's value that are not among the choices of their field."""
    found = [(model, outside_choices(model, trigger)) for model, trigger in registry.registered()]
    hint = "Add it to the choices of the field, or correct it in the trigger."
    return [CheckWarning(sentence, hint=hint, obj=model, id="pgtrigger.W002") for model, sentence in found if sentence]


def check_settings(**_kwargs: object) -> list[Info]:
    """Say that the setting PGTRIGGER_SCHEMA makes no difference, if a project has it."""
    if getattr(settings, "PGTRIGGER_SCHEMA", None) is None:
        return []
    return [
        Info(
            "PGTRIGGER_SCHEMA has no effect. In django-pgtrigger it is the schema of the function by which triggers "
            "find out whether they are ignored; the triggers of pgmagic need no such function.",
            hint="Remove the setting. A trigger's function is in the schema that the connection's search_path names, "
            "as its table is.",
            id="pgtrigger.I001",
        )
    ]
