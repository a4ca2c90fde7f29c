"""Which database to use, and how to reach it.

`%pgconnect URL` > `PGMAGIC_DATABASE_URL` > the configured Django project's > an embedded Postgres. A plain
`DATABASE_URL`, which may well be production, is never picked up.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import conninfo
from psycopg.pq import TransactionStatus

from pgmagic import server
from pgmagic.db.driver import driver_connection, is_open, transaction_status
from pgmagic.errors import DatabaseUnavailableError

URL_VARIABLE = "PGMAGIC_DATABASE_URL"
MINIMUM_VERSION = 150000
_MASK = "***"
_NO_URL = (
    "This is not a database URL: expected postgresql://user:password@host:port/database, where an @, a slash or a "
    "colon in the password is written as %40, %2F or %3A."
)

# A server that executes a statement does not notice by itself that its client is gone, and the transaction keeps its
# locks until the statement ends. Not every platform supports the check, so an error of it is ignored.
# Source: https://www.postgresql.org/docs/current/runtime-config-connection.html (client_connection_check_interval)
LOOK_FOR_CLIENT = """
DO $$ BEGIN
  IF pg_catalog.current_setting('client_connection_check_interval') = '0' THEN
    PERFORM pg_catalog.set_config('client_connection_check_interval', '2s', true);
  END IF;
EXCEPTION WHEN OTHERS THEN NULL;
END $$"""


@dataclass(repr=False)
class Choice:
    """The database for which pgmagic configures Django itself: the one of a URL, or else the embedded server.

    schema: the notebook's own schema, made at the first connection.
    """

    url: str | None = None
    schema: str | None = None
    lease: server.Lease | None = None

    def __repr__(self) -> str:
        return f"<Choice: {self.describe()}>"

    def parameters(self) -> dict[str, object]:
        """Return the parameters of a psycopg connection; starts the embedded server if no URL was given.

        Raises:
            DatabaseUnavailableError: if the URL cannot be read, or the embedded server does not start.
        """
        if self.url:
            return parse_url(self.url)
        former, self.lease = self.lease, server.acquire()
        if former is not None:
            # After the new one, so that the server does not stop in between.
            former.release()
        return dict(self.lease.conninfo)

    def describe(self) -> str:
        """Return how to name the database in a message, without a password."""
        return mask_url(self.url) if self.url else "the embedded Postgres"

    def leave(self) -> None:
        """Release the embedded server, which stops when nobody else uses it."""
        if self.lease is not None:
            self.lease.release()
            self.lease = None


def choice_from_environment() -> Choice:
    """Return the choice that `PGMAGIC_DATABASE_URL` makes, or the embedded server."""
    return Choice(url=os.environ.get(URL_VARIABLE) or None)


def parse_url(url: str) -> dict[str, object]:
    """Return the parameters in a URL or a libpq connection string.

    Raises:
        DatabaseUnavailableError: if it is neither; the message does not repeat it, since it may hold a password.
    """
    try:
        parameters: dict[str, object] = {**conninfo.conninfo_to_dict(url)}
    except psycopg.ProgrammingError:
        raise DatabaseUnavailableError(_NO_URL) from None
    # A password with an @ or a slash in it is split, and its rest is taken for a host, a port or a name.
    ports = str(parameters.get("port") or "").replace(",", "")
    names = f"{parameters.get('host', '')}{parameters.get('dbname', '')}"
    if "@" in names or not (ports == "" or ports.isdecimal()):
        raise DatabaseUnavailableError(_NO_URL)
    return parameters


def mask_url(url: str) -> str:
    """Return a URL with `***` for its password."""
    try:
        parameters = parse_url(url)
    except DatabaseUnavailableError:
        return _MASK
    user = parameters.get("user", "")
    password = f":{_MASK}" if parameters.get("password") else ""
    at = "@" if user or password else ""
    host = str(parameters.get("host", ""))
    port = f":{parameters['port']}" if parameters.get("port") else ""
    if host.startswith("/"):
        return f"postgresql://{user}{password}{at}/{parameters.get('dbname', '')}?host={host}"
    return f"postgresql://{user}{password}{at}{host}{port}/{parameters.get('dbname', '')}"


def check_version(connection: BaseDatabaseWrapper) -> None:
    """Check that the version of the server is supported.

    Raises:
        DatabaseUnavailableError: if it is older than Postgres 15.
    """
    version = driver_connection(connection).info.server_version
    if version < MINIMUM_VERSION:
        raise DatabaseUnavailableError(f"This server is Postgres {version // 10000}; pgmagic needs 15 or newer.")


def is_alive(connection: BaseDatabaseWrapper) -> bool:
    """Return whether an open connection still answers; a connection that was never made counts as alive."""
    if connection.connection is None:
        return True
    if not is_open(connection):
        return False
    # A transaction in error refuses every question; ending it is up to the user.
    return transaction_status(connection) == TransactionStatus.INERROR or connection.is_usable()
