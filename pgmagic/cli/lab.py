"""`pgmagic lab`: JupyterLab, with the database running for as long as it does."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pgmagic
from pgmagic.cli import database
from pgmagic.cli.environment import prepare_environment
from pgmagic.cli.folders import notebooks_folder


def lab(jupyter_arguments: list[str]) -> int:
    """Start the database, run JupyterLab on the notebooks until it is stopped, and return the exit code.

    Raises:
        DatabaseUnavailableError: the database does not start, or does not answer.
    """
    prepare_environment()
    folder = notebooks_folder() or Path.cwd()
    with database.held() as which:
        print(f"pgmagic {pgmagic.__version__}: {which}.", flush=True)
        print(f"JupyterLab opens on {folder}; Ctrl-C, twice, stops it.", flush=True)
        os.chdir(folder)
        _run_jupyterlab([*_own_arguments(folder), *jupyter_arguments])
    return 0


def _own_arguments(folder: Path) -> list[str]:
    """Return the arguments that come before the user's own, which win."""
    arguments = []
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # Jupyter refuses root unless told otherwise; a container or a CI machine has nobody else.
        arguments.append("--allow-root")
    first = min(folder.glob("00_*.ipynb"), default=None)
    if first is not None:
        arguments.append(f"--LabApp.default_url=/lab/tree/{first.name}")
    return arguments


def _run_jupyterlab(arguments: list[str]) -> None:
    """Run JupyterLab in this process, which is thus the one that Ctrl-C and SIGTERM reach."""
    from jupyterlab.labapp import LabApp  # type: ignore[import-untyped]

    for name in ("SIGHUP", "SIGINT"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            # A closed terminal, and an interrupt without one, stop Jupyter as SIGTERM does, so that the database is
            # left in good order. At a terminal Jupyter asks before it heeds Ctrl-C; else Python would raise
            # KeyboardInterrupt in whatever callback runs just now, which may swallow it.
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGTERM))
    LabApp.launch_instance(argv=arguments)
