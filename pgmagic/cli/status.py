"""`pgmagic status`: print versions and the state of the database."""

from __future__ import annotations

import platform

import django
import psycopg

import pgmagic
from pgmagic import server
from pgmagic.cli import database


def status() -> int:
    """Print versions, the database and pgmagic's schemas in it; return the exit code.

    The embedded server is neither started nor stopped.

    Raises:
        DatabaseUnavailableError: the database does not answer; the versions have been printed by then.
    """
    _show(
        {
            "pgmagic": pgmagic.__version__,
            "Python": platform.python_version(),
            "Django": django.get_version(),
            "psycopg": f"{psycopg.__version__} ({psycopg.pq.__impl__})",
        }
    )
    if not database.is_embedded():
        _show(_described(database.look()))
        return 0
    found, home = server.status(), server.default_home()
    if found.running:
        noun = "process uses" if found.attached == 1 else "processes use"
        where = f"embedded in {home}, running: {found.attached} {noun} it"
        _show({**_described(database.look(found)), "database": where})
        return 0
    _show(
        {
            "Postgres": found.version,
            "database": f"embedded in {home}, stopped: it starts when a notebook or `pgmagic lab` needs it",
            "schemas": "shown while the server runs" if found.initialised else "none yet",
        }
    )
    return 0


def _described(found: database.Look) -> dict[str, str]:
    """Return what a database reported about itself."""
    return {
        "Postgres": found.version,
        "database": "answers",
        "URL": found.url,
        "schemas": ", ".join(found.schemas) or "none yet",
    }


def _show(lines: dict[str, str]) -> None:
    """Print names and values in two columns; a value is never wrapped, so that it can be copied."""
    for name, value in lines.items():
        print(f"{name:<10}{value}")
