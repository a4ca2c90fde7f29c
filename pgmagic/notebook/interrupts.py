"""Interrupts that come too late: a commit or a rollback that has begun is finished first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FrameType

Handler = Callable[[int, FrameType | None], object] | int | None


class Shield(AbstractContextManager["Shield"]):
    """A block that ignores the first interrupt after `begin`; a second interrupt has its usual effect.

    Between COMMIT and the last step in Python, an interrupt would leave the database changed and the kernel as it was.
    """

    def __init__(self) -> None:
        self._former: Handler = None

    def begin(self) -> None:
        """Ignore the next interrupt; changes nothing in a thread that does not handle signals."""
        if self._former is None and threading.current_thread() is threading.main_thread():
            self._former = signal.getsignal(signal.SIGINT)
            if self._former is not None:
                signal.signal(signal.SIGINT, self.ignore_once)

    def __exit__(self, *_exception: object) -> None:
        if self._former is not None:
            signal.signal(signal.SIGINT, self._former)
            self._former = None

    def ignore_once(self, _number: int, _frame: object) -> None:
        """Handle the first interrupt; a user who interrupts again does not want to wait, say for a standby."""
        signal.signal(signal.SIGINT, self._former)
