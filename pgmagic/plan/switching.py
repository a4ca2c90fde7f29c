"""Enabling and disabling installed triggers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pgmagic.compile import ddl
from pgmagic.compile.desired import DesiredTrigger
from pgmagic.errors import NotInstalledError
from pgmagic.plan.drops import parts_of
from pgmagic.plan.installed import Installed, InstalledTrigger
from pgmagic.plan.steps import Plan, Step


def plan_enabling(desired: Sequence[DesiredTrigger], installed: Installed) -> Plan:
    """Return the steps that let triggers fire in ordinary sessions.

    Raises:
        NotInstalledError: one of them is not there.
    """
    return Plan([_switch(trigger, part, "O") for trigger, part in _installed_parts(desired, installed)])


def plan_disabling(desired: Sequence[DesiredTrigger], installed: Installed) -> Plan:
    """Return the steps that keep triggers from firing in every session.

    Raises:
        NotInstalledError: one of them is not there.
    """
    return Plan([_switch(trigger, part, "D") for trigger, part in _installed_parts(desired, installed)])


def _installed_parts(
    desired: Sequence[DesiredTrigger], installed: Installed
) -> list[tuple[DesiredTrigger, InstalledTrigger]]:
    found = [(trigger, parts_of(trigger, installed)) for trigger in desired]
    missing = [trigger.uri for trigger, parts in found if not parts]
    if missing:
        are, they = ("is", "it") if len(missing) == 1 else ("are", "they")
        raise NotInstalledError(
            f"{', '.join(missing)} {are} not installed, so {they} cannot be enabled or disabled: install first."
        )
    return [(trigger, part) for trigger, parts in found for part in parts]


def _switch(trigger: DesiredTrigger, part: InstalledTrigger, state: Literal["O", "D"]) -> Step:
    # One that fires always fires in ordinary sessions, too.
    is_so = part.enabled == state or (state == "O" and part.is_enabled)
    step = Step(trigger.uri, "trigger", "unchanged", fires=part.fires, condition=trigger.condition)
    if is_so and not part.apart:
        return step
    return replace(step, action="alter", sql=(ddl.set_enabled(part.schema, part.table, part.name, state),))
