"""The installation state of a trigger, told from the catalog."""

from __future__ import annotations

from pgmagic.compile.desired import DesiredTrigger
from pgmagic.plan.drops import parts_of
from pgmagic.plan.installed import Installed, Mark

INSTALLED = "INSTALLED"
OUTDATED = "OUTDATED"
UNINSTALLED = "UNINSTALLED"
# Installed by pgmagic, and not registered.
PRUNE = "PRUNE"
# A router forbids its model on the database.
UNALLOWED = "UNALLOWED"
# Somebody else's, or another notebook's.
FOREIGN = "FOREIGN"


def trigger_status(desired: DesiredTrigger, installed: Installed) -> tuple[str, bool | None]:
    """Return the state of a declared trigger, and whether it is enabled (None: not installed).

    It is OUTDATED where the declaration changed, and where somebody changed trigger or function in the database.
    """
    parts = parts_of(desired, installed)
    if not parts:
        return UNINSTALLED, None
    return (OUTDATED if drift(desired, installed) else INSTALLED), all(part.is_enabled for part in parts)


def drift(desired: DesiredTrigger, installed: Installed) -> list[str]:
    """Return in what the installed parts of a declared trigger differ from it, and from what pgmagic left."""
    desired = installed.suited(desired)
    by_name = {part.name: part for part in parts_of(desired, installed)}
    found = [(part, by_name.pop(part.name, None)) for part in desired.triggers]
    existing = [(part, present) for part, present in found if present is not None]
    functions = [present.function for _, present in existing]
    if desired.calls_another:
        # What it calls is not ours; the function that would stand for it is there all the same.
        own = installed.function(desired.function.name, desired.schema)
        functions = [own] if own else []
    words = {
        "declaration changed": any(
            _was_declared_otherwise(present.mark, part.declared) for part, present in existing
        )
        or any(_was_declared_otherwise(function.mark, desired.function.declared) for function in functions),
        "trigger edited in the database": any(
            _is_edited(present.mark, present.stored) for _, present in existing
        ),
        "function edited in the database": any(function.is_edited for function in functions),
        "installed in part": len(existing) < len(found),
        "more installed than declared": bool(by_name),
    }
    return [word for word, holds in words.items() if holds]


def _was_declared_otherwise(mark: Mark | None, declared: str) -> bool:
    return mark is not None and mark.declared != declared


def _is_edited(mark: Mark | None, stored: str) -> bool:
    return mark is None or mark.stored != stored
