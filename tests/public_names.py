"""The public names of pgmagic, for the tests of examples, of signatures and of the reference."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import FunctionType, ModuleType

import pandas as pd

import pgmagic
from pgmagic import pghistory, pgtrigger
from pgmagic.pghistory import middleware as history_middleware
from pgmagic.pghistory import models as history_models
from pgmagic.pghistory.event_queries import EventsQuerySet
from pgmagic.pgtrigger import migrations as trigger_migrations
from pgmagic.tables.frame import ResultFrame

# The packages, and the modules that users import from them.
PLACES: dict[str, tuple[ModuleType, list[str]]] = {
    "pgmagic": (pgmagic, pgmagic.__all__),
    "pgtrigger": (pgtrigger, pgtrigger.__all__),
    "pgtrigger.migrations": (trigger_migrations, ["AddTrigger", "RemoveTrigger"]),
    "pghistory": (pghistory, pghistory.__all__),
    "pghistory.middleware": (history_middleware, ["HistoryMiddleware"]),
    "pghistory.models": (history_models, ["Context", "Event", "Events", "MiddlewareEvents"]),
}

_ENDS = ("frame", "frames", "reading", "as_of", "timeline", "verify", "undo_plan", "exercise")
for found in pkgutil.walk_packages(pgmagic.__path__, "pgmagic."):
    if found.name.rpartition(".")[2].endswith(_ENDS):
        importlib.import_module(found.name)

# What public functions and magics return, `history.pgh`, and what `Events.objects` returns.
_FRAMES = [kind for kind in ResultFrame.__subclasses__() if kind.__module__.startswith("pgmagic.")]
RETURNED: dict[str, type] = {
    kind.__name__: kind
    for kind in [
        *sorted([ResultFrame, *_FRAMES], key=lambda kind: kind.__name__),
        pd.DataFrame.pgh,
        EventsQuerySet,
    ]
}


def public_names() -> dict[str, object]:
    """Return every public name with its value."""
    return {f"{place}.{name}": getattr(module, name) for place, (module, names) in PLACES.items() for name in names}


def public_callables() -> dict[str, object]:
    """Return the public functions and classes; one with two names is listed under the first."""
    found: dict[int, tuple[str, object]] = {}
    for name, value in public_names().items():
        if inspect.isclass(value) or inspect.isfunction(value):
            found.setdefault(id(value), (name, value))
    return dict(found.values())


def public_methods(kind: type) -> Iterator[tuple[str, object]]:
    """Yield the public methods and properties of a class by name, also those of bases that are not public."""
    public = [*public_callables().values(), *RETURNED.values()]
    own = [base for base in kind.__mro__ if base is kind or base not in public]
    names = {name for base in own if base.__module__.startswith("pgmagic.") for name in vars(base)}
    for name in sorted(names):
        value = inspect.getattr_static(kind, name)
        is_method = isinstance(value, FunctionType | classmethod | staticmethod | property)
        if is_method and not name.startswith("_"):
            yield name, value
