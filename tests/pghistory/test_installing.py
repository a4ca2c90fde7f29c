"""What `migrate` installs for contexts, with and without migrations of the app."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings

from pgmagic.pghistory.installing import check_context_function
from tests.project_support import Project, project  # noqa: F401

MODELS = """
@pghistory.track()
class Item(models.Model):
    price = models.IntegerField(default=0)
"""
USE = """
from django.core.management import call_command
from django.db import connection
from pgmagic import pghistory
from shop.models import Item
call_command("migrate", run_syncdb=True, verbosity=0)
with connection.cursor() as cursor:
    cursor.execute("SELECT to_regproc('pgmagic_attach_context') IS NOT NULL")
    print(cursor.fetchone()[0])
try:
    with pghistory.context(user=7):
        Item.objects.create()
    print(Item.pgh_event_model.objects.get().pgh_context.metadata)
except Exception as error:
    print(str(error).splitlines()[0])
"""
SETTING = "PGHISTORY_INSTALL_CONTEXT_FUNC_ON_MIGRATE"
RECORDED = ["True", "{'user': 7}"]
WITHOUT = {"MIGRATION_MODULES": {"pghistory": None, "shop": None}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({SETTING: True}, RECORDED),
        ({SETTING: False}, RECORDED),
        (WITHOUT, RECORDED),
        ({**WITHOUT, SETTING: True}, RECORDED),
        ({**WITHOUT, SETTING: False}, ["False", "function pgmagic_attach_context() does not exist"]),
    ],
    ids=["on", "off", "no migrations", "no migrations, on", "no migrations, off"],
)
def test_setting_says_whether_to_install(project: Project, settings: Any, said: list[str]) -> None:  # noqa: F811
    project.settings(**settings)
    project.models(MODELS)
    if "MIGRATION_MODULES" not in settings:
        project.run("makemigrations", "shop")
    lines = project.python(USE).splitlines()
    assert [line for line in lines if "WARNINGS" not in line][-2:] == said


@pytest.mark.slow
def test_reversed_migrations_leave_no_function(project: Project, connection: Any) -> None:  # noqa: F811
    """`migrate pghistory zero` drops the function again."""
    project.settings(**{SETTING: True})
    project.run("migrate", "-v0", "pghistory")
    project.run("migrate", "-v0", "pghistory", "zero")
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regproc('pgmagic_attach_context')")
        assert cursor.fetchone() == (None,)


class Nothing:
    """As pytest-django has it for `--nomigrations`."""

    def __contains__(self, label: str) -> bool:
        return True

    def __getitem__(self, label: str) -> None:
        return None


@pytest.mark.parametrize(
    ("settings", "ids"),
    [
        ({}, []),
        ({SETTING: False}, []),
        ({"MIGRATION_MODULES": Nothing()}, []),
        ({"MIGRATION_MODULES": Nothing(), SETTING: False}, ["pghistory.W001"]),
    ],
)
def test_check_warns_if_nothing_installs_the_function(settings: Any, ids: list[str]) -> None:
    with override_settings(**settings):
        assert [warning.id for warning in check_context_function()] == ids


def test_app_of_history_without_the_app_of_triggers_is_an_error(project: Project) -> None:  # noqa: F811
    project.settings(INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "pgmagic.pghistory", "shop"])
    project.models(MODELS)
    said = project.run("check", fails=True)
    assert "(pghistory.E001) pgmagic.pghistory is in INSTALLED_APPS, but pgmagic.pgtrigger is not" in said
    assert 'HINT: Add "pgmagic.pgtrigger" to INSTALLED_APPS' in said
    assert "pghistory.E001" in project.run("makemigrations", "shop", fails=True)
