"""Enabling and disabling installed triggers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pgmagic.compile import ddl
from pgmagic.compile.desired import DesiredTrigger
from pgmagic.errors import NotInstalledError
from pgmagic.plan.drops import parts_of
from pgmagic.plan.state import Installed, InstalledTrigger
from pgmagic.plan.steps import Plan, Step


def plan_enabling(desired: Sequence[DesiredTrigger], installed: Installed) -> Plan:
    """Return the steps that let triggers fire in ordinary sessions.

    Raises:
        NotInstalledError: one of them is not there.
    """
    return Plan([_switch(uri, part, "O") for uri, part in _installed_parts(desired, installed)])


def plan_disabling(desired: Sequence[DesiredTrigger], installed: Installed) -> Plan:
    """Return the steps that keep triggers from firing in every session.

    Raises:
        NotInstalledError: one of them is not there.
    """
    return Plan([_switch(uri, part, "D") for uri, part in _installed_parts(desired, installed)])


def _installed_parts(
    desired: Sequence[DesiredTrigger], installed: Installed
) -> list[tuple[str, InstalledTrigger]]:
    found = {trigger.uri: parts_of(trigger, installed) for trigger in desired}
    missing = [uri for uri, parts in found.items() if not parts]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise NotInstalledError(
            f"{', '.join(missing)} {verb} not installed, so it cannot be enabled or disabled: install it first."
        )
    return [(uri, part) for uri, parts in found.items() for part in parts]


def _switch(uri: str, part: InstalledTrigger, state: Literal["O", "D"]) -> Step:
    # One that fires always fires in ordinary sessions, too.
    is_so = part.enabled == state or (state == "O" and part.is_enabled)
    if is_so and not part.apart:
        return Step(uri, "trigger", "unchanged", fires=part.fires)
    sql = ddl.set_enabled(part.schema, part.table, part.name, state)
    return Step(uri, "trigger", "replace", (sql,), fires=part.fires)
