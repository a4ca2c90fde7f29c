"""`import pgtrigger` and `import pghistory`, led to pgmagic's: in cells, and in projects that list its apps.

So a project's code, and the migrations that it wrote with the upstream packages, work without a change.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_ALIASES = ("pgtrigger", "pghistory")


class _AliasLoader(Loader):
    """Hands out the module that an alias stands for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return pgmagic's module itself, so that its classes are the same under both names."""
        module = importlib.import_module(self.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Run nothing, since it ran under its own name; give it back the spec that the import machinery replaced."""
        module.__spec__ = self.spec


class AliasFinder(MetaPathFinder):
    """Finds some of `pgtrigger` and `pghistory`, with their submodules, in pgmagic."""

    def __init__(self, names: Collection[str] = _ALIASES) -> None:
        self.names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec for one of our aliases, None for every other name."""
        if fullname.partition(".")[0] not in self.names:
            return None
        try:
            importlib.import_module(f"pgmagic.{fullname}")
        except ModuleNotFoundError:
            return None
        return ModuleSpec(fullname, _AliasLoader(f"pgmagic.{fullname}"), is_package=True)


def add_aliases() -> list[str]:
    """Lead the imports to pgmagic; return the names of the real packages that are in use already, and stay."""
    real = [name for name in _ALIASES if name in sys.modules and not _is_ours(name)]
    free = [name for name in _ALIASES if name not in real]
    if free and not any(isinstance(finder, AliasFinder) for finder in sys.meta_path):
        # In front: an installed upstream package is not what a cell means.
        sys.meta_path.insert(0, AliasFinder(free))
        for name in free:
            importlib.import_module(name)
    return real


def remove_aliases() -> None:
    """Let the imports find what is installed again."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, AliasFinder)]
    for name in [name for name in sys.modules if name.partition(".")[0] in _ALIASES]:
        if _is_ours(name):
            del sys.modules[name]


def _is_ours(name: str) -> bool:
    return sys.modules[name] is sys.modules.get(f"pgmagic.{name}")
