"""Fields of a tracked model that migrations rename, drop and add, with all that a history can have."""

from __future__ import annotations

import pytest

from tests.project_support import Project, project  # noqa: F401

pytestmark = pytest.mark.slow

FIRST = """
class Author(models.Model):
    name = models.TextField()

@pghistory.track(
    pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent(), hash_chain=True, append_only=True
)
class Item(models.Model):
    price = models.IntegerField(default=0)
    cost = models.IntegerField(default=0)
    note = models.TextField(default="")
    authors = models.ManyToManyField(Author)
    twice = models.GeneratedField(expression=models.F("price") * 2, output_field=models.IntegerField(), db_persist=True)

pghistory.track()(Item.authors.through)
"""
RENAMED = FIRST.replace("cost = ", "charge = ").replace(
    '    note = models.TextField(default="")\n',
    '    note = models.TextField(default="")\n    more = models.TextField(default="m")\n',
)
DROPPED = RENAMED.replace("    charge = models.IntegerField(default=0)\n", "")
MIGRATE = """
import importlib
from django.core.management import call_command
call_command("makemigrations", "shop", verbosity=0)
importlib.invalidate_caches()
call_command("makemigrations", check=True, verbosity=0)
call_command("migrate", verbosity=0)
"""
USE = """
import pgmagic
from shop.models import Author, Item
item = Item.objects.create(price=3)
item.authors.add(Author.objects.create(name="a"))
Item.objects.filter(pk=item.pk).update(price=4)
print(list(Item.pgh_event_model.objects.order_by("pgh_id").values_list("pgh_label", "twice", {field!r})[:2]))
print(Item.authors.through.pgh_event_model.objects.count(), list(pgmagic.verify(Item)["problem"]))
"""
SEALED = "the hash covers fields that no longer exist, so nothing can be said"


def test_event_model_follows_the_fields_of_its_model(project: Project) -> None:  # noqa: F811
    project.models(FIRST)
    said = project.python(MIGRATE + USE.format(field="cost"))
    assert said.splitlines()[-2:] == ["[('insert', 6, 0), ('update', 8, 0)]", "1 []"]
    # The events from before go under the field's new name; that it was another one does not break their chain.
    project.models(RENAMED)
    said = project.python(MIGRATE + USE.format(field="charge"), answer="y\ny\n")
    assert said.endswith("[('insert', 6, 0), ('update', 8, 0)]\n2 []\n")
    # The recorded values of a field are removed with it, and so is their proof.
    project.models(DROPPED)
    said = project.python(MIGRATE + USE.format(field="more"))
    assert said.splitlines()[-2:] == [
        "[('insert', 6, 'm'), ('update', 8, 'm')]",
        f"3 [{SEALED!r}, {SEALED!r}]",
    ]


TWICE = """models.GeneratedField(
    expression=models.F("price") * 2, output_field=models.IntegerField(), db_persist=True
)"""
GENERATED = f"""
@pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent(), append_only=True)
class Item(models.Model):
    price = models.IntegerField(default=0)
    twice = {TWICE}
"""
# As django-pghistory 3.9.2 writes it: the column of the event table is generated, too, and no trigger fills it.
UPSTREAM = f"""
import django.db.models.deletion
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models

class Migration(migrations.Migration):
    initial = True
    dependencies = [("pghistory", "0007_auto_20250421_0444")]
    operations = [
        migrations.CreateModel(name="Item", fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("price", models.IntegerField(default=0)),
            ("twice", {TWICE}),
        ]),
        migrations.CreateModel(name="ItemEvent", fields=[
            ("pgh_id", models.AutoField(primary_key=True, serialize=False)),
            ("pgh_created_at", models.DateTimeField(auto_now_add=True)),
            ("pgh_label", models.TextField(help_text="The event label.")),
            ("id", models.BigIntegerField()),
            ("price", models.IntegerField(default=0)),
            ("twice", {TWICE}),
        ], options={{"abstract": False}}),
        pgtrigger.migrations.AddTrigger(
            model_name="item",
            trigger=pgtrigger.compiler.Trigger(name="insert_insert", sql=pgtrigger.compiler.UpsertTriggerSql(
                func='INSERT INTO "shop_itemevent" ("id", "pgh_created_at", "pgh_label", "pgh_obj_id", "price") '
                'VALUES (NEW."id", NOW(), \\'insert\\', NEW."id", NEW."price"); RETURN NULL;',
                hash="b548", operation="INSERT", pgid="pgtrigger_insert_insert_29a07", table="shop_item",
                when="AFTER")),
        ),
        migrations.AddField(model_name="itemevent", name="pgh_context", field=models.ForeignKey(
            db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name="+",
            to="pghistory.context")),
        migrations.AddField(model_name="itemevent", name="pgh_obj", field=models.ForeignKey(
            db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name="events",
            to="shop.item")),
    ]
"""
CHANGE = """
from shop.models import Item
Item.objects.create(price=Item.objects.count() + 5)
Item.objects.update(price=9)
print(list(Item.pgh_event_model.objects.order_by("pgh_id").values_list("pgh_label", "price", "twice")))
"""


def test_migration_for_a_tracked_generated_field_runs(project: Project) -> None:  # noqa: F811
    project.write("shop/migrations/0001_initial.py", UPSTREAM)
    project.models(GENERATED)
    project.python(
        "from django.core.management import call_command\n"
        "from django.db import connection\n"
        "call_command('migrate', verbosity=0)\n"
        "connection.cursor().execute('INSERT INTO shop_item (price) VALUES (3)')"
    )
    said = project.python(MIGRATE + CHANGE)
    assert said.splitlines()[-1] == str([("insert", 3, 6), ("insert", 6, 12), ("update", 9, 18), ("update", 9, 18)])
    # The way back makes the column a generated one again.
    project.run("migrate", "-v0", "shop", "0001")
    project.run("migrate", "-v0")
    said = project.python(CHANGE)
    assert said.splitlines()[-1].startswith("[('insert', 3, 6), ('insert', 6, 12), ('update', 9, 18)")
