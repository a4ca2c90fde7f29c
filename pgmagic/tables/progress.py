"""A progress bar, shown on a terminal or in a notebook when something takes longer than two seconds."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

PATIENCE = 2.0
"""Seconds without a bar."""


class Bar:
    """Shows how much of something is done, once it has taken two seconds; nothing if the output is a file."""

    def __init__(self, description: str) -> None:
        self.description = description
        self.console: Console | None = None
        self.progress: Progress | None = None

    def __enter__(self) -> Self:
        self.started = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.progress is not None:
            self.progress.stop()

    def show(self, done: int, total: int) -> None:
        """Show that `done` of about `total` are done."""
        if self.progress is None:
            if time.monotonic() - self.started < PATIENCE:
                return
            self.progress = self._begin(total)
        # The total is an estimate, and may be too small.
        self.progress.update(self.task, completed=done, total=max(total, done))

    def _begin(self, total: int) -> Progress:
        # Imported only when a bar is needed: most reading ends earlier.
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = self.console or Console(stderr=True)
        progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            console=console, transient=True, disable=not (console.is_terminal or console.is_jupyter),
        )  # fmt: skip
        self.task = progress.add_task(self.description, total=total)
        progress.start()
        return progress
