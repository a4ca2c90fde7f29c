"""What pgmagic adds to every Postgres connection of Django's when it is made."""

from __future__ import annotations

from types import TracebackType

import psycopg.errors
from django.conf import settings
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.utils import DatabaseErrorWrapper

from pgmagic.db.runtime.attaching import attach
from pgmagic.errors import TriggerError


class _TriggerErrorWrapper(DatabaseErrorWrapper):
    """Django's wrapper, except that the error of a trigger becomes one of both classes that user code catches."""

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(exc_value, psycopg.errors.RaiseException):
            raise TriggerError(*exc_value.args).with_traceback(traceback) from exc_value
        if exc_type is not None:
            super().__exit__(exc_type, exc_value, traceback)


def prepare(connection: BaseDatabaseWrapper, **_signal: object) -> None:
    """Let a connection send this task's settings to the server, and raise `TriggerError` if a trigger rejects."""
    if connection.vendor != "postgresql":
        return
    connection.__dict__["wrap_database_errors"] = _TriggerErrorWrapper(connection)
    attach(connection)


def prepare_every_connection() -> None:
    """Prepare each connection when it is made, and those that are open already.

    Settings are not read while they are being loaded: a settings module may import the vocabularies, and no connection
    is open by then.
    """
    connection_created.connect(prepare, dispatch_uid="pgmagic.prepare")
    if not settings.configured:
        return
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            prepare(connection)
