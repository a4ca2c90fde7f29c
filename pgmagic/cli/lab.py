"""`pgmagic lab`: JupyterLab, with a database that runs for as long as JupyterLab does."""

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
        arguments = []
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            # By default Jupyter refuses root, but a container or a CI machine often has no other user.
            arguments.append("--allow-root")
        first = min(folder.glob("00_*.ipynb"), default=None)
        if first is not None:
            arguments.append(f"--LabApp.default_url=/lab/tree/{first.name}")
        # The user's own arguments come last and therefore take precedence.
        _run_jupyterlab([*arguments, *jupyter_arguments])
    return 0


def _run_jupyterlab(arguments: list[str]) -> None:
    """Run JupyterLab in this process, so that Ctrl-C and SIGTERM reach it."""
    from jupyterlab.labapp import LabApp  # type: ignore[import-untyped]

    for name in ("SIGHUP", "SIGINT"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            # A closed terminal, and an interrupt without a terminal, stop Jupyter as SIGTERM does, so that the
            # database is stopped properly. At a terminal Jupyter asks before Ctrl-C stops it; otherwise Python would
            # raise KeyboardInterrupt in the callback that runs at the moment, which may ignore it.
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGTERM))
    LabApp.launch_instance(argv=arguments)
