"""The environment of a command and of the kernels that it starts."""

from __future__ import annotations

import os
import site
from pathlib import Path

import pgmagic
from pgmagic import server
from pgmagic.notebook.session import NOTEBOOK_VARIABLE
from pgmagic.server.layout import HOME_VARIABLE


def prepare_environment() -> None:
    """Set environment variables so that kernels find the same pgmagic and the same embedded server as this process."""
    # A kernel runs in its notebook's folder, where a relative path would name another place.
    os.environ[HOME_VARIABLE] = str(server.default_home())
    # The name of one notebook must not become the name of all.
    os.environ.pop(NOTEBOOK_VARIABLE, None)
    source = str(Path(pgmagic.__file__).parents[1].resolve())
    if source not in {*site.getsitepackages(), site.getusersitepackages()}:
        # pgmagic is not installed but runs from a checkout.
        former = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([source, former] if former else [source])
