"""The Django app `pgmagic.pgtrigger`."""

from django.apps import AppConfig


class PgTriggerConfig(AppConfig):
    """Makes `Meta.triggers` and the runtime functions work in a project."""

    name = "pgmagic.pgtrigger"
    label = "pgtrigger"
    verbose_name = "Postgres triggers"
