"""Compatibility: what projects import from django-pgtrigger's module of this name; new code uses `pgtrigger`."""

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
from pgmagic.plan.installation_state import INSTALLED, OUTDATED, PRUNE, UNALLOWED, UNINSTALLED

# The longest name of a trigger in django-pgtrigger, by which projects cut names; pgmagic takes longer ones.
MAX_NAME_LENGTH = 47

__all__ = [
    "INSTALLED", "MAX_NAME_LENGTH", "OUTDATED", "PRUNE", "UNALLOWED", "UNINSTALLED", "After", "AllChange",
    "AllDontChange", "AnyChange", "AnyDontChange", "Before", "Condition", "Deferred", "Delete", "F", "Func",
    "Immediate", "Insert", "InsteadOf", "IsDistinctFrom", "IsNotDistinctFrom", "Level", "Operation", "Operations",
    "Q", "Referencing", "Row", "Statement", "Timing", "Trigger", "Truncate", "Update", "UpdateOf", "When",
]  # fmt: skip
