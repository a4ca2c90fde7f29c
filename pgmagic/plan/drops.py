"""Dropping triggers of pgmagic's, with the functions that no other trigger calls."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from pgmagic.compile import ddl
from pgmagic.compile.desired import DesiredTrigger
from pgmagic.plan.installed import FunctionKey, Installed, InstalledFunction, InstalledTrigger
from pgmagic.plan.steps import Plan, Step


def parts_of(desired: DesiredTrigger, installed: Installed) -> list[InstalledTrigger]:
    """Return what is installed of a declared trigger, also what a former declaration of it needed."""
    names = {part.name for part in desired.triggers}
    declared = [found for found in installed.triggers_on(desired.table, desired.schema) if found.name in names]
    marked = [found for found in installed.own_triggers if found.mark and found.mark.uri == desired.uri]
    return [*declared, *(found for found in marked if found not in declared)]


def prunable_triggers(installed: Installed, registered: Collection[str]) -> list[InstalledTrigger]:
    """Return the triggers of pgmagic's whose URIs are not registered."""
    return [found for found in installed.own_triggers if found.mark and found.mark.uri not in registered]


def prunable_uris(installed: Installed, registered: Collection[str]) -> set[str]:
    """Return the URIs under which there is something to prune: triggers, or functions without a trigger."""
    marks = [trigger.mark for trigger in installed.own_triggers]
    marks += [function.mark for function in _left_behind(installed)]
    return {mark.uri for mark in marks if mark} - {*registered}


def plan_uninstalling(desired: Sequence[DesiredTrigger], installed: Installed) -> Plan:
    """Return the steps that drop declared triggers and their functions; none for what is not installed."""
    found = [part for trigger in desired for part in parts_of(trigger, installed)]
    return Plan([*drop_steps(found, installed), *_drop_left_behind(installed, {trigger.uri for trigger in desired})])


def plan_pruning(installed: Installed, registered: Collection[str]) -> Plan:
    """Return the steps that drop pgmagic's triggers that are not registered, and functions without a trigger."""
    uris = prunable_uris(installed, registered)
    return Plan([*drop_steps(prunable_triggers(installed, registered), installed), *_drop_left_behind(installed, uris)])


def drop_steps(
    triggers: Sequence[InstalledTrigger], installed: Installed, kept_functions: Collection[str] = ()
) -> Iterator[Step]:
    """Yield the steps that drop triggers, then those of pgmagic's functions that no other trigger needs."""
    dropped = {id(trigger) for trigger in triggers}
    still_needed = _needed(other for other in installed.triggers if id(other) not in dropped)
    functions: dict[FunctionKey, str] = {}
    for existing in triggers:
        sql = ddl.drop_trigger(*existing.place)
        # Its condition in the catalog is what Postgres made of it, which nobody reads here.
        yield Step(existing.uri, "trigger", "drop", (sql,), fires=existing.fires)
        function = existing.own_function
        is_kept = function.name in kept_functions or function.key in still_needed
        if function.mark is not None and not is_kept:
            functions[function.key] = existing.uri
    for (schema, name), uri in functions.items():
        yield Step(uri, "function", "drop", (ddl.drop_function(schema, name),))


def _drop_left_behind(installed: Installed, uris: Collection[str]) -> Iterator[Step]:
    for function in _left_behind(installed):
        if function.mark is not None and function.mark.uri in uris:
            yield Step(function.mark.uri, "function", "drop", (ddl.drop_function(*function.key),))


def _left_behind(installed: Installed) -> list[InstalledFunction]:
    """Return pgmagic's functions at home whose triggers somebody dropped by hand."""
    needed = _needed(installed.triggers)
    return [
        function for function in installed.functions if function.schema in installed.home and function.key not in needed
    ]


def _needed(triggers: Iterable[InstalledTrigger]) -> set[FunctionKey]:
    """Return the functions that triggers call, and those that were made for them."""
    return {function.key for trigger in triggers for function in (trigger.function, trigger.own_function)}
