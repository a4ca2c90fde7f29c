"""The history vocabulary: `from pgmagic import pghistory`, or `import pghistory` in a notebook.

The names, signatures and semantics are those of django-pghistory 3.9, and the older event names of its tutorials;
the implementation is pgmagic's own.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from pgmagic import __version__
from pgmagic.compile import event_bodies, hash_chain  # noqa: F401 - register the bodies of event triggers
from pgmagic.db.prepare import prepare_every_connection
from pgmagic.db.runtime.context import context
from pgmagic.declare import doors
from pgmagic.declare.conditions import AllChange, AllDontChange, AnyChange, AnyDontChange, Condition, F, Q
from pgmagic.declare.event_fields import (
    DEFAULT,
    ContextForeignKey,
    ContextJSONField,
    ContextUUIDField,
    Field,
    ForeignKey,
    ObjForeignKey,
    RelatedField,
)
from pgmagic.declare.event_models import create_event_model, track
from pgmagic.declare.event_trigger import New, Old
from pgmagic.declare.model_types import Model
from pgmagic.declare.proxy_fields import ProxyField
from pgmagic.declare.trackers import (
    AfterInsert,
    AfterInsertOrUpdate,
    AfterUpdate,
    BeforeDelete,
    BeforeUpdate,
    BeforeUpdateOrDelete,
    DeleteEvent,
    InsertEvent,
    ManualEvent,
    RowEvent,
    Snapshot,
    Tracker,
    UpdateEvent,
)
from pgmagic.declare.vocabulary import Delete, Insert, Row, Statement, Update
from pgmagic.history.backfill import backfill
from pgmagic.history.partitioning import create_partitions
from pgmagic.history.pruning import prune_events
from pgmagic.history.recording import create_event


def _event_base() -> Model:
    """Return the abstract model that event models are made from; models are loaded when Django is ready for them."""
    from pgmagic.pghistory.models import Event

    return Event


doors.event_base.supply(_event_base)
prepare_every_connection()

__all__ = [
    "DEFAULT", "AfterInsert", "AfterInsertOrUpdate", "AfterUpdate", "AllChange", "AllDontChange", "AnyChange",
    "AnyDontChange", "BeforeDelete", "BeforeUpdate", "BeforeUpdateOrDelete", "Condition", "ContextForeignKey",
    "ContextJSONField", "ContextUUIDField", "Delete", "DeleteEvent", "F", "Field", "ForeignKey", "Insert",
    "InsertEvent", "ManualEvent", "New", "ObjForeignKey", "Old", "ProxyField", "Q", "RelatedField", "Row",
    "RowEvent", "Snapshot", "Statement", "Tracker", "Update", "UpdateEvent", "__version__", "backfill", "context",
    "create_event", "create_event_model", "create_partitions", "prune_events", "track",
]  # fmt: skip

# Modules that code written for django-pghistory uses as attributes of the package.
_MODULES = ("config", "constants", "core", "runtime", "trigger", "utils")


def __getattr__(name: str) -> ModuleType:
    """Return a module of the package that nothing has imported yet."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    """Return the vocabulary, for completion; the modules of this package stay importable."""
    return __all__
