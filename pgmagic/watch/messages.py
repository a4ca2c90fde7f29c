"""What the server sends beside its answers: NOTICE, WARNING, RAISE INFO."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg.errors import Diagnostic

# A flood of messages is counted, not kept.
_MOST_MESSAGES = 1000


class Messages:
    """The server's messages since they were last taken; those about pgmagic's own statements are left out."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._left_out = 0
        self._quiet = 0

    def __call__(self, diag: Diagnostic) -> None:
        """Keep a message; a connection's notice handler."""
        if self._quiet:
            return
        if len(self._lines) == _MOST_MESSAGES:
            self._left_out += 1
        else:
            self._lines.append(f"{diag.severity_nonlocalized}: {diag.message_primary}")

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """Leave out the messages that arrive inside the block."""
        self._quiet += 1
        try:
            yield
        finally:
            self._quiet -= 1

    def take(self) -> list[str]:
        """Return the messages since the last call, one line each."""
        lines = self._lines + ([f"and {self._left_out:,} more messages"] if self._left_out else [])
        self._lines, self._left_out = [], 0
        return lines
