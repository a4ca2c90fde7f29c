"""Which marks are left on functions: one for a declaration, on the function that its triggers call."""

from __future__ import annotations

from collections.abc import Sequence

from pgmagic.compile.desired import DesiredTrigger
from pgmagic.plan.state import InstalledFunction, InstalledTrigger
from pgmagic.plan.steps import MarkedTrigger, Marking


def marking_of(desired: DesiredTrigger) -> Marking:
    """Return the mark of what is declared."""
    function, schema = desired.function, desired.schema
    triggers = tuple(
        MarkedTrigger(part.name, part.declared, desired.table, schema) for part in desired.triggers
    )
    return Marking(function.name, desired.uri, function.declared, schema, desired.with_model, triggers)


def marking_again(function: InstalledFunction, triggers: Sequence[InstalledTrigger]) -> Marking | None:
    """Return the mark of a function of ours whose triggers were made anew, or got other names, as they were declared.

    triggers: its own, and others. None where somebody edited one of them, or it: then the mark with the
    digests of before goes on to tell that.
    """
    own = [trigger for trigger in triggers if trigger.own_function == function and trigger.mark is not None]
    if function.mark is None or any(trigger.is_edited for trigger in own):
        return None
    mark = function.mark
    marked = tuple(
        MarkedTrigger(trigger.name, trigger.mark.declared, trigger.table, trigger.schema)
        for trigger in own
        if trigger.mark is not None
    )
    return Marking(function.name, mark.uri, mark.declared, function.schema, mark.with_model, marked)
