"""Make `import pgtrigger` and `import pghistory` import pgmagic's modules, in cells and in projects that list its apps.

A project's code, and the migrations that it made with the upstream packages, then work without a change.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from pgmagic.errors import NamesTakenError

_ALIASES = ("pgtrigger", "pghistory")


class _AliasLoader(Loader):
    """Loads the module of pgmagic for an alias."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return pgmagic's own module, so that its classes are the same under both names."""
        module = importlib.import_module(self.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Restore the spec that the import machinery replaced; the module already ran under its own name."""
        module.__spec__ = self.spec


class AliasFinder(MetaPathFinder):
    """Finds `pgtrigger`, `pghistory` and their submodules in pgmagic; `names` limits it to some of them."""

    def __init__(self, names: Collection[str] = _ALIASES) -> None:
        self.names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for an alias, None for every other name."""
        if fullname.partition(".")[0] not in self.names:
            return None
        try:
            importlib.import_module(f"pgmagic.{fullname}")
        except ModuleNotFoundError:
            return None
        return ModuleSpec(fullname, _AliasLoader(f"pgmagic.{fullname}"), is_package=True)


def add_aliases() -> list[str]:
    """Add the aliases; return the names of upstream packages that were imported before, and keep their names."""
    real = [name for name in _ALIASES if name in sys.modules and not _is_ours(name)]
    free = [name for name in _ALIASES if name not in real]
    if free and not any(isinstance(finder, AliasFinder) for finder in sys.meta_path):
        # First, because a cell means pgmagic even if an upstream package is installed.
        sys.meta_path.insert(0, AliasFinder(free))
        for name in free:
            importlib.import_module(name)
    return real


def use_names() -> None:
    """Make `import pgtrigger` and `import pghistory` import pgmagic's modules in this process from now on.

    A project needs it only in a file that imports these names before Django loads the project's apps: a settings
    module, `manage.py`, `wsgi.py`. Listing `pgmagic.pgtrigger` in INSTALLED_APPS does the same when the apps are
    loaded. It reads no setting, opens no connection, and may be called again.

    Raises:
        NamesTakenError: if django-pgtrigger or django-pghistory was imported before.

    Example:
        >>> import pgmagic
        >>> pgmagic.use_names()
        >>> import pghistory
        >>> pghistory.__name__
        'pgmagic.pghistory'
    """
    taken = add_aliases()
    if taken:
        raise NamesTakenError(
            f"use_names() was called too late: {' and '.join(f'django-{name}' for name in taken)} was imported before. "
            f"Call it before the first import of these names."
        )


def remove_aliases() -> None:
    """Remove the aliases, so that imports find installed packages again."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, AliasFinder)]
    for name in [name for name in sys.modules if name.partition(".")[0] in _ALIASES]:
        if _is_ours(name):
            del sys.modules[name]


def _is_ours(name: str) -> bool:
    return sys.modules[name] is sys.modules.get(f"pgmagic.{name}")
