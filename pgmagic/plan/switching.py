"""Enabling and disabling installed triggers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pgmagic.compile import ddl
from pgmagic.compile.desired import DesiredTrigger
from pgmagic.errors import NotInstalledError
from pgmagic.plan.drops import parts_of
from pgmagic.plan.installed import Installed
from pgmagic.plan.steps import Plan, Step


def plan_enabling(desired: Sequence[DesiredTrigger], installed: Installed) -> Plan:
    """Return the steps that make triggers fire in ordinary sessions.

    Raises:
        NotInstalledError: if one of them is not installed.
    """
    return _plan_switching(desired, installed, "O")


def plan_disabling(desired: Sequence[DesiredTrigger], installed: Installed) -> Plan:
    """Return the steps that keep triggers from firing in every session.

    Raises:
        NotInstalledError: if one of them is not installed.
    """
    return _plan_switching(desired, installed, "D")


def _plan_switching(desired: Sequence[DesiredTrigger], installed: Installed, state: Literal["O", "D"]) -> Plan:
    found = [(trigger, parts_of(trigger, installed)) for trigger in desired]
    missing = [trigger.uri for trigger, parts in found if not parts]
    if missing:
        are, they = ("is", "it") if len(missing) == 1 else ("are", "they")
        raise NotInstalledError(
            f"{', '.join(missing)} {are} not installed, so {they} cannot be enabled or disabled: install first."
        )
    steps = []
    for trigger, parts in found:
        for part in parts:
            step = Step(trigger.uri, "trigger", "unchanged", fires=part.fires, condition=trigger.condition)
            # A trigger that fires always fires in ordinary sessions, too.
            is_so = part.enabled == state or (state == "O" and part.is_enabled)
            if not is_so or part.apart:
                step = replace(step, action="alter", sql=(ddl.set_enabled(*part.place, state),))
            steps.append(step)
    return Plan(steps)
