"""Event tables in partitions, from `makemigrations` to the next deployment."""

from __future__ import annotations

from typing import Any

import pytest

from tests.project_support import Project

pytestmark = pytest.mark.slow

PARTITIONED = """
@pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent(), append_only=True, partition_by="month")
class Item(models.Model):
    price = models.IntegerField(default=0)
"""
PLAIN = PARTITIONED.replace(', partition_by="month"', "")

MIGRATE = """
import importlib
from django.core.management import call_command
call_command("makemigrations", "shop")
importlib.invalidate_caches()
call_command("makemigrations", check=True, verbosity=0)
call_command("migrate", verbosity=0)
"""
USE = """
from shop.models import Item
Item.objects.create(price=Item.objects.count())
Item.objects.update(price=7)
print([event.price for event in Item.pgh_event_model.objects.order_by("pgh_id")])
try:
    Item.pgh_event_model.objects.all().delete()
except Exception as error:
    print(str(error).splitlines()[0])
"""
REJECTED = "pgtrigger: Cannot update or delete rows from shop_itemevent table"


def parts(connection: Any) -> list[str]:
    """Return the names of the partitions; empty for a plain table."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relid::regclass::text FROM pg_partition_tree('shop_itemevent') WHERE level = 1 ORDER BY 1"
        )
        return [name for (name,) in cursor.fetchall()]


def test_table_is_partitioned_then_not_then_partitioned_again(project: Project, connection: Any) -> None:
    project.models(PARTITIONED)
    said = project.python(MIGRATE + USE)
    assert said.splitlines()[-2:] == ["[0, 7]", REJECTED]
    assert "'pgh_partition_by': 'month'" in project.migration(1)
    assert "partitions" not in said
    made = parts(connection)
    assert len(made) == 5
    sql = project.run("sqlmigrate", "shop", "0001")
    assert 'PARTITION BY RANGE ("pgh_created_at")' in sql
    # A month that is missing comes with the next deployment; so does what lies in the default partition.
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {made[1]}")
    project.run("migrate", "-v0")
    assert parts(connection) == made

    project.models(PLAIN)
    said = project.python(MIGRATE + USE)
    assert "Take the events of itemevent out of partitions" in said
    assert said.splitlines()[-2:] == ["[0, 7, 1, 7]", REJECTED]
    assert parts(connection) == []
    assert "DO $body$" in project.run("sqlmigrate", "shop", "0002")

    project.models(PARTITIONED)
    with connection.cursor() as cursor:
        cursor.execute("CREATE VIEW looking AS SELECT price FROM shop_itemevent")
    project.run("makemigrations", "shop")
    said = project.run("migrate", "-v0", fails=True)
    assert (
        "InstallationError: The events in shop_itemevent cannot be in partitions, because of the view looking" in said
    )
    assert parts(connection) == []
    with connection.cursor() as cursor:
        cursor.execute("DROP VIEW looking")
    said = project.python(MIGRATE + USE)
    assert said.splitlines()[-2:] == ["[0, 7, 1, 7, 2, 7]", REJECTED]
    assert parts(connection) == made

    # Backwards, and away.
    project.models(PLAIN)
    project.run("migrate", "-v0", "shop", "0002")
    assert parts(connection) == []
    project.models(PARTITIONED)
    project.run("migrate", "-v0", "shop", "0001")
    assert parts(connection) == made
    assert project.python(USE).splitlines()[0] == "[0, 7, 1, 7, 2, 7, 3, 7]"
    project.run("migrate", "-v0", "shop", "zero")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relname LIKE 'shop%' AND relnamespace = current_schema()::regnamespace"
        )
        assert cursor.fetchall() == []


def test_renamed_model_keeps_its_partitions(project: Project, connection: Any) -> None:
    """Their names stay, and do not stand in the way of a new model that is called so."""
    project.models(PARTITIONED)
    project.python(MIGRATE + USE)
    project.models(PARTITIONED.replace("class Item", "class Article"))
    assert "Rename model Item to Article" in project.python(MIGRATE, answer="y\ny\n")
    project.models(PARTITIONED.replace("class Item", "class Article") + PARTITIONED)
    project.python(MIGRATE)
    said = project.python(
        """
        from pgmagic import pghistory
        from shop.models import Article, Item
        Article.objects.update(price=8)
        Item.objects.create()
        print(len(pghistory.create_partitions(Article, months=5)), len(pghistory.create_partitions(Item, months=5)))
        print(Article.pgh_event_model.objects.count(), Item.pgh_event_model.objects.count())
        """
    )
    assert said.splitlines() == ["2 2", "3 1"]


def test_tables_without_migrations_are_partitioned_too(project: Project, connection: Any) -> None:
    """As in tests that go without: `MIGRATION_MODULES = {"shop": None}`."""
    project.settings(MIGRATION_MODULES={"shop": None}, PGTRIGGER_SCHEMA_EDITOR=False)
    project.models(PARTITIONED)
    project.run("migrate", "-v0", "--run-syncdb")
    assert len(parts(connection)) == 5
