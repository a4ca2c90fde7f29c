"""What a command and the kernels that it starts find around them."""

from __future__ import annotations

import os
import signal
import site
from pathlib import Path

import pgmagic
from pgmagic import server
from pgmagic.notebook.session import NOTEBOOK_VARIABLE
from pgmagic.server.layout import HOME_VARIABLE


def prepare_environment() -> None:
    """Let kernels find the same pgmagic and the same embedded server as this process."""
    # A kernel works in its notebook's folder, where a relative path would mean another place.
    os.environ[HOME_VARIABLE] = str(server.default_home())
    # One notebook's name must not become the name of them all.
    os.environ.pop(NOTEBOOK_VARIABLE, None)
    source = str(Path(pgmagic.__file__).parents[1].resolve())
    if source not in {*site.getsitepackages(), site.getusersitepackages()}:
        # Not installed but run from a checkout.
        former = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([source, former] if former else [source])


def ending_signals() -> list[signal.Signals]:
    """Return the signals by which others ask a program to end; Windows has one, and no closed terminals."""
    return [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
