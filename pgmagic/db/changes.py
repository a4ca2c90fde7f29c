"""Changing declared triggers of a database, and undoing the change."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from django.db import DEFAULT_DB_ALIAS, connections, router, transaction
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
        for before in self._before[-1:]:
            connection = connections[before.alias]
            # A transaction in error is rolled back, which undoes the change.
            if not (connection.needs_rollback or transaction_status(connection) == TransactionStatus.INERROR):
                apply_to(before.alias, before.plan)


def carry_out(change: Change, database: str | None = None) -> list[Outcome]:
    """Make a change on a database, the default one unless given; return what became of each step, and its time.

    Raises:
        InstallationError: if the database refuses; then nothing is changed.
    """
    return _change(change, database, execute_and_time)[1]


def postgres_alias(database: str | None) -> str | None:
    """Return the alias of the database that a call means, the default one unless given; None if it is no Postgres."""
    alias = database or DEFAULT_DB_ALIAS
    return alias if connections[alias].vendor == "postgresql" else None


def make(change: Change, database: str | None) -> Restoration:
    """Make a change; return what restores the triggers."""
    return Restoration(_change(change, database, execute_untimed)[0])


def _change(change: Change, database: str | None, execution: Execution) -> tuple[list[_Before], list[Outcome]]:
    """Change the triggers that a database may have; return what was there before, and what was done."""
    before: list[_Before] = []
    if (alias := postgres_alias(database)) is None:
        return before, []
    target = target_of(alias)
    change = replace(change, declared=[pair for pair in change.declared if belongs(alias, *pair)])
    with models_at_rest():
        desired = [compiled(model, trigger, target) for model, trigger in change.declared]
    hooked = change.hooked
    apart = {trigger.get_uri(model) for model, trigger in hooked}
    planning = _planning(change, alias, desired, apart, before)
    if not hooked:
        return before, apply_to(alias, planning, execution)
    with transaction.atomic(using=alias):
        outcomes = apply_to(alias, planning, execution)
        for model, trigger in hooked:
            getattr(trigger, str(change.hook))(model, database=alias)
        outcomes += before[-1].outcomes(apart)
    return before, outcomes


def _planning(
    change: Change,
    alias: str,
    triggers: Sequence[DesiredTrigger],
    apart: Collection[str],
    before: list[_Before],
) -> Callable[[Installed], Plan]:
    """Return the planner of a change on one database; it adds to `before` what the database held.

    apart: the URIs of triggers whose own methods make the change.
    """

    def plan(installed: Installed) -> Plan:
        made = change.planner([each for each in triggers if each.uri not in apart], installed)
        if apart or any(step.changes and step.action != "create" for step in made.steps):
            installed = with_definitions(connections[alias], installed)
        before.append(_Before(alias, triggers, installed))
        return made

    return plan


def apply_to(
    alias: str, planning: Callable[[Installed], Plan], execution: Execution = execute_untimed
) -> list[Outcome]:
    """Carry out a plan on a database, or nothing of it; return what became of all steps.

    Raises:
        InstallationError: if the database refuses.
    """
    applied = plan_and_apply(connections[alias], planning, execution=execution)
    if applied.error is not None:
        raise applied.error
    return list(applied.outcomes)


def belongs(alias: str, model: Model, trigger: Trigger) -> bool:
    """Return whether a database may have a trigger: whether it may have its model, unless its class knows better."""
    return trigger.allow_migrate(model, database=alias)


def lives_on(alias: str, model: Model) -> bool:
    """Return whether triggers of a model may be in a database.

    It is a Postgres, and the router lets it have the model's table; a proxy has the table of its base.
    """
    if model._meta.swapped or postgres_alias(alias) is None:
        return False
    return bool(router.allow_migrate_model(alias, model._meta.concrete_model or model))
