"""Which database, and how to reach it.

`%pgconnect URL` > `PGMAGIC_DATABASE_URL` > the configured Django project's > an embedded Postgres. A plain
`DATABASE_URL`, which may well be production, is never picked up.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import conninfo
from psycopg.pq import TransactionStatus

from pgmagic import server
from pgmagic.errors import DatabaseUnavailableError

URL_VARIABLE = "PGMAGIC_DATABASE_URL"
MINIMUM_VERSION = 150000
_MASK = "***"
_NO_URL = (
    "This is no database URL: expected postgresql://user:password@host:port/database, where an @, a slash or a colon "
    "in the password is written as %40, %2F or %3A."
)

# A server that is busy with a statement does not notice by itself that its client is gone, and what the transaction has
# locked stays so until the statement ends. Not every platform can look, so that a refusal says nothing.
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
    """The database that a process of pgmagic's own configuration works on: a URL, or else the embedded server.

    schema: the notebook's own schema, made at the first connection.
    """

    url: str | None = None
    schema: str | None = None
    lease: server.Lease | None = None

    def __repr__(self) -> str:
        return f"<Choice: {self.describe()}>"

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of a psycopg connection; starts the embedded server where no URL was given.

        Raises:
            DatabaseUnavailableError: the URL cannot be read, or the embedded server not started.
        """
        if self.url:
            return parse_url(self.url)
        former, self.lease = self.lease, server.acquire()
        if former is not None:
            # Behind the new one, so that the server does not stop in between.
            former.release()
        return dict(self.lease.conninfo)

    def describe(self) -> str:
        """Return what to call it, without a password."""
        return mask_url(self.url) if self.url else "the embedded Postgres"

    def leave(self) -> None:
        """Give up the embedded server, which stops when nobody else uses it."""
        if self.lease is not None:
            self.lease.release()
            self.lease = None


def choice_from_environment() -> Choice:
    """Return the choice that `PGMAGIC_DATABASE_URL` makes, or the embedded server."""
    return Choice(url=os.environ.get(URL_VARIABLE) or None)


def parse_url(url: str) -> dict[str, Any]:
    """Return the parameters in a URL or a libpq connection string.

    Raises:
        DatabaseUnavailableError: it is neither; the message does not repeat it, since it may hold a password.
    """
    try:
        parameters = dict(conninfo.conninfo_to_dict(url))
    except psycopg.ProgrammingError:
        raise DatabaseUnavailableError(_NO_URL) from None
    if _holds_rest_of_password(parameters):
        raise DatabaseUnavailableError(_NO_URL)
    return parameters


def _holds_rest_of_password(parameters: dict[str, Any]) -> bool:
    """Return whether a password with an @ or a slash in it was taken apart, and its rest for a host, port or name."""
    ports = str(parameters.get("port") or "").replace(",", "")
    names = f"{parameters.get('host', '')}{parameters.get('dbname', '')}"
    return "@" in names or not (ports == "" or ports.isdecimal())


def mask_url(url: str) -> str:
    """Return a URL with `***` for its password."""
    try:
        parameters = parse_url(url)
    except DatabaseUnavailableError:
        return _MASK
    user = parameters.get("user", "")
    password = f":{_MASK}" if parameters.get("password") else ""
    at = "@" if user or password else ""
    host = parameters.get("host", "")
    port = f":{parameters['port']}" if parameters.get("port") else ""
    if host.startswith("/"):
        return f"postgresql://{user}{password}{at}/{parameters.get('dbname', '')}?host={host}"
    return f"postgresql://{user}{password}{at}{host}{port}/{parameters.get('dbname', '')}"


def check_version(connection: BaseDatabaseWrapper) -> None:
    """Check that the server is one of those that are supported.

    Raises:
        DatabaseUnavailableError: it is older than Postgres 15.
    """
    raw: Any = connection.connection
    if raw.info.server_version < MINIMUM_VERSION:
        raise DatabaseUnavailableError(
            f"This server is Postgres {raw.info.server_version // 10000}; pgmagic needs 15 or newer."
        )


def is_alive(connection: BaseDatabaseWrapper) -> bool:
    """Return whether an open connection still answers; a connection that was never made counts as alive."""
    raw: Any = connection.connection
    if raw is None:
        return True
    if raw.closed:
        return False
    # In a transaction in error every question is refused; it is the user's to end.
    return raw.info.transaction_status == TransactionStatus.INERROR or connection.is_usable()
