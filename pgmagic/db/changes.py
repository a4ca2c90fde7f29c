"""Changing declared triggers on one database or on several, on all of them or on none; and undoing the change."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace

from django.db import connections, router, transaction
from psycopg.pq import TransactionStatus

from pgmagic.compile.desired import DesiredTrigger
from pgmagic.compile.remembering import models_at_rest
from pgmagic.db.apply import Execution, execute_and_time, execute_untimed, plan_and_apply
from pgmagic.db.catalog import read_catalog, with_definitions
from pgmagic.db.declared import compiled
from pgmagic.db.driver import transaction_status
from pgmagic.db.schemas import target_of
from pgmagic.declare.model_types import Model
from pgmagic.declare.trigger import Trigger
from pgmagic.plan.drops import parts_of
from pgmagic.plan.installed import Installed, InstalledTrigger
from pgmagic.plan.restoring import plan_restoring
from pgmagic.plan.steps import Action, Outcome, Plan, Step

Declared = tuple[Model, Trigger]
Planner = Callable[[Sequence[DesiredTrigger], Installed], Plan]


@dataclass(frozen=True)
class Change:
    """A change that is to be made to declared triggers.

    hook: the method of `Trigger` that makes the change to one trigger; called if the trigger's class overrides it.
    """

    declared: Sequence[Declared]
    planner: Planner
    hook: str | None = None

    @property
    def hooked(self) -> list[Declared]:
        """The triggers whose own method makes the change."""
        if self.hook is None:
            return []
        hook, usual = self.hook, getattr(Trigger, self.hook)
        return [(model, trigger) for model, trigger in self.declared if getattr(type(trigger), hook) is not usual]


@dataclass(frozen=True)
class _Before:
    """What one database held of some triggers before a change."""

    alias: str
    triggers: Sequence[DesiredTrigger]
    installed: Installed

    def plan(self, installed: Installed) -> Plan:
        """Return the steps that restore the triggers."""
        return plan_restoring(self.triggers, self.installed, installed)

    def outcomes(self, uris: Collection[str]) -> Iterator[Outcome]:
        """Yield what the catalog shows of triggers whose own methods made the change."""
        installed = read_catalog(connections[self.alias])
        for trigger in self.triggers:
            if trigger.uri in uris:
                action = _action(parts_of(trigger, self.installed), parts_of(trigger, installed))
                yield Outcome(Step(trigger.uri, "trigger", action), "done")


def _action(was: Sequence[InstalledTrigger], present: Sequence[InstalledTrigger]) -> Action:
    if was == present:
        return "unchanged"
    if not was:
        return "create"
    return "replace" if present else "drop"


class Restoration(AbstractContextManager[None]):
    """What `install`, `uninstall`, `enable` and `disable` return: the change was made, and a `with` block undoes it.

    At the end of the block, also if it raises, the triggers are what they were before the change: absent or present,
    edited in the database or not, enabled or not. Without a `with` block the change stays. Restoring is one
    transaction that takes the same locks as the change; in a transaction in error nothing is restored, since its
    rollback takes the change with it.

    Raises:
        InstallationError: at the end of the block, if a database refuses to restore a trigger.

    Example:
        >>> with pgtrigger.disable("notebook.Post:keep_published"):
        ...     Post.objects.all().delete()
        (1, {'notebook.Post': 1})
    """

    def __init__(self, before: Sequence[_Before]) -> None:
        self._before = before

    def __repr__(self) -> str:
        uris = {trigger.uri: None for before in self._before for trigger in before.triggers}
        return f"<changed: {', '.join(uris) or 'nothing'}>"

    def __enter__(self) -> None:
        # The definitions of functions that the change replaced were read before it.
        self._before = [
            replace(each, installed=with_definitions(connections[each.alias], each.installed)) for each in self._before
        ]

    def __exit__(self, *_exception: object) -> None:
        by_alias: dict[str, _Before] = {}
        for before in self._before:
            connection = connections[before.alias]
            # A transaction in error is rolled back, which undoes the change.
            if not (connection.needs_rollback or transaction_status(connection) == TransactionStatus.INERROR):
                by_alias[before.alias] = before
        apply_to_each(list(by_alias), lambda alias: by_alias[alias].plan)


def carry_out(change: Change, database: str | None = None) -> list[Outcome]:
    """Make a change on a database, or on all that a router allows; return what became of each step, and its time.

    Raises:
        InstallationError: if a database refuses; then no database is changed.
    """
    return _change(change, aliases_of(database), execute_and_time)[1]


def aliases_of(database: str | None) -> list[str]:
    """Return the aliases of the databases that a call means: the given one, or every Postgres."""
    if database is not None:
        return [database]
    return [alias for alias in connections if connections[alias].vendor == "postgresql"]


def make(change: Change, database: str | None) -> Restoration:
    """Make a change; return what restores the triggers."""
    return Restoration(_change(change, aliases_of(database), execute_untimed)[0])


def _change(change: Change, aliases: Sequence[str], execution: Execution) -> tuple[list[_Before], list[Outcome]]:
    """Change the triggers that each database may have; return what was there before, and what was done."""
    targets = {alias: target_of(alias) for alias in aliases}
    with models_at_rest():
        desired = {
            target: [(model, compiled(model, trigger, target)) for model, trigger in change.declared]
            for target in {*targets.values()}
        }
    hooked = change.hooked
    apart = {trigger.get_uri(model) for model, trigger in hooked}
    before: list[_Before] = []

    def plan_for(alias: str) -> Callable[[Installed], Plan]:
        return _planning(change, alias, desired[targets[alias]], apart, before)

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
            outcomes += each.outcomes(apart)
    return before, outcomes


def _planning(
    change: Change,
    alias: str,
    desired: Sequence[tuple[Model, DesiredTrigger]],
    apart: Collection[str],
    before: list[_Before],
) -> Callable[[Installed], Plan]:
    """Return the planner of a change on one database; it adds to `before` what the database held.

    apart: the URIs of triggers whose own methods make the change.
    """
    allowed = {model for model in dict(desired) if lives_on(alias, model)}
    triggers = [trigger for model, trigger in desired if model in allowed]

    def plan(installed: Installed) -> Plan:
        made = change.planner([each for each in triggers if each.uri not in apart], installed)
        if apart or any(step.changes and step.action != "create" for step in made.steps):
            installed = with_definitions(connections[alias], installed)
        before.append(_Before(alias, triggers, installed))
        return made

    return plan


def apply_to_each(
    aliases: Sequence[str],
    plan_for: Callable[[str], Callable[[Installed], Plan]],
    execution: Execution = execute_untimed,
) -> list[Outcome]:
    """Carry out a plan on every database or on none; return what became of all steps.

    Raises:
        InstallationError: if a database refuses.
    """
    outcomes: list[Outcome] = []
    with ExitStack() as stack:
        # The plan of a single database is a transaction by itself.
        for alias in aliases if len(aliases) > 1 else ():
            stack.enter_context(transaction.atomic(using=alias))
        for alias in aliases:
            applied = plan_and_apply(connections[alias], plan_for(alias), execution=execution)
            if applied.error is not None:
                raise applied.error
            outcomes += applied.outcomes
    return outcomes


def lives_on(alias: str, model: Model) -> bool:
    """Return whether the router lets a database have the table of a model; a proxy has the table of its base."""
    return not model._meta.swapped and bool(router.allow_migrate_model(alias, model._meta.concrete_model or model))
