"""The database wrapper that Django finds under this engine's name."""

from __future__ import annotations

import psycopg
from django.db.backends.postgresql import base

from pgmagic.db import backend, schemas
from pgmagic.db.connect import check_version
from pgmagic.db.driver import DriverConnection
from pgmagic.errors import DatabaseUnavailableError


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's Postgres wrapper, which asks for its parameters at the first connection, and works in one schema."""

    @property
    def own_schema(self) -> str | None:
        """The notebook's schema, the only one in which pgmagic drops objects unasked; None if a project decides."""
        return backend.choice.schema

    def get_connection_params(self) -> dict[str, object]:
        """Return the parameters of the chosen database on top of Django's own."""
        chosen = backend.choice.parameters()
        self.settings_dict["NAME"] = chosen.get("dbname", "postgres")
        return super().get_connection_params() | chosen

    def get_new_connection(self, conn_params: dict[str, object]) -> DriverConnection:
        """Return a new psycopg connection.

        Raises:
            DatabaseUnavailableError: if no server answers; one line, without a password.
        """
        try:
            made: DriverConnection = super().get_new_connection(conn_params)
        except psycopg.OperationalError as error:
            raise DatabaseUnavailableError(
                f"Cannot connect to {backend.choice.describe()}: {' '.join(str(error).split())}. Check that the "
                f"server runs and the database exists, or choose another database with %pgconnect."
            ) from None
        return made

    def init_connection_state(self) -> None:
        """Check the server's version, and work in the notebook's schema."""
        super().init_connection_state()
        check_version(self)
        if backend.choice.schema:
            schemas.enter(self, backend.choice.schema)
