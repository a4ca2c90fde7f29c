"""The difference between what is desired and what is installed, as a plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from pgmagic.compile import ddl
from pgmagic.compile.desired import Desired, DesiredPgTrigger, DesiredRoutine, DesiredTable, DesiredTrigger, Marking
from pgmagic.errors import InstallationError
from pgmagic.plan.drops import drop_steps
from pgmagic.plan.installed import Installed, InstalledFunction, InstalledTrigger, Mark
from pgmagic.plan.marking import marking_again
from pgmagic.plan.steps import Action, Evolution, Plan, Remembered, Step

_SKIPS_TRIGGERS = "The update that fills the column skips this notebook's triggers."


def plan_changes(
    desired: Desired, installed: Installed, evolutions: Mapping[str, Evolution] = MappingProxyType({})
) -> Plan:
    """Return the steps that make the database hold what is desired; what it holds already is `unchanged`.

    Nothing is dropped except pgmagic's triggers that were declared together with a model and no longer are, and
    triggers that a declaration no longer needs. evolutions: by model label, the steps that alter the tables of models
    that are declared differently than before.

    Raises:
        InstallationError: a table that pgmagic did not create lacks columns of its model.
    """
    desired = replace(desired, triggers=[installed.suited(trigger) for trigger in desired.triggers])
    stale = _stale_triggers(desired, installed)
    moved = _moved_triggers(desired, installed, evolutions, stale)
    return Plan(
        [
            *drop_steps(stale, installed, {trigger.function.name for trigger in desired.triggers}),
            *(_table_step(table, installed) for table in desired.tables),
            *_evolution_steps(desired, evolutions, moved),
            *(_routine_step(routine, installed) for routine in desired.routines),
            *(step for trigger in desired.triggers for step in _trigger_steps(trigger, installed, moved)),
            *_put_back(desired, moved),
        ]
    )


def _stale_triggers(desired: Desired, installed: Installed) -> list[InstalledTrigger]:
    """Return the triggers that were declared together with a model, and no longer are."""
    kept = {(trigger.table, part.name) for trigger in desired.triggers for part in trigger.triggers}
    uris = {trigger.uri for trigger in desired.triggers}
    stale = []
    for existing in installed.own_triggers:
        mark = existing.mark
        if mark is None or (existing.table, existing.name) in kept:
            continue
        belongs_to_model = mark.with_model and mark.uri.partition(":")[0] in desired.owned_labels
        if mark.uri in uris or belongs_to_model:
            stale.append(existing)
    return stale


def _moved_triggers(
    desired: Desired, installed: Installed, evolutions: Mapping[str, Evolution], stale: Sequence[InstalledTrigger]
) -> list[InstalledTrigger]:
    """Return the triggers of pgmagic's that are in the way of columns that are altered."""
    labels = {label for label, evolution in evolutions.items() if evolution.moves_columns}
    tables = {table.table for table in desired.tables if table.label in labels}
    return [trigger for trigger in installed.own_triggers if trigger.table in tables and trigger not in stale]


def _table_step(table: DesiredTable, installed: Installed) -> Step:
    existing = installed.table(table.table, table.schema)
    remember = Remembered(table.table, table.label, table.declared, table.state)
    if existing is None:
        return Step(table.label, table.kind, "create", table.create, table.deferred, remember=remember)
    missing, surplus = set(table.columns) - {*existing.columns}, {*existing.columns} - {*table.columns}
    found = [f"lacks {', '.join(sorted(missing))}"] if missing else []
    found += [f"has also {', '.join(sorted(surplus))}"] if surplus else []
    notes: tuple[str, ...] = ()
    if existing.is_edited:
        what = " and ".join(found) or "has a column of another type, or with another NOT NULL"
        notes = (
            f"Somebody changed {existing.name} in the database after pgmagic did: compared with the model, it {what}.",
        )
    if existing.declared == table.declared:
        return Step(table.label, table.kind, "unchanged", notes=notes)
    if existing.declared is not None:
        return Step(table.label, table.kind, "alter", remember=remember, notes=notes)
    if not missing:
        return Step(table.label, table.kind, "unchanged")
    raise InstallationError(
        f"The table {table.table} of {table.label} already exists and {' and '.join(found)}: "
        f"give the model another name, or start this notebook's schema afresh with %pgreset."
    )


def _evolution_steps(
    desired: Desired, evolutions: Mapping[str, Evolution], moved: Sequence[InstalledTrigger]
) -> Iterator[Step]:
    """Yield the alterations; the first one of a table also drops the triggers that are in its way.

    Updates that fill columns skip this notebook's triggers.
    """
    for table in desired.tables:
        steps = list(evolutions[table.label].steps) if table.label in evolutions else []
        drops = [ddl.drop_trigger(*trigger.place) for trigger in moved if trigger.table == table.table]
        for number, step in enumerate(steps):
            before = (ddl.IGNORE_ALL_TRIGGERS, *drops) if number == 0 else ()
            after = (ddl.IGNORE_NO_TRIGGER,) if number == len(steps) - 1 else ()
            # Django fills a column by an UPDATE if a default alone is not enough.
            updates = any(sql.startswith("UPDATE ") for sql in step.sql)
            notes = (_SKIPS_TRIGGERS,) if updates else ()
            yield replace(step, sql=(*before, *step.sql, *after), notes=(*step.notes, *notes))


def _put_back(desired: Desired, moved: Sequence[InstalledTrigger]) -> Iterator[Step]:
    """Yield the steps that create moved triggers again which this cell does not declare, just as they were."""
    declared = {(trigger.table, part.name) for trigger in desired.triggers for part in trigger.triggers}
    for trigger in moved:
        mark = trigger.mark
        if mark is None or (trigger.table, trigger.name) in declared:
            continue
        enabling = ddl.keep_enabled(*trigger.place, trigger.enabled)
        yield Step(
            mark.uri,
            "trigger",
            "replace",
            (f"{trigger.definition};", *enabling),
            fires=trigger.fires,
            condition=trigger.condition,
            marking=marking_again(trigger.own_function, moved),
        )


def _routine_step(routine: DesiredRoutine, installed: Installed) -> Step:
    mark = installed.routines.get(routine.name)
    if mark is not None and mark.declared == routine.declared:
        return Step(routine.name, "function", "unchanged")
    action: Action = "replace" if routine.name in installed.routines else "create"
    marking = Marking(routine.name, routine.name, routine.declared)
    return Step(routine.name, "function", action, (routine.create,), marking=marking)


def _trigger_steps(trigger: DesiredTrigger, installed: Installed, moved: Sequence[InstalledTrigger]) -> list[Step]:
    function = trigger.function
    called = _called_function(trigger, installed)
    if called is not None and _is_current(called.mark, function.declared, called.stored, trigger.with_model):
        steps = [Step(trigger.uri, "function", "unchanged")]
    else:
        action: Action = "create" if called is None else "replace"
        making = Step(
            trigger.uri, "function", action, (function.create,), marking=trigger.marking,
            needs_check=function.needs_check, named_columns=function.named_columns,
        )  # fmt: skip
        steps = [making]
    function_stays = not steps[0].changes
    for part in trigger.triggers:
        existing = installed.trigger(trigger.table, part.name, trigger.schema)
        # A function that is created in another schema is not the one that the trigger calls.
        calls_it = existing is None or existing.function.schema == (trigger.schema or installed.schema)
        step = _pg_trigger_step(trigger, part, existing, stays=calls_it or function_stays)
        if existing is not None and existing in moved:
            # It was dropped while its table was altered.
            enabling = ddl.keep_enabled(existing.schema, trigger.table, part.name, existing.enabled)
            step = replace(step, action="replace", sql=(part.create, *enabling))
        steps.append(step)
    return steps


def _called_function(trigger: DesiredTrigger, installed: Installed) -> InstalledFunction | None:
    """Return the function that the installed trigger calls, or would call if it were installed."""
    for part in trigger.triggers:
        existing = installed.trigger(trigger.table, part.name, trigger.schema)
        if existing is not None and existing.function.name == trigger.function.name:
            return existing.function
    return installed.function(trigger.function.name, trigger.schema)


def _pg_trigger_step(
    trigger: DesiredTrigger, part: DesiredPgTrigger, existing: InstalledTrigger | None, *, stays: bool
) -> Step:
    action: Action
    sql: tuple[str, ...]
    if existing is None:
        action, sql = "create", (part.create,)
    elif stays and _is_current(existing.mark, part.declared, existing.stored, trigger.with_model):
        action, sql = "unchanged", ()
    else:
        # A replaced trigger is enabled; one that was disabled has to stay disabled.
        action, sql = "replace", (part.replace, *ddl.keep_enabled(*existing.place, existing.enabled))
    # The mark is left on the function if any step changes something.
    marking = trigger.marking
    return Step(trigger.uri, "trigger", action, sql, fires=part.fires, condition=part.condition, marking=marking)


def _is_current(mark: Mark | None, declared: str, stored: str, with_model: bool) -> bool:
    """Return whether an object is as it is declared now, and as pgmagic left it in the database."""
    return mark is not None and (mark.declared, mark.stored, mark.with_model) == (declared, stored, with_model)
