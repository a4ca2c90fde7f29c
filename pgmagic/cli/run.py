"""`pgmagic run`: execute notebooks and say which failed where."""

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
from pgmagic.cli.environment import ending_signals, prepare_environment
from pgmagic.cli.execute import Execution, execute
from pgmagic.cli.folders import chosen_notebooks
from pgmagic.cli.html_copies import check_names, write_html
from pgmagic.cli.report import show_execution, show_summary


def run(named: list[Path], *, html: Path | None, timeout: int) -> int:
    """Execute notebooks one after the other, each in a kernel of its own; return the exit code.

    Raises:
        PgMagicError: a notebook is not there, two would have one HTML file, or the database does not answer.
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
        with _progress(console) as progress:
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


def _progress(console: Console) -> Progress:
    """Return a progress bar, which shows nothing where there is no terminal."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("cells"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


@contextlib.contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """Let a request to end, or a closed terminal, end kernels and leases as Ctrl-C does."""
    # What is ignored stays so: that is how `nohup` works.
    former = {
        number: signal.signal(number, _interrupt)
        for number in ending_signals()
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _interrupt(*_: object) -> None:
    """Do what Ctrl-C does, also in a job in the background of a script, which ignores Ctrl-C itself."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)
