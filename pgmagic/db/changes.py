"""A change of declared triggers, on one database or on several: wholly, or not at all; and the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from django.db import connections, models, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.pq import TransactionStatus

from pgmagic.compile.declarations import compile_as_declared
from pgmagic.compile.desired import DesiredTrigger
from pgmagic.compile.remembering import models_at_rest
from pgmagic.compile.target import Target
from pgmagic.db.apply import Execution, execute_and_time, execute_untimed, plan_and_apply
from pgmagic.db.catalog import read_catalog, with_definitions
from pgmagic.db.schemas import target_of
from pgmagic.declare import registry
from pgmagic.declare.trigger import Trigger
from pgmagic.plan.drops import parts_of
from pgmagic.plan.installed import Installed
from pgmagic.plan.restoring import plan_restoring
from pgmagic.plan.steps import Action, Outcome, Plan, Step

Model = type[models.Model]
Declared = tuple[Model, Trigger]
Planner = Callable[[Sequence[DesiredTrigger], Installed], Plan]


@dataclass(frozen=True)
class Change:
    """What is to become of declared triggers.

    hook: the method of `Trigger` that does it with one; it is called for triggers whose class overrides it.
    """

    declared: Sequence[Declared]
    planner: Planner
    hook: str | None = None

    @property
    def hooked(self) -> list[Declared]:
        """The triggers that do it in their own way."""
        if self.hook is None:
            return []
        hook, usual = self.hook, getattr(Trigger, self.hook)
        return [
            (model, trigger) for model, trigger in self.declared if getattr(type(trigger), hook) is not usual
        ]


@dataclass(frozen=True)
class _Before:
    """What one database held of some triggers."""

    alias: str
    triggers: Sequence[DesiredTrigger]
    installed: Installed


class Restoration(AbstractContextManager[None]):
    """What a change returns: at the end of a `with` block, triggers are what they were before it, come what may."""

    def __init__(self, before: Sequence[_Before]) -> None:
        self._before = before

    def __repr__(self) -> str:
        uris = {trigger.uri: None for before in self._before for trigger in before.triggers}
        return f"<changed: {', '.join(uris) or 'nothing'}>"

    def __enter__(self) -> None:
        # Those of functions that were changed were read before.
        self._before = [
            replace(each, installed=with_definitions(connections[each.alias], each.installed))
            for each in self._before
        ]

    def __exit__(self, *_exception: object) -> None:
        # A transaction in error is rolled back, and takes the change with it.
        by_alias = {
            before.alias: before for before in self._before if not _is_in_error(connections[before.alias])
        }
        apply_to_each(
            list(by_alias),
            lambda alias: (
                lambda installed: plan_restoring(
                    by_alias[alias].triggers, by_alias[alias].installed, installed
                )
            ),
        )


def carry_out(change: Change, database: str | None = None) -> list[Outcome]:
    """Make a change on a database or on every one that a router allows; return what became of each step, and its time.

    Raises:
        InstallationError: a database refused; nothing was kept on any.
    """
    return _change(change, aliases_of(database), execute_and_time)[1]


def aliases_of(database: str | None) -> list[str]:
    """Return the databases that a call is about; without a name, every Postgres."""
    if database is not None:
        return [database]
    return [alias for alias in connections if connections[alias].vendor == "postgresql"]


def make(change: Change, database: str | None) -> Restoration:
    """Make a change; return the way back."""
    return Restoration(_change(change, aliases_of(database), execute_untimed)[0])


def _change(
    change: Change, aliases: Sequence[str], execution: Execution
) -> tuple[list[_Before], list[Outcome]]:
    """Carry out what a planner says about the triggers that each database may have; return what was, and was done."""
    targets = {alias: target_of(alias) for alias in aliases}
    with models_at_rest():
        desired_for = {
            target: [(model, compiled(model, trigger, target)) for model, trigger in change.declared]
            for target in {*targets.values()}
        }
    hooked = change.hooked
    apart = {trigger.get_uri(model) for model, trigger in hooked}
    before: list[_Before] = []

    def plan_for(alias: str) -> Callable[[Installed], Plan]:
        desired = desired_for[targets[alias]]
        allowed = {model for model in dict(desired) if lives_on(alias, model)}
        triggers = [trigger for model, trigger in desired if model in allowed]

        def plan(installed: Installed) -> Plan:
            made = change.planner([each for each in triggers if each.uri not in apart], installed)
            if apart or any(step.changes and step.action != "create" for step in made.steps):
                installed = with_definitions(connections[alias], installed)
            before.append(_Before(alias, triggers, installed))
            return made

        return plan

    if not hooked:
        return before, apply_to_each(aliases, plan_for, execution)
    with ExitStack() as stack:
        for alias in aliases:
            stack.enter_context(transaction.atomic(using=alias))
        outcomes = apply_to_each(aliases, plan_for, execution)
        for each in before:
            for model, trigger in hooked:
                if lives_on(each.alias, model):
                    getattr(trigger, str(change.hook))(model, database=each.alias)
            outcomes += _outcomes([desired for desired in each.triggers if desired.uri in apart], each)
    return before, outcomes


def _outcomes(triggers: Sequence[DesiredTrigger], before: _Before) -> Iterator[Outcome]:
    """Yield what became of triggers that did it in their own way, as the catalog tells."""
    installed = read_catalog(connections[before.alias])
    for trigger in triggers:
        was, present = parts_of(trigger, before.installed), parts_of(trigger, installed)
        action: Action = "unchanged" if was == present else "replace" if was and present else "create"
        yield Outcome(Step(trigger.uri, "trigger", action if present or not was else "drop"), "done")


def apply_to_each(
    aliases: Sequence[str],
    plan_for: Callable[[str], Callable[[Installed], Plan]],
    execution: Execution = execute_untimed,
) -> list[Outcome]:
    """Carry out a plan on each database, or on none; return what became of all steps.

    Raises:
        InstallationError: a database refused.
    """
    outcomes: list[Outcome] = []
    with _in_one_transaction(aliases):
        for alias in aliases:
            applied = plan_and_apply(connections[alias], plan_for(alias), execution=execution)
            if applied.error is not None:
                raise applied.error
            outcomes += applied.outcomes
    return outcomes


@contextmanager
def _in_one_transaction(aliases: Sequence[str]) -> Iterator[None]:
    """Let what happens on several databases be kept on all of them or on none; one plan is a transaction by itself."""
    with ExitStack() as stack:
        for alias in aliases if len(aliases) > 1 else ():
            stack.enter_context(transaction.atomic(using=alias))
        yield


def _is_in_error(connection: BaseDatabaseWrapper) -> bool:
    raw: Any = connection.connection
    return connection.needs_rollback or (
        raw is not None and raw.info.transaction_status == TransactionStatus.INERROR
    )


def lives_on(alias: str, model: Model) -> bool:
    """Return whether a database has the table of a model: that of a proxy is the table of what it stands for."""
    table_model: Any = model._meta.concrete_model
    return not model._meta.swapped and bool(router.allow_migrate_model(alias, table_model))


def compiled(model: Model, trigger: Trigger, target: Target) -> DesiredTrigger:
    """Return a registered trigger as it is to be installed."""
    desired = compile_as_declared(trigger, model, target)
    return desired.declared_with_model() if registry.is_declared_with_model(trigger, model) else desired
