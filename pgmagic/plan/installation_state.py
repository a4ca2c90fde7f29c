"""The installation state of a trigger, read from the catalog."""

from __future__ import annotations

from collections.abc import Sequence

from pgmagic.compile.desired import DesiredPgTrigger, DesiredTrigger
from pgmagic.plan.drops import parts_of
from pgmagic.plan.installed import Installed, InstalledFunction, InstalledTrigger

INSTALLED = "INSTALLED"
OUTDATED = "OUTDATED"
UNINSTALLED = "UNINSTALLED"
# Installed by pgmagic, and not registered.
PRUNE = "PRUNE"
# A router forbids its model on the database.
UNALLOWED = "UNALLOWED"
# Made by somebody else, or by another notebook.
FOREIGN = "FOREIGN"


def trigger_status(desired: DesiredTrigger, installed: Installed) -> tuple[str, bool | None]:
    """Return the state of a declared trigger, and whether it is enabled (None: not installed).

    The state is OUTDATED if the declaration changed, and if somebody changed trigger or function in the database.
    """
    parts = parts_of(desired, installed)
    if not parts:
        return UNINSTALLED, None
    return (OUTDATED if drift(desired, installed) else INSTALLED), all(part.is_enabled for part in parts)


def drift(desired: DesiredTrigger, installed: Installed) -> list[str]:
    """Return how the installed parts of a declared trigger differ from it, and from what pgmagic left."""
    desired = installed.suited(desired)
    by_name = {part.name: part for part in parts_of(desired, installed)}
    existing = [(part, by_name.pop(part.name)) for part in desired.triggers if part.name in by_name]
    functions = [present.function for _, present in existing]
    if desired.calls_another:
        # The trigger calls somebody else's function; the function that was made for the trigger exists all the same.
        own = installed.function(desired.function.name, desired.schema)
        functions = [own] if own else []
    words = {
        "declaration changed": _is_declared_anew(desired, existing, functions),
        "trigger edited in the database": any(present.is_altered for _, present in existing),
        "function edited in the database": any(function.is_edited for function in functions),
        "installed in part": len(existing) < len(desired.triggers),
        "more installed than declared": bool(by_name),
    }
    return [word for word, holds in words.items() if holds]


def _is_declared_anew(
    desired: DesiredTrigger,
    existing: Sequence[tuple[DesiredPgTrigger, InstalledTrigger]],
    functions: Sequence[InstalledFunction],
) -> bool:
    """Return whether the marks show that a trigger or its function were declared otherwise."""
    pairs = [(present.mark, part.declared) for part, present in existing]
    pairs += [(function.mark, desired.function.declared) for function in functions]
    return any(mark is not None and mark.declared != declared for mark, declared in pairs)
