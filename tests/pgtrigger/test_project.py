"""A production project, from its first model to its last migration."""

from __future__ import annotations

from typing import Any

import pytest

from tests.project_support import Project, database_settings

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
CHANGED = RETYPED.replace('fields=["name"]', 'fields=["name", "price"]').replace('name="no_delete"', 'name="stay"')
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


def test_life_of_a_project(project: Project, connection: Any) -> None:
    project.models(FIRST)
    said = project.python(MIGRATE + USE.format(name="Item", price=3))
    assert "Create trigger no_delete on model item" in said
    assert said.splitlines()[-3:] == judged("shop_item", 3)

    project.models(RENAMED)
    said = project.python(MIGRATE + USE.format(name="Article", price=4), answer="y\ny\n")
    assert "Rename model Item to Article" in said
    assert said.splitlines()[-3:] == judged("shop_article", 4)
    with connection.cursor() as cursor:
        cursor.execute("SELECT tgname FROM pg_trigger WHERE tgrelid = 'shop_article'::regclass AND NOT tgisinternal")
        names = [name for (name,) in cursor.fetchall()]
        assert len(names) == 6
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


PROXIES = """
from django.contrib.auth.models import User

class Tag(models.Model):
    name = models.TextField()

class Post(models.Model):
    tags = models.ManyToManyField(Tag)

@pghistory.track(pghistory.InsertEvent())
class Member(User):
    class Meta:
        proxy = True
        triggers = [pgtrigger.Protect(name="stay", operation=pgtrigger.Delete)]

class PostTag(Post.tags.through):
    class Meta:
        proxy = True
        triggers = [pgtrigger.Protect(name="stay", operation=pgtrigger.Delete)]

class Legacy(models.Model):
    class Meta:
        managed = False
        db_table = "legacy"
        triggers = [pgtrigger.Protect(name="stay", operation=pgtrigger.Delete)]
"""


def test_triggers_on_models_of_other_packages(project: Project, connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE legacy (id bigint PRIMARY KEY)")
    project.models(PROXIES)
    said = project.python(
        MIGRATE
        + """
from django.apps import apps
from django.contrib.auth.models import User
from django.db import InternalError, connection
from shop.models import Legacy, Member, Post
user = User.objects.create(username="a")
print(list(Member.pgh_event_model.objects.values_list("pgh_label", "username")))
post = Post.objects.create()
tag = post.tags.create(name="x")
Legacy.objects.create(id=1)
for what in (user.delete, post.tags.clear, Legacy.objects.all().delete):
    try:
        what()
    except InternalError as error:
        print(str(error).splitlines()[0])
"""
    )
    assert said.splitlines()[-4:] == [
        "[('insert', 'a')]",
        "pgtrigger: Cannot delete rows from auth_user table",
        "pgtrigger: Cannot delete rows from shop_post_tags table",
        "pgtrigger: Cannot delete rows from legacy table",
    ]
    assert "auth" not in said.partition("Migrations for 'shop'")[0]
    project.run("migrate", "-v0", "shop", "zero")


def test_installing_on_migrate_instead_of_migrations(project: Project) -> None:
    project.settings(PGTRIGGER_MIGRATIONS=False, PGTRIGGER_INSTALL_ON_MIGRATE=True)
    project.models(FIRST)
    said = project.python(MIGRATE + USE.format(name="Item", price=3))
    assert "trigger" not in said.splitlines()[:6]
    assert said.splitlines()[-3:] == judged("shop_item", 3)
    project.models(CHANGED.replace("class Article", "class Item"))
    project.python(MIGRATE)
    states = project.run("pgtrigger", "--no-color", "ls").splitlines()
    assert {line.split()[0] for line in states} == {"INSTALLED"}
    assert "shop.Item:stay" in states[0] + states[1] + states[2] + states[3] + states[4]
    # Back to a state without the tables that the code names.
    project.run("migrate", "-v0", "shop", "zero")


def test_code_and_migrations_written_with_upstream_work(project: Project) -> None:
    project.write(
        "shop/migrations/0001_initial.py",
        """
        import pgtrigger.compiler
        import pgtrigger.migrations
        from django.db import migrations, models

        class Migration(migrations.Migration):
            initial = True
            dependencies = [("pghistory", "0007_auto_20250421_0444")]
            operations = [
                migrations.CreateModel(name="Item", fields=[("id", models.BigAutoField(primary_key=True))]),
                pgtrigger.migrations.AddTrigger(
                    model_name="item",
                    trigger=pgtrigger.compiler.Trigger(name="stay", sql=pgtrigger.compiler.UpsertTriggerSql(
                        func="RAISE EXCEPTION 'no';", hash="d160", operation="DELETE", pgid="pgtrigger_stay_86668",
                        table="shop_item", when="BEFORE")),
                ),
            ]
        """,
    )
    project.models(
        "import pgtrigger\nimport pghistory\n\n"
        "class Item(models.Model):\n    class Meta:\n"
        "        triggers = [pgtrigger.Protect(name='stay', operation=pgtrigger.Delete)]\n"
    )
    said = project.python(
        """
        from django.core.management import call_command
        from django.db import InternalError
        from shop.models import Item
        call_command("migrate", verbosity=0)
        item = Item.objects.create()
        try:
            item.delete()
        except InternalError as error:
            print(error)
        """
    )
    assert said.startswith("no")
    assert "+ Create trigger stay" in project.python(MIGRATE)
    assert project.run("pgtrigger", "--no-color", "ls").split() == ["INSTALLED", "ENABLED", "shop.Item:stay"]


def test_triggers_are_on_the_databases_of_their_models(tmp_path: Any, schema: str, connection: Any) -> None:
    other = f"{schema}_2"
    with connection.cursor() as cursor:
        cursor.execute(f'CREATE SCHEMA "{other}"')
    try:
        project = Project(
            tmp_path,
            {"default": database_settings(connection, schema), "other": database_settings(connection, other)},
        )
        project.settings(DATABASE_ROUTERS=["shop.routing.Router"])
        project.write(
            "shop/routing.py",
            """
            class Router:
                def db_for_write(self, model, **hints):
                    return "other" if model._meta.app_label == "shop" else None
                db_for_read = db_for_write
                def allow_migrate(self, db, app_label, **hints):
                    return app_label == "pghistory" or (db == "other") == (app_label == "shop")
            """,
        )
        project.models(
            FIRST
            + PROXIES.partition("class Tag")[0]
            + """
class Member(User):
    class Meta:
        proxy = True
        triggers = [pgtrigger.Protect(name="stay", operation=pgtrigger.Delete)]
"""
        )
        said = project.python(
            MIGRATE + 'call_command("migrate", database="other", verbosity=0)\n' + USE.format(name="Item", price=3)
        )
        assert said.splitlines()[-3:] == judged("shop_item", 3)
        command = ("pgtrigger", "--no-color")
        # Without a database, a command is about the default one.
        listed = project.run(*command, "ls", "--check").splitlines()
        assert "INSTALLED ENABLED shop.Member:stay" in listed
        assert "UNALLOWED N/A     shop.Item:ro" in listed
        assert "INSTALLED ENABLED shop.Item:ro" in project.run(*command, "ls", "-d", "other").splitlines()
        assert project.run(*command, "install") == ""
        assert project.run(*command, "uninstall").count("Uninstalling") == 1
        assert project.run(*command, "uninstall", "--database", "other").count("Uninstalling") == 5
        assert "1 of 6 triggers listed is not in the database as declared" in project.run(
            *command, "ls", "--check", fails=True
        )
        assert project.run(*command, "install").count("Installing") == 1
        assert project.run(*command, "install", "-d", "other").count("Installing") == 5
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f'DROP SCHEMA "{other}" CASCADE')


ELSEWHERE = """
@pghistory.track(pghistory.UpdateEvent(), app_label="audit")
class Item(models.Model):
    name = models.TextField()
    note = models.TextField(default="")
"""


def test_events_may_live_in_another_app(project: Project) -> None:
    (project.folder / "audit" / "migrations").mkdir(parents=True)
    for path in ("audit/__init__.py", "audit/migrations/__init__.py", "audit/models.py"):
        project.write(path, "")
    with (project.folder / "project_settings.py").open("a", encoding="utf-8") as file:
        file.write("INSTALLED_APPS.append('audit')\n")
    everything = MIGRATE.replace('call_command("makemigrations", "shop")', 'call_command("makemigrations")')
    use = """
from shop.models import Item
Item.objects.create(name="a")
Item.objects.update(name="b")
print(list(Item.pgh_event_model.objects.order_by("pgh_id").values_list("name", flat=True)))
"""
    project.models(ELSEWHERE)
    said = project.python(everything + use)
    assert "Create trigger update_update on model shop.item" in said
    assert said.splitlines()[-1] == "['b']"
    project.models(ELSEWHERE.replace('    note = models.TextField(default="")\n', ""))
    said = project.python(everything + use)
    assert said.index("Remove trigger update_update from model item") < said.index("Remove field note from item")
    assert said.splitlines()[-1] == "['b', 'b']"
    project.run("migrate", "-v0", "audit", "zero")
