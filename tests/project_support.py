"""A Django project of the test's own: a folder, settings, one app, and `manage.py` in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.db.live import conninfo

ROOT = Path(__file__).parent.parent

SETTINGS = """
SECRET_KEY = "only for tests"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.contenttypes", "django.contrib.auth", "pgmagic.pgtrigger", "pgmagic.pghistory", "shop",
]
DATABASES = {databases!r}
"""


class Project:
    """A project in a folder; its tables live in the test's schema."""

    def __init__(self, folder: Path, databases: dict[str, Any]) -> None:
        self.folder = folder
        (folder / "shop" / "migrations").mkdir(parents=True)
        (folder / "shop" / "__init__.py").touch()
        (folder / "shop" / "migrations" / "__init__.py").touch()
        self.write("project_settings.py", SETTINGS.format(databases=databases))

    def write(self, path: str, text: str) -> None:
        """Write a file of the project."""
        (self.folder / path).write_text(textwrap.dedent(text), encoding="utf-8")

    def settings(self, **values: Any) -> None:
        """Add settings."""
        with (self.folder / "project_settings.py").open("a", encoding="utf-8") as file:
            file.writelines(f"{name} = {value!r}\n" for name, value in values.items())

    def models(self, text: str) -> None:
        """Write the models of the app `shop`."""
        head = "from django.db import models\nfrom pgmagic import pghistory, pgtrigger\n\n"
        (self.folder / "shop" / "models.py").write_text(head + textwrap.dedent(text), encoding="utf-8")

    def run(self, *arguments: str, answer: str = "", fails: bool = False) -> str:
        """Return what a management command says; it must succeed unless told otherwise."""
        return self._python("-m", "django", *arguments, answer=answer, fails=fails)

    def python(self, code: str, answer: str = "") -> str:
        """Return what code prints that is run in the project."""
        return self._python("-c", f"import django\ndjango.setup()\n{textwrap.dedent(code)}", answer=answer)

    def script(self, *arguments: str) -> str:
        """Return what Python prints that is started with arguments in the project's folder, without Django set up."""
        return self._python(*arguments)

    def _python(self, *arguments: str, answer: str = "", fails: bool = False) -> str:
        environment = {
            **os.environ, "DJANGO_SETTINGS_MODULE": "project_settings", "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join([str(self.folder), str(ROOT)]),
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder, env=environment, input=answer, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert (done.returncode != 0) is fails, said
        return said

    def migration(self, number: int) -> str:
        """Return the text of a migration of the app by its number."""
        [path] = (self.folder / "shop" / "migrations").glob(f"{number:04}_*.py")
        return path.read_text(encoding="utf-8")


def database_settings(connection: Any, schema: str) -> dict[str, Any]:
    """Return Django's settings for the test's database, in its schema."""
    info = conninfo(connection)
    return {
        "ENGINE": "django.db.backends.postgresql", "NAME": info["dbname"], "USER": info["user"], "HOST": info["host"],
        "PASSWORD": info["password"], "PORT": str(info["port"] or ""),
        "OPTIONS": {"options": f"-c search_path={schema}"},
    }  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, schema: str, connection: Any) -> Project:
    """An empty project whose tables live in the test's schema."""
    return Project(tmp_path, {"default": database_settings(connection, schema)})
