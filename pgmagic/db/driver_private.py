"""The parts of psycopg that its documentation does not promise, each used through one function of pgmagic's.

`tests/db/test_driver_private.py` fails if an upgrade of psycopg takes one of them away.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import psycopg

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult


class ConnectionLock(Protocol):
    """What psycopg does with the lock under which it sends every command of a connection."""

    def __enter__(self) -> object:
        """Take the lock."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> object:
        """Give the lock back."""


def replace_lock(raw: psycopg.Connection[Any], lock: ConnectionLock) -> None:
    """Let psycopg take another lock before each command of a connection. Not while a command is running."""
    raw.lock = lock  # type: ignore[assignment]


def all_results(cursor: psycopg.Cursor[Any]) -> Sequence[PGresult]:
    """Return the result of each statement that the cursor executed last; `nextset()` would lose the earlier ones."""
    return cursor._results


def drop_last_results(cursor: psycopg.Cursor[Any], count: int) -> None:
    """Keep the results of the last statements of a text from whoever reads the cursor."""
    del cursor._results[-count:]
