"""pgmagic: declare Django models and Postgres triggers in a notebook cell, and see what they did."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from pgmagic import pghistory as pghistory
    from pgmagic import pgtrigger as pgtrigger
    from pgmagic.aliases import use_names
    from pgmagic.history.as_of import as_of
    from pgmagic.history.reading import diff, history
    from pgmagic.history.timeline import timeline
    from pgmagic.history.undo.undo_plan import undo_plan
    from pgmagic.history.verify import verify

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "as_of",
    "diff",
    "history",
    "load_ipython_extension",
    "timeline",
    "undo_plan",
    "unload_ipython_extension",
    "use_names",
    "verify",
]

# Imported when it is first used: most of it needs a configured Django.
_HOMES = {
    "as_of": "pgmagic.history.as_of",
    "diff": "pgmagic.history.reading",
    "history": "pgmagic.history.reading",
    "timeline": "pgmagic.history.timeline",
    "undo_plan": "pgmagic.history.undo.undo_plan",
    "use_names": "pgmagic.aliases",
    "verify": "pgmagic.history.verify",
}
_VOCABULARIES = ("pghistory", "pgtrigger")


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Load pgmagic into a kernel; IPython calls it for `%load_ext pgmagic`.

    It configures Django where the kernel has none, chooses the notebook's schema and registers the magics. It does not
    connect to the database yet.

    Args:
        shell: the kernel's shell.
    """
    from pgmagic.notebook.extension import load

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Undo what loading did; IPython calls it for `%unload_ext pgmagic`.

    Args:
        shell: the kernel's shell.
    """
    from pgmagic.notebook.extension import unload

    unload(shell)


class _Package(ModuleType):
    """The package: `pgmagic.history` stays the function when the room `pgmagic/history/` is imported.

    Source: https://docs.python.org/3/reference/datamodel.html#customizing-module-attribute-access
    """

    def __getattr__(self, name: str) -> object:
        if name in _VOCABULARIES:
            return import_module(f"pgmagic.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module 'pgmagic' has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)

    def __setattr__(self, name: str, value: object) -> None:
        # The import system sets each imported submodule on its package.
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted([*__all__, *_VOCABULARIES])


sys.modules[__name__].__class__ = _Package
