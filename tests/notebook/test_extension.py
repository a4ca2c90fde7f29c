"""`%load_ext pgmagic`: what it adds, that unloading undoes it, and that a project's configuration is left alone."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest
from django.db import DatabaseError

from pgmagic.aliases import AliasFinder
from pgmagic.notebook import extension

NAMES = ("models", "pgtrigger", "pghistory")
ASYNC = "DJANGO_ALLOW_ASYNC_UNSAFE"


def state(shell):
    """What loading may change of a shell and of the process."""
    formatters = shell.display_formatter.formatters
    return {
        "names": {name for name in shell.user_ns if name[0] != "_"},
        "magics": {kind: set(found) for kind, found in shell.magics_manager.magics.items()},
        "events": {name: list(found) for name, found in shell.events.callbacks.items()},
        "finders": [finder for finder in sys.meta_path if isinstance(finder, AliasFinder)],
        "modules": {name for name in ("pgtrigger", "pghistory") if name in sys.modules},
        "environment": os.environ.get(ASYNC),
        "exceptions": shell.custom_exceptions,
        "formatters": {kind: set(found.type_printers) for kind, found in formatters.items()},
    }


@pytest.fixture
def bare(shell):
    """A shell from which pgmagic was unloaded again."""
    extension.unload(shell.shell)
    return shell.shell


@pytest.mark.parametrize("value", [None, "true", ""])
def test_unloading_undoes_loading(bare, monkeypatch, value):
    monkeypatch.delenv(ASYNC, raising=False)
    if value is not None:
        monkeypatch.setenv(ASYNC, value)
    before = state(bare)
    assert (before["finders"], before["modules"]) == ([], set())
    extension.load(bare)
    loaded = state(bare)
    assert set(NAMES) <= loaded["names"]
    assert {"pgtrigger", "pgoutcome"} <= loaded["magics"]["cell"]
    assert {"pgconnect", "pgreset", "pghistory"} <= loaded["magics"]["line"]
    assert loaded["environment"] == "true"
    assert issubclass(DatabaseError, loaded["exceptions"])
    assert len(loaded["finders"]) == 1
    extension.unload(bare)
    assert state(bare) == before


def test_loading_twice_has_the_effect_of_loading_once(shell):
    before = state(shell.shell)
    extension.load(shell.shell)
    shell.run("%load_ext pgmagic")
    shell.run("%reload_ext pgmagic")
    assert state(shell.shell)["events"].keys() == before["events"].keys()
    assert len(state(shell.shell)["finders"]) == 1
    shell.run("%unload_ext pgmagic")
    assert not set(NAMES) & set(shell.shell.user_ns)
    extension.unload(shell.shell)


def test_unloading_leaves_the_users_own_names(shell):
    shell.run("models = 3")
    extension.unload(shell.shell)
    assert shell["models"] == 3
    assert "pgtrigger" not in shell.shell.user_ns


def test_imports_in_a_cell_find_pgmagics_packages(shell):
    shell.run("import pgtrigger as one\nfrom pghistory import track\nimport pgtrigger")
    assert shell["one"] is shell["pgtrigger"] is sys.modules["pgmagic.pgtrigger"]


def test_exceptions_of_somebody_else_are_left_alone(bare):
    bare.set_custom_exc((KeyError,), lambda *_args, **_kwargs: [])
    extension.load(bare)
    assert bare.custom_exceptions == (KeyError,)
    extension.unload(bare)
    assert bare.custom_exceptions == (KeyError,)
    bare.set_custom_exc((), None)


def test_orm_works_inside_of_an_event_loop(shell):
    import asyncio

    async def cell():
        return shell.run("from django.contrib.contenttypes.models import ContentType\n1 + 1")

    assert asyncio.run(cell()) == 2


def run(script, **environment):
    """The output of a script in a process of its own."""
    kept = {name: value for name, value in os.environ.items() if name not in ("DJANGO_SETTINGS_MODULE", ASYNC)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=kept | environment, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines(), done.stderr


SHELL = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
"""


@pytest.mark.slow
def test_loading_does_not_connect(tmp_path):
    out, _ = run(
        SHELL + """
shell.run_line_magic("load_ext", "pgmagic")
from django.conf import settings
from django.db import connection
print(connection.connection, settings.SECRET_KEY != "", settings.PGMAGIC_NOTEBOOK)
print(settings.PGTRIGGER_PRUNE_ON_INSTALL)
""",
        PGMAGIC_HOME=str(tmp_path / "home"),
    )  # fmt: skip
    assert out[0] == "None True True"
    # A restarted kernel has not registered yet what its notebook installed.
    assert out[1] == "False"
    assert not (tmp_path / "home").exists()


@pytest.mark.slow
def test_project_keeps_its_settings_its_connection_and_its_search_path(schema, database_url, tmp_path):
    from django.db import connection

    from tests.db.live import conninfo

    connection.ensure_connection()
    info = conninfo(connection)
    (tmp_path / "project.py").write_text(f"""
DATABASES = {{"default": {{
    "ENGINE": "django.db.backends.postgresql", "NAME": {info["dbname"]!r}, "HOST": {info["host"]!r},
    "PORT": {info["port"]!r}, "USER": {info["user"]!r}, "PASSWORD": {info["password"] or "s3cr3t"!r},
}}}}
INSTALLED_APPS = ["django.contrib.contenttypes"]
SECRET_KEY = "project"
USE_TZ = True
""")
    out, err = run(
        SHELL + """
shell.run_line_magic("load_ext", "pgmagic")
from django.conf import settings
from django.db import connection
print(settings.SECRET_KEY, connection.settings_dict["ENGINE"])
cursor = connection.cursor(); cursor.execute("SHOW search_path"); print(cursor.fetchone()[0])
shell.run_line_magic("pgconnect", "")
thing = "class Thing(models.Model):\\n    a = models.TextField()"
for cell in ("%pgconnect postgresql:///elsewhere", "%pgreset", f"%%pgtrigger --dry-run\\n{thing}"):
    result = shell.run_cell(cell)
    print(result.error_in_exec or list(result.result["status"]))
cursor.execute("SELECT count(*) FROM pg_class WHERE relname LIKE '%notebook_thing%'")
print(cursor.fetchone()[0])
""",
        DJANGO_SETTINGS_MODULE="project", PYTHONPATH=str(tmp_path),
    )  # fmt: skip
    assert out[0] == "project django.db.backends.postgresql"
    assert out[1] == '"$user", public'
    assert f"the project's database {info['dbname']}" in out[2]
    text = "\n".join(out)
    assert "This kernel works on a configured Django project: its DATABASES setting decides which database." in text
    assert "This kernel works on a configured Django project, and nothing of it is reset." in text
    assert "['planned']" in text
    assert out[-1] == "0"
    assert "s3cr3t" not in text + err
    assert "Traceback" not in text + err


@pytest.mark.slow
def test_real_package_that_is_imported_already_is_left_alone():
    out, err = run(
        SHELL + """
import sys, types
real = sys.modules["pgtrigger"] = types.ModuleType("pgtrigger")
shell.run_line_magic("load_ext", "pgmagic")
import pgtrigger
print(pgtrigger is real)
shell.run_cell("import pghistory; print(pghistory.__name__)")
shell.run_line_magic("unload_ext", "pgmagic")
print(sys.modules["pgtrigger"] is real)
"""
    )  # fmt: skip
    assert out[0] == "True"
    assert out[-1] == "True"
    assert (
        "The installed pgtrigger is already imported here and stays; pgmagic's own is `from pgmagic import pgtrigger`."
        in err
    )
