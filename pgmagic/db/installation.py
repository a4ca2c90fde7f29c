"""Installing, dropping, enabling and disabling declared triggers: all triggers of a call, or none.

A call is about one database, the default one unless another is named. Nothing happens if that is not Postgres.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from django.conf import settings
from django.db import connections

from pgmagic.compile.desired import Desired, DesiredTrigger
from pgmagic.db.apply import execute_and_time
from pgmagic.db.catalog import read_catalog
from pgmagic.db.changes import Change, Planner, Restoration, apply_to, make, postgres_alias
from pgmagic.declare import registry
from pgmagic.declare.conditions import table_fields
from pgmagic.errors import UnknownTriggerError
from pgmagic.plan.drops import plan_pruning, plan_uninstalling, prunable_triggers, prunable_uris
from pgmagic.plan.installed import Installed
from pgmagic.plan.planning import plan_changes
from pgmagic.plan.steps import Outcome, Plan
from pgmagic.plan.switching import plan_disabling, plan_enabling


def installing(*uris: str) -> Change:
    """Return the change that `install` makes."""
    return Change(registry.of_project(*uris), _with_pruning(plan_installing, uris), "install")


def uninstalling(*uris: str) -> Change:
    """Return the change that `uninstall` makes."""
    return Change(registry.of_project(*uris), _with_pruning(plan_uninstalling, uris), "uninstall")


def enabling(*uris: str) -> Change:
    """Return the change that `enable` makes."""
    return Change(registry.of_project(*uris), plan_enabling, "enable")


def disabling(*uris: str) -> Change:
    """Return the change that `disable` makes."""
    return Change(registry.of_project(*uris), plan_disabling, "disable")


def install(*uris: str, database: str | None = None) -> Restoration:
    """Install registered triggers, or replace what is installed of them, in one transaction.

    Installing takes a SHARE ROW EXCLUSIVE lock on each table whose triggers change, and waits at most 10 seconds for
    it. Triggers that are installed as declared are not touched.

    Args:
        uris: `app_label.Model:trigger_name`; without a URI, all registered triggers. Without a URI, triggers that are
            no longer registered are dropped, unless `PGTRIGGER_PRUNE_ON_INSTALL` is False.
        database: An alias of DATABASES; the default one unless given. A trigger is installed if a router allows its
            model there; a database that is not Postgres gets none.

    Returns:
        A context manager that restores at the end of its block what was installed before.

    Raises:
        UnknownTriggerError: if nothing is registered under a URI.
        InstallationError: if the database refuses, or a lock is not free in time; then nothing is changed.

    Example:
        >>> pgtrigger.install("notebook.Post:keep_published")
        <changed: notebook.Post:keep_published>
    """
    return make(installing(*uris), database)


def uninstall(*uris: str, database: str | None = None) -> Restoration:
    """Drop registered triggers with their functions; triggers that are not installed are skipped.

    Dropping a trigger takes an ACCESS EXCLUSIVE lock on its table. A transaction, errors and pruning as for `install`.

    Args:
        uris: `app_label.Model:trigger_name`; without a URI, all registered triggers.
        database: An alias of DATABASES; the default one unless given.

    Returns:
        A context manager that restores at the end of its block what was installed before.

    Raises:
        UnknownTriggerError: if nothing is registered under a URI.
        InstallationError: if the database refuses, or a lock is not free in time; then nothing is changed.

    Example:
        >>> with pgtrigger.uninstall("notebook.Post:keep_published"):
        ...     Post.objects.create(title="Old", status="published").delete()
        (1, {'notebook.Post': 1})
    """
    return make(uninstalling(*uris), database)


def enable(*uris: str, database: str | None = None) -> Restoration:
    """Let registered triggers fire again in ordinary sessions, for everybody.

    Enabling takes a SHARE ROW EXCLUSIVE lock on the table.

    Args:
        uris: `app_label.Model:trigger_name`; without a URI, all registered triggers.
        database: An alias of DATABASES; the default one unless given.

    Returns:
        A context manager that restores at the end of its block whether the triggers were enabled.

    Raises:
        UnknownTriggerError: if nothing is registered under a URI.
        NotInstalledError: if a trigger is not installed; then none is enabled.
        InstallationError: if the database refuses, or a lock is not free in time; then nothing is changed.

    Example:
        >>> pgtrigger.enable("notebook.Post:keep_published")
        <changed: notebook.Post:keep_published>
    """
    return make(enabling(*uris), database)


def disable(*uris: str, database: str | None = None) -> Restoration:
    """Keep registered triggers from firing, for everybody and in every session; `ignore` is for one block of code.

    Disabling takes a SHARE ROW EXCLUSIVE lock on the table.

    Args:
        uris: `app_label.Model:trigger_name`; without a URI, all registered triggers.
        database: An alias of DATABASES; the default one unless given.

    Returns:
        A context manager that restores at the end of its block whether the triggers were enabled.

    Raises:
        UnknownTriggerError: if nothing is registered under a URI.
        NotInstalledError: if a trigger is not installed; then none is disabled.
        InstallationError: if the database refuses, or a lock is not free in time; then nothing is changed.

    Example:
        >>> with pgtrigger.disable("notebook.Post:keep_published"):
        ...     Post.objects.create(title="Old", status="published").delete()
        (1, {'notebook.Post': 1})
    """
    return make(disabling(*uris), database)


def prune(database: str | None = None) -> None:
    """Drop the triggers that pgmagic installed and that are not registered, and functions without a trigger.

    It is one transaction, with an ACCESS EXCLUSIVE lock on each table that loses a trigger.

    Args:
        database: An alias of DATABASES; the default one unless given.

    Raises:
        InstallationError: if the database refuses, or a lock is not free in time; then nothing is changed.

    Example:
        >>> pgtrigger.prune()
        >>> pgtrigger.prunable()
        []
    """
    prune_only((), database)


def prune_only(uris: Collection[str], database: str | None) -> list[Outcome]:
    """Drop what `prune` drops, or only what has the given URIs; return what was done.

    Raises:
        UnknownTriggerError: if there is nothing to prune under a URI.
    """

    def plan(installed: Installed) -> Plan:
        registered = registered_uris()
        prunable = prunable_uris(installed, registered)
        for uri in uris:
            if uri not in prunable:
                known = ", ".join(sorted(prunable)) or "nothing"
                raise UnknownTriggerError(f"There is nothing to prune under {uri!r}; what can be pruned: {known}.")
        return plan_pruning(installed, registered | (prunable - {*uris} if uris else set()))

    alias = postgres_alias(database)
    return [] if alias is None else apply_to(alias, plan, execute_and_time)


def prunable(database: str | None = None) -> list[tuple[str, str, bool, str]]:
    """Return the triggers that `prune` would drop: those that pgmagic installed and that are not registered.

    Args:
        database: An alias of DATABASES; the default one unless given.

    Returns:
        (table, name in Postgres, whether it is enabled, database) for each trigger, by table and name.

    Example:
        >>> pgtrigger.prunable()
        []
    """
    alias = postgres_alias(database)
    if alias is None:
        return []
    found = prunable_triggers(read_catalog(connections[alias]), registered_uris())
    return [(trigger.table, trigger.name, trigger.is_enabled, alias) for trigger in found]


def install_where_possible(database: str) -> None:
    """Install every registered trigger whose table exists with its columns; the last step of a migration.

    A project that is migrated back to a former state lacks tables and columns that its code names.
    """

    def plan(triggers: Sequence[DesiredTrigger], installed: Installed) -> Plan:
        columns = {
            trigger.get_uri(model): {field.column for field in table_fields(model)}
            for model, trigger in registry.registered()
        }
        present = [
            trigger
            for trigger in triggers
            if (table := installed.table(trigger.table, trigger.schema)) and columns[trigger.uri] <= {*table.columns}
        ]
        return plan_installing(present, installed)

    make(Change(registry.of_project(), _with_pruning(plan, ())), database)


def plan_installing(triggers: Sequence[DesiredTrigger], installed: Installed) -> Plan:
    """Return the steps that install triggers, and replace what is installed of them."""
    return plan_changes(Desired(triggers=triggers), installed)


def _with_pruning(planner: Planner, uris: Sequence[str]) -> Planner:
    """Return a planner that also prunes if all triggers are meant, unless the settings forbid it."""
    if uris or not getattr(settings, "PGTRIGGER_PRUNE_ON_INSTALL", True):
        return planner

    def plan(triggers: Sequence[DesiredTrigger], installed: Installed) -> Plan:
        pruning = plan_pruning(installed, registered_uris())
        return Plan([*pruning.steps, *planner(triggers, installed).steps])

    return plan


def registered_uris() -> set[str]:
    """Return the URIs of all registered triggers."""
    return {trigger.get_uri(model) for model, trigger in registry.registered()}
