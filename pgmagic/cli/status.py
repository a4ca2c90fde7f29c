"""`pgmagic status`: versions, and the database as it is now."""

from __future__ import annotations

import platform

import django
import psycopg

import pgmagic
from pgmagic import server as embedded
from pgmagic.cli import database


def status() -> int:
    """Print versions, the database and the schemas of pgmagic's in it; return the exit code.

    The embedded server is neither started nor, as the last one to leave would, stopped.

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
    _show(_embedded() if database.is_embedded() else _described(database.look()))
    return 0


def _embedded() -> dict[str, str]:
    """Return what there is to say of the embedded server."""
    server = embedded.status()
    home = embedded.default_home()
    if not server.running:
        return {
            "Postgres": server.version,
            "database": f"embedded in {home}, stopped: it starts when a notebook or `pgmagic lab` needs it",
            "schemas": "shown while the server runs" if server.initialised else "none yet",
        }
    noun = "process uses" if server.attached == 1 else "processes use"
    return {
        **_described(database.look(server)),
        "database": f"embedded in {home}, running: {server.attached} {noun} it",
    }


def _described(found: database.Look) -> dict[str, str]:
    """Return what a database said of itself."""
    return {
        "Postgres": found.version,
        "database": "answers",
        "URL": found.url,
        "schemas": ", ".join(found.schemas) or "none yet",
    }


def _show(lines: dict[str, str]) -> None:
    """Print names and values in two columns; a value is never broken, so that it can be copied."""
    for name, value in lines.items():
        print(f"{name:<10}{value}")
