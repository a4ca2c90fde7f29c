"""Django's Postgres backend without a connection: it renders SQL and refuses to connect."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NoReturn

from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.backends.postgresql.operations import DatabaseOperations

from pgmagic.compile.sql import merge

# The oldest server that is supported; what is compiled for it runs on every newer one.
OLDEST_VERSION = 150000


class OfflineOperations(DatabaseOperations):
    """Operations that merge parameters into a statement without asking a server."""

    def compose_sql(self, sql: str, params: Sequence[object] | None) -> str:
        """Return the statement with its parameters as literals."""
        # Without parameters a percent sign is no placeholder, such as one in a comment.
        return merge(sql, params) if params else sql


class OfflineConnection(DatabaseWrapper):
    """A Postgres backend that never connects."""

    ops_class = OfflineOperations

    def __init__(self, server_version: int) -> None:
        super().__init__({"NAME": "offline", "TIME_ZONE": None, "OPTIONS": {}, "AUTOCOMMIT": True}, alias="default")
        # A cached property that would ask the server.
        self.__dict__["pg_version"] = server_version

    def connect(self) -> NoReturn:
        """Refuse: the compiler never connects."""
        raise RuntimeError("The compiler asked for a connection, but it has to work without a connection.")


@lru_cache(maxsize=8)
def offline_connection(server_version: int = OLDEST_VERSION) -> OfflineConnection:
    """Return the unconnected backend for a server's version, such as 180006."""
    return OfflineConnection(server_version)
