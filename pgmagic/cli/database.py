"""The database that a command works on: held while notebooks run, or looked at without starting it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import Error
from psycopg.conninfo import make_conninfo

from pgmagic import server as embedded
from pgmagic.db import backend, schemas
from pgmagic.db.connect import URL_VARIABLE, Choice, check_version, choice_from_environment, mask_url
from pgmagic.errors import DatabaseUnavailableError, PgMagicError
from pgmagic.notebook.django_setup import configure_django
from pgmagic.server import parameters as embedded_settings
from pgmagic.server.sockets import PORT

_PROJECT_VARIABLE = "DJANGO_SETTINGS_MODULE"


@dataclass(frozen=True)
class Look:
    """What a database says of itself.

    url: without a password.
    schemas: those that pgmagic created.
    """

    version: str
    url: str
    schemas: list[str]


def is_embedded() -> bool:
    """Return whether notebooks work on the embedded server, since neither a URL nor a project names a database."""
    return not os.environ.get(URL_VARIABLE) and not os.environ.get(_PROJECT_VARIABLE)


@contextlib.contextmanager
def held() -> Iterator[str]:
    """Keep the embedded server running, or check that the named database answers; yield which it is.

    Raises:
        DatabaseUnavailableError: it does not start, or does not answer.
    """
    if not is_embedded():
        found = look()
        yield f"Postgres {found.version} at {found.url}"
        return
    with embedded.acquire() as lease:
        for note in lease.notes:
            print(note, file=sys.stderr)
        yield f"embedded Postgres {embedded.status().version}, data in {embedded.default_home()}"


def look(server: embedded.ServerInfo | None = None) -> Look:
    """Connect once and return what the database says; `server` is an embedded one that runs already.

    Raises:
        DatabaseUnavailableError: it does not answer, or is too old.
        PgMagicError: the project's settings cannot be loaded, or its database is not Postgres.
    """
    _configure()
    backend.choice = Choice(_url_of(server)) if server else choice_from_environment()
    from django.db import connection

    if connection.vendor != "postgresql":
        raise PgMagicError(f"The project's database is {connection.display_name}; pgmagic needs Postgres.")
    try:
        connection.ensure_connection()
        check_version(connection)
        info: Any = connection.connection.info
        return Look(
            version=info.parameter_status("server_version").split()[0],
            url=mask_url(info.dsn),
            schemas=schemas.own_schemas(connection),
        )
    except PgMagicError:
        raise
    except Error as error:
        reason = str(error).strip().splitlines()
        raise DatabaseUnavailableError(
            f"The project's database does not answer ({reason[0] if reason else 'no reason given'}): start it, or "
            f"correct its DATABASES setting."
        ) from error
    finally:
        connection.close()


def _configure() -> None:
    """Make Django ready, for the project that the environment names or for none."""
    module = os.environ.get(_PROJECT_VARIABLE)
    if module:
        # As manage.py has it: the project is the folder that the command is called in.
        sys.path.insert(0, str(Path.cwd()))
    try:
        configure_django()
    except (ImportError, ImproperlyConfigured) as error:
        if not module:
            raise
        raise PgMagicError(
            f"The settings {module!r} that {_PROJECT_VARIABLE} names cannot be loaded ({error})."
        ) from error


def _url_of(server: embedded.ServerInfo) -> str:
    """Return how to connect to an embedded server that runs, without a lease, which might start or stop it."""
    return make_conninfo(
        host=str(server.socket_directory),
        hostaddr="",
        port=PORT,
        user=embedded_settings.ROLE,
        dbname=embedded_settings.DATABASE,
    )
