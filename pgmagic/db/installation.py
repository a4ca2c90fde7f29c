"""Installing, dropping, enabling and disabling declared triggers, each call in one transaction."""

from __future__ import annotations

from typing import Any, cast

from django.db import connections, models, router

from pgmagic.compile import ddl
from pgmagic.compile.desired import Desired, DesiredTrigger
from pgmagic.db.apply import plan_and_apply
from pgmagic.db.catalog import read_catalog
from pgmagic.declare import registry
from pgmagic.declare.trigger import Trigger
from pgmagic.errors import InstallationError
from pgmagic.plan.diff import drop_steps, plan_changes
from pgmagic.plan.state import Installed, InstalledTrigger
from pgmagic.plan.status import UNALLOWED, trigger_status
from pgmagic.plan.steps import Plan, Step

Model = type[models.Model]


def compiled(model: Model, trigger: Trigger) -> DesiredTrigger:
    """Return a registered trigger as it is to be installed."""
    desired = cast("DesiredTrigger", trigger.compile(model))
    return desired.declared_with_model() if registry.is_declared_with_model(trigger, model) else desired


class LiveDatabase:
    """What `declare.delegates` asks of a database."""

    def install(self, model: Model, trigger: Trigger, database: str | None) -> None:
        """Install one trigger, or replace what is installed of it.

        Raises:
            InstallationError: the database refused it; nothing of it was kept.
        """
        desired = Desired(triggers=[compiled(model, trigger)])
        _apply(model, database, lambda installed: plan_changes(desired, installed))

    def uninstall(self, model: Model, trigger: Trigger, database: str | None) -> None:
        """Drop one trigger and its function; nothing happens where it is not installed."""
        _apply(
            model,
            database,
            lambda installed: Plan(list(drop_steps(_installed_parts(installed, model, trigger)))),
        )

    def enable(self, model: Model, trigger: Trigger, database: str | None) -> None:
        """Let one trigger fire in ordinary sessions."""
        _apply(model, database, lambda installed: _enabling(installed, model, trigger, "O"))

    def disable(self, model: Model, trigger: Trigger, database: str | None) -> None:
        """Keep one trigger from firing, in every session."""
        _apply(model, database, lambda installed: _enabling(installed, model, trigger, "D"))

    def installation_status(
        self, model: Model, trigger: Trigger, database: str | None
    ) -> tuple[str, bool | None]:
        """Return INSTALLED, OUTDATED, UNINSTALLED or UNALLOWED, and whether it is enabled (None: not installed)."""
        alias = database or "default"
        if not router.allow_migrate_model(alias, model):
            return UNALLOWED, None
        return trigger_status(compiled(model, trigger), read_catalog(connections[alias]))

    def execute(self, sql: str, model: Model, database: str | None, fetchall: bool) -> Any:
        """Execute SQL on the database; return all rows if asked to."""
        with connections[database or "default"].cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if fetchall else None


def _apply(model: Model, database: str | None, plan: Any) -> None:
    alias = database or "default"
    if not router.allow_migrate_model(alias, model):
        return
    applied = plan_and_apply(connections[alias], plan)
    if applied.error is not None:
        raise applied.error


def _installed_parts(installed: Installed, model: Model, trigger: Trigger) -> list[InstalledTrigger]:
    """Return what is installed of a trigger, also what a former declaration of it needed."""
    uri, names = trigger.get_uri(model), {part.name for part in compiled(model, trigger).triggers}
    return [
        found
        for found in installed.triggers_on(model._meta.db_table)
        if found.name in names or (found.mark is not None and found.mark.uri == uri)
    ]


def _enabling(installed: Installed, model: Model, trigger: Trigger, state: str) -> Plan:
    parts = _installed_parts(installed, model, trigger)
    if not parts:
        raise InstallationError(
            f"{trigger.get_uri(model)} is not installed, so it cannot be enabled or disabled."
        )
    return Plan(
        [
            Step(
                trigger.get_uri(model),
                "trigger",
                "replace",
                (ddl.set_enabled(part.schema, part.table, part.name, state),),
                fires=part.fires,
                condition=part.condition,
            )
            for part in parts
        ]
    )
