"""Interrupts that come too late: what is being committed, or taken back, is brought to its end first."""

from __future__ import annotations

import signal
import threading
from contextlib import AbstractContextManager
from typing import Any


class Shield(AbstractContextManager["Shield"]):
    """A block at whose end, from `begin` on, an interrupt has no effect; a second one has.

    Between COMMIT and the last step in Python, an interrupt would leave the database changed and the kernel as it was.
    """

    def __init__(self) -> None:
        self._former: Any = None

    def begin(self) -> None:
        """Let the next interrupt pass by; where signals are not handled here, nothing is changed."""
        if self._former is None and threading.current_thread() is threading.main_thread():
            self._former = signal.getsignal(signal.SIGINT)
            if self._former is not None:
                signal.signal(signal.SIGINT, self._pass_by)

    def __exit__(self, *_exception: object) -> None:
        if self._former is not None:
            signal.signal(signal.SIGINT, self._former)
            self._former = None

    def _pass_by(self, _number: int, _frame: object) -> None:
        # Whoever asks twice does not want to wait: for a COMMIT, say, that a standby has to confirm.
        signal.signal(signal.SIGINT, self._former)
