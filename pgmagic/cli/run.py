"""`pgmagic run`: execute notebooks and report which failed, and where."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pgmagic.cli import database
from pgmagic.cli.environment import prepare_environment
from pgmagic.cli.execute import Execution, execute
from pgmagic.cli.folders import chosen_notebooks
from pgmagic.cli.html_copies import check_names, write_html
from pgmagic.cli.report import show_execution, show_summary


def run(named: list[Path], *, html: Path | None, timeout: int) -> int:
    """Execute notebooks one after the other, each in a kernel of its own; return the exit code.

    Raises:
        PgMagicError: a notebook does not exist, two would have the same HTML file, or the database does not answer.
    """
    paths = chosen_notebooks(named)
    if html is not None:
        check_names(paths)
    prepare_environment()
    console = Console(highlight=False)
    started = time.perf_counter()
    done: list[Execution] = []
    with _ended_like_ctrl_c(), database.held() as which:
        console.print(f"pgmagic: {which}", markup=False, soft_wrap=True)
        # Without a terminal the bar shows nothing.
        with Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("cells"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ) as progress:
            for path in paths:
                done.append(_execute_one(path, timeout, progress))
                show_execution(progress.console, done[-1])
                if html is not None:
                    write_html(done[-1], html)
    show_summary(console, done, time.perf_counter() - started)
    return 1 if any(each.failure for each in done) else 0


def _execute_one(path: Path, timeout: int, progress: Progress) -> Execution:
    """Execute one notebook, with a bar that counts its cells."""
    bar = progress.add_task(path.name, total=None)
    try:
        return asyncio.run(
            execute(path, timeout, lambda done, total: progress.update(bar, completed=done, total=total))
        )
    finally:
        progress.remove_task(bar)


@contextlib.contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """Make a request to end, or a closed terminal, end kernels and leases as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        # A background job of a script ignores Ctrl-C itself, but not a request to end.
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    former = {}
    # Windows has no signal for a closed terminal.
    for number in [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]:
        # A signal that is ignored stays ignored, as `nohup` needs.
        if signal.getsignal(number) is not signal.SIG_IGN:
            former[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
