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
    own = not settings.configured and not os.environ.get(_PROJECT_VARIABLE)
    if own:
        settings.configure(
            DATABASES={"default": {"ENGINE": "pgmagic.db.backend", "NAME": "pgmagic"}},
            DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
            INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", *_APPS],
            PGMAGIC_NOTEBOOK=True,
            # In a kernel that was restarted, what is not registered has mostly not been run again yet.
            PGTRIGGER_PRUNE_ON_INSTALL=False,
            SECRET_KEY=os.urandom(32).hex(),
            TIME_ZONE="UTC",
            USE_TZ=True,
        )
    if not apps.ready:
        django.setup()
    # A project that does not list the apps gets them for this process only.
    for name in _APPS:
        config = AppConfig.create(name)
        # The project may have the upstream package of that label, which then stays in charge.
        if apps.is_installed(name) or config.label in apps.app_configs:
            continue
        config.apps = apps
        apps.app_configs[config.label] = config
        # In this order: the registry's caches are built from the models of every app.
        config.import_models()
        apps.clear_cache()
        config.ready()
    return bool(getattr(settings, "PGMAGIC_NOTEBOOK", False))
