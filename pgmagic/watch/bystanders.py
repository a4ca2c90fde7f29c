"""What a watched cell could do to others: to other sessions, to other threads, and to the cells that come later."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from pgmagic.compile.sql import compose, literal, render
from pgmagic.db import backend
from pgmagic.db.connect import LOOK_FOR_CLIENT
from pgmagic.db.driver import DriverConnection, driver_connection
from pgmagic.watch.driver_cursors import unwatched

LOCK_TIMEOUT = "3s"
"""How long to wait for other sessions: putting probes on a table holds up writers, taking them off readers as well."""

LIMIT_LOCK_WAITS = render(compose("SET LOCAL lock_timeout = ", literal(LOCK_TIMEOUT)))
"""The statement after which the transaction waits no longer than that for any lock."""


def limit_lock_waits(raw: DriverConnection) -> None:
    """Limit the time for which the transaction waits for a lock, unless the user has."""
    with unwatched(raw) as cursor:
        cursor.execute(
            "SELECT set_config('lock_timeout', %s, true) WHERE current_setting('lock_timeout') = '0'", [LOCK_TIMEOUT]
        )


@contextmanager
def other_threads_limited(notes: list[str]) -> Iterator[None]:
    """Limit the time for which connections that other threads make in the block wait for a lock, and note them."""
    own, is_noted = threading.get_ident(), False

    def limit(connection: BaseDatabaseWrapper, **_: object) -> None:
        nonlocal is_noted
        if threading.get_ident() == own or connection.vendor != "postgresql":
            return
        with unwatched(driver_connection(connection)) as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", [LOCK_TIMEOUT])
        if not is_noted:
            is_noted = True
            notes.append(
                "Another thread worked on a connection of its own: what it did is not in this table, and not in this "
                "cell's transaction."
            )

    connection_created.connect(limit, weak=False)
    try:
        yield
    finally:
        connection_created.disconnect(limit)


def give_up_with_client(raw: DriverConnection) -> None:
    """Let the server end the transaction within seconds if the kernel is killed, also in the middle of a statement."""
    with unwatched(raw) as cursor:
        cursor.execute(LOOK_FOR_CLIENT)


class SearchPath:
    """The `search_path` with which a cell began; where pgmagic chose it, later cells get it back."""

    def __init__(self, raw: DriverConnection) -> None:
        self.raw = raw
        self.before = self._execute("SELECT current_setting('search_path')") if backend.choice.schema else None

    def restore(self) -> list[str]:
        """Set it back for the cells that follow; return a sentence if the cell had changed it."""
        if self.before is None:
            return []
        changed = self._execute(
            "SELECT set_config('search_path', %s, false) WHERE current_setting('search_path') <> %s",
            [self.before, self.before],
        )
        return [f"The cell changed search_path; it is {self.before} again."] if changed else []

    def _execute(self, statement: str, params: Sequence[str] = ()) -> str | None:
        with unwatched(self.raw) as cursor:
            cursor.execute(statement, params)
            row = cursor.fetchone()
        return row[0] if row else None
