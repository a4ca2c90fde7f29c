"""The database that a command works on: kept running for notebooks, or read without starting it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from django.db import Error
from psycopg.conninfo import make_conninfo

from pgmagic import server
from pgmagic.db import backend, schemas
from pgmagic.db.connect import URL_VARIABLE, Choice, check_version, choice_from_environment, mask_url
from pgmagic.db.driver import driver_connection
from pgmagic.errors import DatabaseUnavailableError, PgMagicError
from pgmagic.notebook.django_setup import configure_django

_PROJECT_VARIABLE = "DJANGO_SETTINGS_MODULE"


@dataclass(frozen=True)
class Look:
    """What a database reports about itself.

    url: without a password.
    schemas: the schemas that pgmagic created.
    """

    version: str
    url: str
    schemas: list[str]


def is_embedded() -> bool:
    """Return whether notebooks work on the embedded server, because neither a URL nor a project names a database."""
    return not os.environ.get(URL_VARIABLE) and not os.environ.get(_PROJECT_VARIABLE)


@contextlib.contextmanager
def held() -> Iterator[str]:
    """Keep the embedded server running, or check that the named database answers; yield a description of it.

    Raises:
        DatabaseUnavailableError: the database does not start, or does not answer.
    """
    if not is_embedded():
        found = look()
        yield f"Postgres {found.version} at {found.url}"
        return
    with server.acquire() as lease:
        for note in lease.notes:
            print(note, file=sys.stderr)
        yield f"embedded Postgres {server.status().version}, data in {server.default_home()}"


def look(running: server.ServerInfo | None = None) -> Look:
    """Connect once and return what the database reports; `running` is an embedded server that already runs.

    The embedded server is used without a lease, because a lease might start or stop it.

    Raises:
        DatabaseUnavailableError: the database does not answer, or is too old.
        PgMagicError: the project's settings cannot be loaded, or its database is not Postgres.
    """
    _configure()
    backend.choice = Choice(make_conninfo(**running.conninfo)) if running else choice_from_environment()
    from django.db import connection

    if connection.vendor != "postgresql":
        raise PgMagicError(f"The project's database is {connection.display_name}; pgmagic needs Postgres.")
    try:
        connection.ensure_connection()
        check_version(connection)
        info = driver_connection(connection).info
        return Look(
            version=(info.parameter_status("server_version") or "unknown").split()[0],
            url=mask_url(info.dsn),
            schemas=schemas.own_schemas(connection),
        )
    except PgMagicError:
        raise
    except Error as error:
        reason = str(error).strip().splitlines()
        raise DatabaseUnavailableError(
            f"The project's database does not answer ({reason[0] if reason else 'no reason given'}): start it, or "
            f"correct the setting DATABASES."
        ) from error
    finally:
        connection.close()


def _configure() -> None:
    """Configure Django, for the project that the environment names or without a project."""
    module = os.environ.get(_PROJECT_VARIABLE)
    if module:
        # As with manage.py, the current folder is the project's.
        sys.path.insert(0, str(Path.cwd()))
    try:
        configure_django()
    except (ImportError, ImproperlyConfigured) as error:
        if not module:
            raise
        raise PgMagicError(
            f"The settings {module!r} that {_PROJECT_VARIABLE} names cannot be loaded ({error})."
        ) from error
