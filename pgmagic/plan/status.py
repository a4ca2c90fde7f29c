"""The installation state of a trigger, told from the catalog."""

from __future__ import annotations

from pgmagic.compile.desired import DesiredTrigger
from pgmagic.plan.state import Installed

INSTALLED, OUTDATED, UNINSTALLED, PRUNE, UNALLOWED = (
    "INSTALLED",
    "OUTDATED",
    "UNINSTALLED",
    "PRUNE",
    "UNALLOWED",
)


def trigger_status(desired: DesiredTrigger, installed: Installed) -> tuple[str, bool | None]:
    """Return the state of a declared trigger, and whether it is enabled (None: not installed).

    It is OUTDATED where the declaration changed, and where somebody changed trigger or function in the database.
    """
    found = [installed.trigger(desired.table, part.name) for part in desired.triggers]
    existing = [part for part in found if part is not None]
    if not existing:
        return UNINSTALLED, None
    enabled = all(part.is_enabled for part in existing)
    current = len(existing) == len(found) and all(
        part.mark is not None
        and part.function_mark is not None
        and part.mark.declared == declared.declared
        and part.function_mark.declared == desired.function.declared
        and not part.is_edited
        for part, declared in zip(existing, desired.triggers, strict=True)
    )
    return (INSTALLED if current else OUTDATED), enabled
