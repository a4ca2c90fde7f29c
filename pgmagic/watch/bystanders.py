"""What a watched cell could do to those beside it: other threads, other sessions, and the cells that come later."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.backends.signals import connection_created

from pgmagic.db import backend
from pgmagic.db.connect import LOOK_FOR_CLIENT
from pgmagic.watch.instruments import LOCK_TIMEOUT
from pgmagic.watch.past_django import unwatched


@contextmanager
def other_threads_bounded(notes: list[str]) -> Iterator[None]:
    """Bound the time for which connections that other threads make inside the block wait for a lock, and note them."""
    own, told = threading.get_ident(), False

    def bound(sender: Any, connection: Any, **_: Any) -> None:
        nonlocal told
        if threading.get_ident() == own or connection.vendor != "postgresql":
            return
        with unwatched(connection.connection) as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", [LOCK_TIMEOUT])
        if not told:
            told = True
            notes.append(
                "Another thread worked on a connection of its own: what it did is not in this table, and not in this "
                "cell's transaction."
            )

    connection_created.connect(bound, weak=False)
    try:
        yield
    finally:
        connection_created.disconnect(bound)


def give_up_with_client(raw: Any) -> None:
    """Let the server end the transaction within seconds if the kernel is killed, also in the middle of a statement."""
    with unwatched(raw) as cursor:
        cursor.execute(LOOK_FOR_CLIENT)


class Path:
    """The `search_path` in which a cell began; where pgmagic chose it, later cells find it as it was."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.before = (
            self._execute("SELECT current_setting('search_path')") if backend.choice.schema else None
        )

    def restore(self) -> list[str]:
        """Set it back for what comes behind the cell; return a sentence if the cell had changed it."""
        if self.before is None:
            return []
        changed = self._execute(
            "SELECT set_config('search_path', %s, false) WHERE current_setting('search_path') <> %s",
            [self.before, self.before],
        )
        return [f"The cell changed search_path; it is {self.before} again."] if changed else []

    def _execute(self, statement: str, params: Any = None) -> str | None:
        with unwatched(self.raw) as cursor:
            cursor.execute(statement, params)
            row = cursor.fetchone()
        return row[0] if row else None
