"""Django, configured for a kernel unless a project has done so."""

from __future__ import annotations

import os

import django
from django.apps import AppConfig, apps
from django.conf import settings

_APPS = ["pgmagic.pgtrigger", "pgmagic.pghistory"]
_PROJECT_VARIABLE = "DJANGO_SETTINGS_MODULE"


def configure_django() -> bool:
    """Make Django ready; return whether the settings are pgmagic's own, not those of a project."""
    # What `configure` left is a holder of options; a project's settings name their module.
    own = not settings.configured and not os.environ.get(_PROJECT_VARIABLE)
    if own:
        settings.configure(
            DATABASES={"default": {"ENGINE": "pgmagic.db.backend", "NAME": "pgmagic"}},
            DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
            INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", *_APPS],
            PGMAGIC_NOTEBOOK=True,
            # In a kernel that was restarted, what is not registered is mostly what was not run again yet.
            PGTRIGGER_PRUNE_ON_INSTALL=False,
            SECRET_KEY=os.urandom(32).hex(),
            TIME_ZONE="UTC",
            USE_TZ=True,
        )
    if not apps.ready:
        django.setup()
    for name in _APPS:
        _add_app(name)
    return bool(getattr(settings, "PGMAGIC_NOTEBOOK", False))


def _add_app(name: str) -> None:
    """Add an app of ours to a project that does not list it, for this process only."""
    if apps.is_installed(name):
        return
    config = AppConfig.create(name)
    if config.label in apps.app_configs:
        # The project has the upstream package of that label: it stays in charge.
        return
    config.apps = apps
    apps.app_configs[config.label] = config
    # In this order: the registry's caches are built from the models of every app.
    config.import_models()
    apps.clear_cache()
    config.ready()
