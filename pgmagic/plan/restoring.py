"""The steps that give declared triggers back the state that they had before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pgmagic.compile import ddl
from pgmagic.compile.desired import DesiredTrigger
from pgmagic.plan.drops import drop_steps, parts_of
from pgmagic.plan.installed import Installed, InstalledFunction, InstalledTrigger, TriggerPlace
from pgmagic.plan.steps import Plan, Step


def plan_restoring(desired: Sequence[DesiredTrigger], before: Installed, now: Installed) -> Plan:
    """Return the steps that make declared triggers what they were before: absent or present, edited, disabled."""
    was, present = _parts_by_place(desired, before), _parts_by_place(desired, now)
    surplus = [part for place, part in present.items() if place not in was]
    uris = {trigger.uri for trigger in desired}
    functions = [part.function for part in was.values()]
    functions += [function for function in before.functions if function.mark and function.mark.uri in uris]
    steps = list(drop_steps(surplus, now, kept_functions={function.name for function in functions}))
    steps += _function_steps(functions, now)
    for place, part in was.items():
        if sql := tuple(_restoring_sql(part, present.get(place))):
            steps.append(Step(part.uri, "trigger", "replace", sql, fires=part.fires, condition=part.condition))
    return Plan(steps)


def _function_steps(functions: Sequence[InstalledFunction], now: Installed) -> Iterator[Step]:
    """Yield the steps that give functions back their definitions and comments."""
    for function in dict.fromkeys(functions):
        live = now.function(function.name, function.schema)
        if live is None or (live.stored, live.comment) != (function.stored, function.comment):
            uri = function.mark.uri if function.mark else function.name
            comment = ddl.comment_on_function(*function.key, function.comment)
            yield Step(uri, "function", "replace", (f"{function.definition};", comment))


def _parts_by_place(desired: Sequence[DesiredTrigger], installed: Installed) -> dict[TriggerPlace, InstalledTrigger]:
    return {part.place: part for trigger in desired for part in parts_of(trigger, installed)}


def _restoring_sql(was: InstalledTrigger, present: InstalledTrigger | None) -> Iterator[str]:
    """Yield the statements that give a trigger back the state that it had."""
    if present is None or present.stored != was.stored:
        if present is not None:
            yield ddl.drop_trigger(*was.place)
        yield f"{was.definition};"
        # A trigger that was just created is enabled and has no comment.
        yield from ddl.keep_enabled(*was.place, was.enabled)
        if was.comment:
            yield ddl.comment_on_trigger(*was.place, was.comment)
        return
    if present.enabled != was.enabled:
        yield ddl.set_enabled(*was.place, was.enabled)
    if present.comment != was.comment:
        yield ddl.comment_on_trigger(*was.place, was.comment)
