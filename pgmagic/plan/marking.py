"""Marks that are left again, since triggers were made anew or got other names."""

from __future__ import annotations

from collections.abc import Sequence

from pgmagic.compile.desired import MarkedTrigger, Marking
from pgmagic.plan.installed import InstalledFunction, InstalledTrigger


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
