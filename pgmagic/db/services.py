"""What `declare.doors` asks of the compiler and of the database, for the alias that a call names."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connections, models

from pgmagic.compile.declarations import asked_target, compile_declaration, target_of_model
from pgmagic.compile.desired import DesiredTrigger
from pgmagic.compile.functions import Body, ready_made_body
from pgmagic.compile.predicate import built_in_sql, condition_sql
from pgmagic.compile.sql import render
from pgmagic.compile.target import Target
from pgmagic.compile.transition_tables import transition_kwargs
from pgmagic.db.catalog import read_catalog
from pgmagic.db.changes import Change, Restoration, belongs, lives_on, make
from pgmagic.db.declared import compiled
from pgmagic.db.installation import plan_installing
from pgmagic.db.schemas import target_of
from pgmagic.declare.composer import Composer
from pgmagic.declare.conditions import Condition
from pgmagic.declare.model_types import Model
from pgmagic.declare.trigger import Trigger
from pgmagic.plan.drops import plan_uninstalling
from pgmagic.plan.installation_state import UNALLOWED, trigger_status
from pgmagic.plan.switching import plan_disabling, plan_enabling

_DEFAULT = "default"


@dataclass(frozen=True)
class DeclarationCompiler:
    """Compiles a declaration for the database that is named, or for which a user's own method is called."""

    def condition(self, condition: Condition | models.Q, model: Model) -> str:
        """Return a condition as SQL on OLD and NEW."""
        return render(condition_sql(condition, model))

    def built_in_condition(self, condition: Condition, model: Model) -> str:
        """Return a condition as SQL as pgmagic renders it, also if its class has a `resolve` of its own."""
        return render(built_in_sql(condition, model))

    def trigger(self, trigger: Trigger, model: Model, database: str | None) -> DesiredTrigger:
        """Return the function and the triggers that a declaration needs."""
        return compile_declaration(trigger, model, _target(database))

    def body(self, trigger: Trigger, model: Model) -> Body:
        """Return the body of a ready-made trigger."""
        return ready_made_body(trigger, model, target_of_model(model, _target(None)))

    def transition_kwargs(self, trigger: Composer, model: Model) -> dict[str, object]:
        """Return the rows for which the condition holds, under the names that a statement-level `Func` may use."""
        return transition_kwargs(trigger, model)


def _target(database: str | None) -> Target:
    asked = asked_target() if database is None else None
    return asked or target_of(database or _DEFAULT)


@dataclass(frozen=True)
class LiveDatabase:
    """Changes and reads one trigger of a database."""

    def install(self, model: Model, trigger: Trigger, database: str | None) -> Restoration:
        """Install one trigger, or replace what is installed of it.

        Raises:
            InstallationError: the database refused it; nothing of it was kept.
        """
        return make(Change([(model, trigger)], plan_installing), database or _DEFAULT)

    def uninstall(self, model: Model, trigger: Trigger, database: str | None) -> Restoration:
        """Drop one trigger and its function; nothing happens where it is not installed."""
        return make(Change([(model, trigger)], plan_uninstalling), database or _DEFAULT)

    def enable(self, model: Model, trigger: Trigger, database: str | None) -> Restoration:
        """Let one trigger fire in ordinary sessions."""
        return make(Change([(model, trigger)], plan_enabling), database or _DEFAULT)

    def disable(self, model: Model, trigger: Trigger, database: str | None) -> Restoration:
        """Keep one trigger from firing, in every session."""
        return make(Change([(model, trigger)], plan_disabling), database or _DEFAULT)

    def installation_status(self, model: Model, trigger: Trigger, database: str | None) -> tuple[str, bool | None]:
        """Return INSTALLED, OUTDATED, UNINSTALLED or UNALLOWED, and whether it is enabled (None: not installed)."""
        alias = database or _DEFAULT
        if not belongs(alias, model, trigger):
            return UNALLOWED, None
        return trigger_status(compiled(model, trigger, target_of(alias)), read_catalog(connections[alias]))

    def allows(self, model: Model, database: str | None) -> bool:
        """Return whether the triggers of a model may be in the database."""
        return lives_on(database or _DEFAULT, model)

    def execute(self, sql: str, database: str | None, fetchall: bool) -> list[tuple[object, ...]] | None:
        """Execute SQL on the database; return all rows if asked to."""
        with connections[database or _DEFAULT].cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if fetchall else None
