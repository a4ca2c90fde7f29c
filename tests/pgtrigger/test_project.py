"""A production project, from its first model to its last migration."""

from __future__ import annotations

from typing import Any

import pytest

from tests.project_support import Project

pytestmark = pytest.mark.slow

FIRST = """
@pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent())
class Item(models.Model):
    name = models.CharField(max_length=20)
    price = models.IntegerField(default=0)

    class Meta:
        triggers = [
            pgtrigger.Protect(name="no_delete", operation=pgtrigger.Delete),
            pgtrigger.ReadOnly(name="ro", fields=["name"]),
        ]
"""
RENAMED = FIRST.replace("class Item", "class Article")
RETYPED = RENAMED.replace("IntegerField", "BigIntegerField").replace("max_length=20", "max_length=40")
CHANGED = RETYPED.replace('fields=["name"]', 'fields=["name", "price"]').replace(
    'name="no_delete"', 'name="stay"'
)
REMOVED = """
class Article(models.Model):
    name = models.CharField(max_length=40)
    price = models.BigIntegerField(default=0)
"""

MIGRATE = """
import importlib
from django.core.management import call_command
call_command("makemigrations", "shop")
importlib.invalidate_caches()
call_command("makemigrations", check=True, verbosity=0)
call_command("migrate", verbosity=0)
"""
USE = """
from django.apps import apps
from django.db import InternalError
from pgmagic import pghistory
Model = apps.get_model("shop", {name!r})
with pghistory.context(user=7):
    item = Model.objects.create(name="a")
key = item.pk
Model.objects.filter(pk=key).update(price={price})
def refused(what):
    try:
        what()
    except InternalError as error:
        return str(error).splitlines()[0]
    return "passed"
print(refused(item.delete))
print(refused(lambda: Model.objects.filter(pk=key).update(name="b")))
events = Model.pgh_event_model.objects.filter(pgh_obj=key).order_by("pgh_id")
print([(e.pgh_label, e.price, e.pgh_context and e.pgh_context.metadata) for e in events])
"""


def judged(table: str, price: int) -> list[str]:
    """What `USE` prints where the triggers of `Item`, whatever it is called, do their work."""
    return [
        f"pgtrigger: Cannot delete rows from {table} table",
        f"pgtrigger: Cannot update rows from {table} table",
        f"[('insert', 0, {{'user': 7}}), ('update', {price}, None)]",
    ]


def test_a_project_lives(project: Project, connection: Any) -> None:
    project.models(FIRST)
    said = project.python(MIGRATE + USE.format(name="Item", price=3))
    assert "Create trigger no_delete on model item" in said
    assert said.splitlines()[-3:] == judged("shop_item", 3)

    project.models(RENAMED)
    said = project.python(MIGRATE + USE.format(name="Article", price=4), answer="y\ny\n")
    assert "Rename model Item to Article" in said
    assert said.splitlines()[-3:] == judged("shop_article", 4)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = 'shop_article'::regclass AND NOT tgisinternal"
        )
        names = [name for (name,) in cursor.fetchall()]
        assert len(names) == 5
        [protection] = [name for name in names if "_ro_" in name]
        cursor.execute(f'ALTER TABLE shop_article DISABLE TRIGGER "{protection}"')

    project.models(RETYPED)
    said = project.python(MIGRATE + USE.format(name="Article", price=8))
    assert "Create trigger" not in said
    assert "Remove trigger" not in said
    assert said.splitlines()[-3:-1] == [judged("shop_article", 0)[0], "passed"]

    project.models(CHANGED)
    said = project.python(MIGRATE)
    assert {"Remove trigger no_delete from model article", "Create trigger ro on model article"} <= {
        line.strip(" ?+-") for line in said.splitlines()
    }

    project.models(REMOVED)
    assert "Delete model ArticleEvent" in project.python(MIGRATE)

    # Back, step by step: each leaves what the step before had.
    project.models(RENAMED)
    project.run("migrate", "-v0", "shop", "0002")
    assert project.python(USE.format(name="Article", price=5)).splitlines() == judged("shop_article", 5)
    project.models(FIRST)
    project.run("migrate", "-v0", "shop", "0001")
    assert project.python(USE.format(name="Item", price=6)).splitlines() == judged("shop_item", 6)
    project.python(
        """
        from django.core.management import call_command
        call_command("migrate", "shop", "zero", verbosity=0)
        call_command("migrate", "pghistory", "zero", verbosity=0)
        """
    )
    assert leftovers(connection) == []


def leftovers(connection: Any) -> list[str]:
    """The functions, and the app's tables, that are in the test's schema."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = current_schema()::regnamespace UNION ALL "
            "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname LIKE 'shop%'"
        )
        return [name for (name,) in cursor.fetchall()]
