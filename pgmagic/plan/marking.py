"""Marks that are left again on functions whose triggers were created again or renamed."""

from __future__ import annotations

from collections.abc import Sequence

from pgmagic.compile.desired import MarkedTrigger, Marking
from pgmagic.plan.installed import InstalledFunction, InstalledTrigger


def marking_again(function: InstalledFunction, triggers: Sequence[InstalledTrigger]) -> Marking | None:
    """Return the mark for a function of pgmagic's whose triggers were created again, or renamed, as they were declared.

    triggers: those of the function, and others. The result is None if somebody edited the function or one of its
    triggers: then the mark with the former digests stays, and still shows the edit.
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
