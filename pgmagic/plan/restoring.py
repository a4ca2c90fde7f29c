"""The way back to how triggers were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pgmagic.compile import ddl
from pgmagic.compile.desired import DesiredTrigger
from pgmagic.plan.drops import drop_steps, parts_of
from pgmagic.plan.installed import Installed, InstalledFunction, InstalledTrigger
from pgmagic.plan.steps import Plan, Step


def plan_restoring(desired: Sequence[DesiredTrigger], before: Installed, now: Installed) -> Plan:
    """Return the steps that make declared triggers be again what they were: there or not, edited, disabled."""
    was = {_place(part): part for trigger in desired for part in parts_of(trigger, before)}
    present = {_place(part): part for trigger in desired for part in parts_of(trigger, now)}
    surplus = [part for place, part in present.items() if place not in was]
    functions = _functions(desired, before, list(was.values()))
    return Plan(
        [
            *drop_steps(surplus, now, kept_functions={function.name for function in functions}),
            *(step for function in functions for step in _function_steps(function, now)),
            *(step for place, part in was.items() for step in _trigger_steps(part, present.get(place))),
        ]
    )


def _place(part: InstalledTrigger) -> tuple[str, str, str]:
    return part.schema, part.table, part.name


def _functions(
    desired: Sequence[DesiredTrigger], before: Installed, parts: Sequence[InstalledTrigger]
) -> list[InstalledFunction]:
    uris = {trigger.uri for trigger in desired}
    found = [part.function for part in parts]
    found += [function for function in before.functions if function.mark and function.mark.uri in uris]
    return list(dict.fromkeys(found))


def _function_steps(function: InstalledFunction, now: Installed) -> Iterator[Step]:
    present = now.function(function.name, function.schema)
    if present is not None and (present.stored, present.comment) == (function.stored, function.comment):
        return
    comment = ddl.comment_on_function(function.schema, function.name, function.comment)
    uri = function.mark.uri if function.mark else function.name
    yield Step(uri, "function", "replace", (f"{function.definition};", comment))


def _trigger_steps(was: InstalledTrigger, present: InstalledTrigger | None) -> Iterator[Step]:
    place = (was.schema, was.table, was.name)
    sql: list[str] = []
    if present is None or present.stored != was.stored:
        # What is created anew fires in ordinary sessions.
        sql += [ddl.drop_trigger(*place)] if present else []
        sql += [f"{was.definition};", *ddl.keep_enabled(*place, was.enabled)]
        sql += [ddl.comment_on_trigger(*place, was.comment)] if was.comment else []
    else:
        sql += [ddl.set_enabled(*place, was.enabled)] if present.enabled != was.enabled else []
        sql += [ddl.comment_on_trigger(*place, was.comment)] if present.comment != was.comment else []
    if sql:
        uri = was.mark.uri if was.mark else was.name
        yield Step(uri, "trigger", "replace", tuple(sql), fires=was.fires, condition=was.condition)
