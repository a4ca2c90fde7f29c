"""The trigger vocabulary: `from pgmagic import pgtrigger`, or `import pgtrigger` in a notebook.

The names, signatures and semantics are those of django-pgtrigger 4.17; the implementation is pgmagic's own.
"""

from importlib import import_module
from types import ModuleType

from pgmagic import __version__
from pgmagic.db.installation import disable, enable, install, prunable, prune, uninstall
from pgmagic.db.prepare import prepare_every_connection
from pgmagic.db.runtime.constraints import constraints
from pgmagic.db.runtime.ignore import ignore, is_ignored
from pgmagic.db.runtime.search_path import schema
from pgmagic.db.services import DeclarationCompiler, LiveDatabase
from pgmagic.declare import doors
from pgmagic.declare.composer import Composer
from pgmagic.declare.conditions import (
    AllChange,
    AllDontChange,
    AnyChange,
    AnyDontChange,
    Condition,
    F,
    IsDistinctFrom,
    IsNotDistinctFrom,
    Q,
)
from pgmagic.declare.fsm import FSM
from pgmagic.declare.ready_made import Protect, ReadOnly, SoftDelete, UpdateSearchVector
from pgmagic.declare.registration import allow_meta_triggers, register
from pgmagic.declare.registry import registered
from pgmagic.declare.templates import Func
from pgmagic.declare.trigger import Trigger
from pgmagic.declare.vocabulary import (
    After,
    Before,
    Deferred,
    Delete,
    Immediate,
    Insert,
    InsteadOf,
    Level,
    Operation,
    Operations,
    Referencing,
    Row,
    Statement,
    Timing,
    Truncate,
    Update,
    UpdateOf,
    When,
)

doors.compiler.supply(DeclarationCompiler())
doors.database.supply(LiveDatabase())
allow_meta_triggers()
prepare_every_connection()

__all__ = [
    "FSM", "After", "AllChange", "AllDontChange", "AnyChange", "AnyDontChange", "Before", "Composer", "Condition",
    "Deferred", "Delete", "F", "Func", "Immediate", "Insert", "InsteadOf", "IsDistinctFrom", "IsNotDistinctFrom",
    "Level", "Operation", "Operations", "Protect", "Q", "ReadOnly", "Referencing", "Row", "SoftDelete",
    "Statement", "Timing", "Trigger", "Truncate", "Update", "UpdateOf", "UpdateSearchVector", "When",
    "__version__", "constraints", "disable", "enable", "ignore", "install", "is_ignored", "prunable", "prune",
    "register", "registered", "schema", "uninstall",
]  # fmt: skip

# Modules that code written for django-pgtrigger uses as attributes of the package.
_MODULES = ("compiler", "core", "migrations")


def __getattr__(name: str) -> ModuleType:
    """Return a module of the package that nothing has imported yet."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    """Return the vocabulary, for completion; the modules of this package stay importable."""
    return __all__
