"""Migrations in the forms that releases of the upstream packages since 2020 wrote, run from zero.

The names, arguments and shapes are those that the releases write; SQL and models are this test's own.
"""

from __future__ import annotations

import pytest

from tests.project_support import Project

pytestmark = pytest.mark.slow

NAMES = """
import pgmagic
pgmagic.use_names()
"""
HEAD = """
import django.db.models.deletion
import django.db.models.manager
import pghistory.models
import pghistory.trigger
import pghistory.utils
import pgtrigger
import pgtrigger.compiler
import pgtrigger.migrations
import shop.models
from django.db import migrations, models

def event_of(model, *fields, name=None, context=True):
    own = [
        ("pgh_id", models.AutoField(primary_key=True, serialize=False)),
        ("pgh_created_at", models.DateTimeField(auto_now_add=True)),
        ("pgh_label", models.TextField(help_text="The event label.")),
        ("pgh_obj", models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING,
                                      related_name="event", to=f"shop.{model.lower()}")),
    ]
    if context:
        own.append(("pgh_context", models.ForeignKey(
            db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name="+",
            to="pghistory.Context")))
    return migrations.CreateModel(name=name or f"{model}Event", fields=[*own, *fields], options={"abstract": False})

class Migration(migrations.Migration):
    initial = True
    dependencies = [("pghistory", "0005_events_middlewareevents")]
"""
MODEL = """
        migrations.CreateModel(name="Item", fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("number", models.IntegerField()),
            ("status", models.CharField(default="a", max_length=9)),
            ("active", models.BooleanField(default=True)),
        ]),
        event_of("Item", ("number", models.IntegerField()), ("status", models.CharField(default="a", max_length=9)),
                 ("active", models.BooleanField(default=True)), ("id", models.IntegerField())),
"""
ITEM = """
class Item(models.Model):
    number = models.IntegerField()
    status = models.CharField(default="a", max_length=9)
    active = models.BooleanField(default=True)
"""
TRACKED = f"""
@pghistory.track(pghistory.Snapshot("snap"), pghistory.BeforeDelete("gone"))
{ITEM.strip()}
"""

# The releases from 3.1 of triggers, with history 2.0 to 2.1, wrote declarations.
DECLARED = """
    operations = [%(model)s
        pgtrigger.migrations.AddTrigger(model_name="item", trigger=pgtrigger.Protect(
            condition=pgtrigger.Q(("old__number", 1)), declare=None, func=None, level=pgtrigger.Level(name="ROW"),
            name="keep", operation=pgtrigger.Operations(pgtrigger.Operation(name="DELETE"),
            pgtrigger.Operation(name="UPDATE")), referencing=None, timing=None, when=pgtrigger.When(name="BEFORE"))),
        pgtrigger.migrations.AddTrigger(model_name="item", trigger=pgtrigger.SoftDelete(
            condition=None, field="active", name="soft", value=False)),
        pgtrigger.migrations.AddTrigger(model_name="item", trigger=pgtrigger.Trigger(
            condition=pgtrigger.Condition(sql="OLD.* IS DISTINCT FROM NEW.*"), declare=[("twice", "int")],
            func="twice = 2; NEW.number = NEW.number * twice; RETURN NEW;", level=pgtrigger.Level(name="ROW"),
            name="double", operation=pgtrigger.UpdateOf("number"), referencing=None, timing=None,
            when=pgtrigger.When(name="BEFORE"))),
        pgtrigger.migrations.AddTrigger(model_name="item", trigger=pgtrigger.Trigger(
            condition=None, declare=None, func="RETURN NULL;", level=pgtrigger.Level(name="STATEMENT"), name="each",
            operation=pgtrigger.Operation(name="INSERT"), referencing=pgtrigger.Referencing(new="rows", old=None),
            when=pgtrigger.When(name="AFTER"))),
        pgtrigger.migrations.AddTrigger(model_name="item", trigger=pgtrigger.FSM(
            condition=None, field="status", name="steps", transitions=[("a", "b")])),
        pgtrigger.migrations.AddTrigger(model_name="item", trigger=pghistory.trigger.Event(
            condition=None, event_model=shop.models.ItemEvent, label="snap", name="snap_insert",
            operation=pgtrigger.Operation(name="INSERT"), snapshot="NEW", when=pgtrigger.When(name="AFTER"))),
        pgtrigger.migrations.AddTrigger(model_name="item", trigger=pghistory.trigger.Event(
            condition=pgtrigger.Q(("old__number__df", pgtrigger.F("new__number")),
                                  ("old__status__df", pgtrigger.F("new__status")), _connector="OR"),
            event_model=shop.models.ItemEvent, label="snap", name="snap_update",
            operation=pgtrigger.Operation(name="UPDATE"), snapshot="NEW", when=pgtrigger.When(name="AFTER"))),
        pgtrigger.migrations.AddTrigger(model_name="item", trigger=pghistory.trigger.Event(
            condition=None, event_model=shop.models.ItemEvent, label="gone", name="gone",
            operation=pgtrigger.Operation(name="DELETE"), snapshot="OLD", when=pgtrigger.When(name="AFTER"))),
    ]
"""
# Later releases wrote SQL.
WRITTEN = """
    operations = [%(model)s
        pgtrigger.migrations.AddTrigger(model_name="item", trigger=pgtrigger.compiler.Trigger(
            name="keep", sql=pgtrigger.compiler.UpsertTriggerSql(
                condition="WHEN (OLD.number = 1)", func="RAISE EXCEPTION 'kept';", hash="1", level="ROW",
                operation="UPDATE OR DELETE", pgid="pgtrigger_keep_00001", table="shop_item", when="BEFORE"))),
        pgtrigger.migrations.AddTrigger(model_name="item", trigger=pgtrigger.compiler.Trigger(
            name="snap_insert", sql=pgtrigger.compiler.UpsertTriggerSql(
                func="INSERT INTO shop_itemevent (pgh_created_at, pgh_label, pgh_obj_id, pgh_context_id, id, number, "
                     "status, active) VALUES (now(), 'snap', NEW.id, _pgh_attach_context(), NEW.id, NEW.number, "
                     "NEW.status, NEW.active); RETURN NULL;",
                hash="2", operation="INSERT", pgid="pgtrigger_snap_insert_00002", table="shop_item", when="AFTER"))),
    ]
"""
USE = """
from django.db import InternalError, connection
from pgmagic import pghistory
from shop.models import Item, ItemEvent
with pghistory.context(user=1):
    Item.objects.create(number=1)
    pghistory.context(user=2)
    Item.objects.create(number=5)
Item.objects.create(number=7)
try:
    Item.objects.update(number=3)
except InternalError:
    print("kept")
with connection.cursor() as cursor:
    cursor.execute(
        "SELECT pgh_label, number, (SELECT metadata ->> 'user' FROM pghistory_context WHERE id = pgh_context_id) "
        "FROM shop_itemevent ORDER BY pgh_id"
    )
    print(cursor.fetchall())
"""


def written(project: Project, number: int, text: str) -> None:
    """Write a migration of the project by hand."""
    project.write(f"shop/migrations/{number:04}_upstream.py", HEAD + text)


@pytest.fixture
def upstream(project: Project) -> Project:
    """A project that calls its apps by the names of upstream."""
    settings = (project.folder / "project_settings.py").read_text()
    project.write("project_settings.py", NAMES + settings.replace('"pgmagic.pg', '"pg'))
    return project


@pytest.mark.parametrize("operations", [DECLARED, WRITTEN], ids=["declarations", "SQL"])
def test_triggers_of_old_migrations_do_their_work(upstream: Project, operations: str) -> None:
    upstream.models(TRACKED)
    written(upstream, 1, operations % {"model": MODEL})
    upstream.run("migrate", "-v0")
    assert upstream.python(USE).splitlines() == ["kept", "[('snap', 1, '2'), ('snap', 5, '2'), ('snap', 7, None)]"]
    upstream.run("migrate", "-v0", "shop", "zero")


def test_declarations_in_old_migrations_are_what_they_were(upstream: Project) -> None:
    upstream.models(TRACKED)
    written(upstream, 1, DECLARED % {"model": MODEL})
    upstream.run("migrate", "-v0")
    said = upstream.python(
        """
        from django.db import InternalError, connection
        from shop.models import Item, ItemEvent
        item = Item.objects.create(number=2)
        Item.objects.filter(pk=item.pk).update(number=4)
        try:
            Item.objects.filter(pk=item.pk).update(status="c")
        except InternalError as error:
            print(str(error).splitlines()[0])
        Item.objects.filter(pk=item.pk).update(status="b")
        Item.objects.filter(pk=item.pk).delete()
        print(Item.objects.values_list("number", "status", "active").get())
        with connection.cursor() as cursor:
            cursor.execute("SELECT pgh_label, number, status FROM shop_itemevent ORDER BY pgh_id")
            print(cursor.fetchall())
        """
    )
    refused, row, events = said.splitlines()
    assert "Invalid transition of field" in refused
    assert row == "(8, 'b', False)"
    assert events == "[('snap', 2, 'a'), ('snap', 8, 'a'), ('snap', 8, 'b')]"


def test_models_and_fields_that_migrations_of_history_name_load(upstream: Project) -> None:
    upstream.models(
        """
        from pghistory.models import Events, MiddlewareEvents

        class Mine(Events):
            class Meta:
                proxy = True

        class Requests(MiddlewareEvents):
            class Meta:
                proxy = True

        @pghistory.track(
            context_field=pghistory.ContextJSONField(), context_id_field=pghistory.ContextUUIDField(), model_name="Kept"
        )
        class Note(models.Model):
            text = models.TextField()
        """
    )
    written(
        upstream,
        1,
        """
    operations = [
        migrations.CreateModel(name="Aggregate", fields=[
            ("pgh_id", models.BigAutoField(primary_key=True, serialize=False)),
            ("pgh_table", models.CharField(help_text="The table", max_length=64)),
            ("pgh_data", pghistory.models.PGHistoryJSONField(help_text="The raw data of the event row")),
            ("pgh_diff", pghistory.utils.JSONField(help_text="The diff")),
        ], options={"managed": False}),
        migrations.DeleteModel(name="Aggregate"),
        migrations.CreateModel(name="Mine", fields=[], options={"proxy": True, "indexes": [], "constraints": []},
                               bases=("pghistory.events",),
                               managers=[("no_objects", django.db.models.manager.Manager())]),
        migrations.CreateModel(name="Requests", fields=[], options={"proxy": True, "indexes": [], "constraints": []},
                               bases=("pghistory.middlewareevents",)),
        migrations.CreateModel(name="Note", fields=[
            ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ("text", models.TextField()),
        ]),
        event_of("Note", ("id", models.BigIntegerField()), ("text", models.TextField()),
                 ("pgh_context", pghistory.utils.JSONField(null=True)), ("pgh_context_id", models.UUIDField(null=True)),
                 name="Kept", context=False),
    ]
""",
    )
    upstream.run("migrate", "-v0")
    said = upstream.run("makemigrations", "shop", "--dry-run")
    assert "Alter field pgh_context on kept" not in said
    assert "Create model" not in said
    assert "Delete model" not in said
    upstream.run("makemigrations", "shop")
    upstream.run("migrate", "-v0")
    said = upstream.python(
        """
        import pghistory
        from shop.models import Kept, Mine, Note, Requests
        with pghistory.context(user=1):
            Note.objects.create(text="a")
        print(Kept.objects.get().pgh_context, Mine.objects.count(), Requests.objects.get().user_id)
        """
    )
    assert said == "{'user': 1} 1 1\n"
