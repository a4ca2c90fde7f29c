"""`pgmagic.use_names()`: files that run before Django is ready import `pghistory` and `pgtrigger`."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from tests.project_support import ROOT, SETTINGS, Project, database_settings

pytestmark = pytest.mark.slow

MODELS = """
@pghistory.track()
class Item(models.Model):
    name = models.TextField()
"""
# Each setting of django-pghistory that takes an object, as its documentation has it in a settings module.
EARLY = """
PGHISTORY_CONTEXT_FIELD = pghistory.ContextForeignKey(null=True, db_index=True)
PGHISTORY_OBJ_FIELD = pghistory.ObjForeignKey(related_name="happened", db_constraint=False)
PGHISTORY_FIELD = pghistory.Field(null=True)
PGHISTORY_FOREIGN_KEY_FIELD = pghistory.ForeignKey(db_index=pghistory.DEFAULT)
PGHISTORY_RELATED_FIELD = pghistory.RelatedField(related_query_name=pghistory.DEFAULT)
PGHISTORY_DEFAULT_TRACKERS = (pghistory.InsertEvent("made"), pghistory.UpdateEvent("changed"))
PGHISTORY_LEVEL = pgtrigger.Row
"""
IMPORTED = "import pghistory\nimport pgtrigger\n"
USE = """
from django.apps import apps
Item = apps.get_model("shop", "Item")
item = Item.objects.create(name="a")
with pghistory.context(user=1):
    Item.objects.update(name="b")
print([(event.pgh_label, event.name, event.pgh_context and event.pgh_context.metadata)
       for event in item.happened.order_by("pgh_id")])
"""


def in_fresh_python(code: str) -> str:
    """Return what code prints in a process that knows no settings."""
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "names", ["import pgmagic; pgmagic.use_names(); ", "from pgmagic import pghistory, pgtrigger; "]
)
def test_importing_the_vocabularies_reads_no_setting_and_no_connection(names: str) -> None:
    modules = (
        "" if "from" in names else "import pghistory, pgtrigger, pghistory.core, pghistory.config, pgtrigger.core; "
    )
    code = (
        f"{names}{modules}from django.conf import settings; from django.db import connections; "
        "print(settings.configured, 'settings' in vars(connections))"
    )
    assert in_fresh_python(code) == "False False\n"


def test_names_lead_to_pgmagic_before_django_is_set_up() -> None:
    code = (
        "import pgmagic; pgmagic.use_names(); pgmagic.use_names(); import pghistory, pgtrigger; "
        "print(pghistory.__name__, pgtrigger.__name__, pghistory.runtime.__name__, pgtrigger.core.__name__)"
    )
    assert in_fresh_python(code).split() == [
        "pgmagic.pghistory", "pgmagic.pgtrigger", "pgmagic.pghistory.runtime", "pgmagic.pgtrigger.core",
    ]  # fmt: skip


def test_call_that_comes_too_late_says_so() -> None:
    code = (
        "import sys, types; sys.modules['pghistory'] = types.ModuleType('pghistory'); import pgmagic\n"
        "try:\n    pgmagic.use_names()\nexcept ImportError as error:\n    print(error)"
    )
    assert in_fresh_python(code) == (
        "use_names() was called too late: django-pghistory was imported before. Call it before the first import of "
        "these names.\n"
    )


@pytest.fixture(params=["names", "from pgmagic"])
def early(request: pytest.FixtureRequest, project: Project, schema: str, connection: Any) -> Project:
    """A project whose settings module makes settings of history's objects."""
    names = "import pgmagic\n\npgmagic.use_names()\n\n" + IMPORTED
    head = names if request.param == "names" else "from pgmagic import pghistory, pgtrigger\n"
    body = SETTINGS.format(databases={"default": database_settings(connection, schema)})
    project.write("project_settings.py", head + body + EARLY)
    project.models(MODELS)
    return project


def test_settings_module_takes_objects_of_history(early: Project) -> None:
    early.run("makemigrations", "shop")
    early.run("migrate", "-v0")
    said = early.python(f"from pgmagic import pghistory\n{USE}")
    assert said.splitlines()[-1] == "[('made', 'a', None), ('changed', 'b', {'user': 1})]"


def test_manage_and_wsgi_import_the_names_at_their_top(project: Project) -> None:
    project.models(MODELS)
    top = "import pgmagic\n\npgmagic.use_names()\n\n" + IMPORTED + "import os, sys\n"
    os_environ = "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'project_settings')\n"
    project.write(
        "manage.py",
        f"{top}from django.core.management import execute_from_command_line\n{os_environ}"
        "execute_from_command_line(sys.argv)\n",
    )
    project.write(
        "wsgi.py",
        f"{top}from django.core.wsgi import get_wsgi_application\n{os_environ}"
        "@pghistory.context(who='wsgi')\ndef write():\n    from shop.models import Item\n"
        "    Item.objects.create(name='a')\n    return Item.pgh_event_model.objects.get().pgh_context.metadata\n"
        "application = get_wsgi_application()\n",
    )
    project.script("manage.py", "makemigrations", "shop")
    project.script("manage.py", "migrate", "-v0")
    assert project.script("-c", "import wsgi; print(wsgi.write())") == "{'who': 'wsgi'}\n"


def test_installed_apps_may_keep_the_names_of_upstream(project: Project, schema: str, connection: Any) -> None:
    body = SETTINGS.format(databases={"default": database_settings(connection, schema)})
    project.write("project_settings.py", "import pgmagic\npgmagic.use_names()\n" + body.replace('"pgmagic.pg', '"pg'))
    project.models(MODELS)
    project.run("makemigrations", "shop")
    project.run("migrate", "-v0")
    project.run("check")
    said = project.python(
        """
        from django.apps import apps
        from shop.models import Item
        print(sorted(config.name for config in apps.get_app_configs() if "pg" in config.name))
        print(Item.objects.create(name="a").events.count())
        """
    )
    assert said.splitlines() == ["['pgmagic.pghistory', 'pgmagic.pgtrigger']", "1"]
