"""pgmagic: declare Django models and Postgres triggers in a notebook cell, and see what they did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__version__ = "0.1.0"

# What needs a configured Django is imported when it is first asked for.
_LAZY = dict.fromkeys(("history", "diff", "as_of", "timeline", "undo_plan", "verify"), "pgmagic.reading")


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'pgmagic' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Load pgmagic into a kernel: `%load_ext pgmagic`."""
    from pgmagic.notebook.extension import load

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Undo what loading did: `%unload_ext pgmagic`."""
    from pgmagic.notebook.extension import unload

    unload(shell)
