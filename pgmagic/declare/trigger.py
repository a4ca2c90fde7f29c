"""`Trigger`: one rule on one model's table, declared."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, ClassVar

from django.db import models

from pgmagic.declare import doors, names, registry
from pgmagic.declare.conditions import Condition
from pgmagic.declare.doors import Compiled
from pgmagic.declare.templates import Func, table_kwargs
from pgmagic.declare.vocabulary import (
    After,
    InsteadOf,
    Level,
    Operation,
    Referencing,
    Row,
    Statement,
    Timing,
    Truncate,
    Update,
    UpdateOf,
    When,
)
from pgmagic.errors import DeclarationError

Model = type[models.Model]


class Trigger:
    """A trigger. Every argument may also be an attribute of a subclass, and every `get_…` may be overridden.

    name: unique among the triggers of a model. when, operation, level, timing: the words of CREATE TRIGGER; a
    timing makes it a constraint trigger. condition: fires only where it is true. referencing: names of the
    transition tables. func: the PL/pgSQL between BEGIN and END. declare: its variables, as (name, type) pairs.

    Raises:
        DeclarationError: the arguments contradict each other.
    """

    name: str | None = None
    when: When | None = None
    operation: Operation | None = None
    level: Level = Row
    timing: Timing | None = None
    condition: Condition | models.Q | None = None
    referencing: Referencing | None = None
    func: Func | str | None = None
    declare: list[tuple[str, str]] | None = None

    # Whether the body leaves it to the WHEN clause to be skipped by `ignore`.
    ignorable: ClassVar[bool] = True

    def __init__(
        self,
        *,
        name: str | None = None,
        level: Level | None = None,
        when: When | None = None,
        operation: Operation | None = None,
        condition: Condition | models.Q | None = None,
        referencing: Referencing | None = None,
        func: Func | str | None = None,
        declare: list[tuple[str, str]] | None = None,
        timing: Timing | None = None,
    ) -> None:
        given = {
            "name": name, "level": level, "when": when, "operation": operation, "condition": condition,
            "referencing": referencing, "func": func, "declare": declare, "timing": timing,
        }  # fmt: skip
        for attribute, value in given.items():
            if value is not None:
                setattr(self, attribute, value)
        self.validate()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.name}>"

    def validate(self) -> None:
        """Check that the attributes make one trigger.

        Raises:
            DeclarationError: they do not; the message names the attribute.
        """
        self.validate_name()
        self._validate_type("when", When)
        self._validate_type("operation", Operation)
        self._validate_type("level", Level)
        self._validate_type("timing", Timing, type(None))
        self._validate_type("condition", Condition, models.Q, type(None))
        self._validate_type("referencing", Referencing, type(None))
        self._validate_updates()
        self._validate_timing()
        self._validate_level()
        self._validate_referencing()

    def validate_name(self) -> None:
        """Check the name; see `declare.names.validate_name`."""
        names.validate_name(self.name, type(self).__name__)

    def _validate_type(self, attribute: str, *types: type) -> None:
        value = getattr(self, attribute)
        if not isinstance(value, types):
            expected = " or ".join(f"pgtrigger.{kind.__name__}" for kind in types if kind is not type(None))
            raise DeclarationError(
                f'Invalid "{attribute}" attribute of trigger "{self.name}": expected {expected}, got {value!r}.'
            )

    def _validate_updates(self) -> None:
        updates = [
            operation
            for operation in self.operations
            if operation == Update or isinstance(operation, UpdateOf)
        ]
        if len(updates) > 1:
            raise DeclarationError(
                f"{' and '.join(map(str, updates))} are one event in Postgres: name all fields in one "
                f'pgtrigger.UpdateOf, or use pgtrigger.Update (trigger "{self.name}").'
            )

    def _validate_timing(self) -> None:
        if self.timing is None:
            return
        if Truncate in self.operations:
            raise DeclarationError(
                f'Deferrable triggers fire for each row, and TRUNCATE shows none (trigger "{self.name}").'
            )
        if self.level != Row:
            raise DeclarationError(
                f'Deferrable triggers must have "level" attribute as "pgtrigger.Row" (trigger "{self.name}").'
            )
        if self.when != After:
            raise DeclarationError(
                f'Deferrable triggers must have "when" attribute as "pgtrigger.After" (trigger "{self.name}").'
            )

    def _validate_level(self) -> None:
        if self.when != InsteadOf:
            return
        if self.level != Row:
            raise DeclarationError(f'InsteadOf triggers fire for each row (trigger "{self.name}").')
        if self.condition is not None:
            raise DeclarationError(
                f'InsteadOf triggers take no condition in Postgres: test it in the body (trigger "{self.name}").'
            )

    def _validate_referencing(self) -> None:
        if self.referencing is None:
            return
        if self.when != After or self.level != Statement:
            raise DeclarationError(
                f'"referencing" goes with when=pgtrigger.After and level=pgtrigger.Statement '
                f'(trigger "{self.name}").'
            )
        for operation in self.operations:
            if isinstance(operation, UpdateOf) or operation == Truncate:
                raise DeclarationError(
                    f"Postgres has no transition tables for {operation}: use Update, Insert or Delete with "
                    f'"referencing" (trigger "{self.name}").'
                )

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The single operations that fire it."""
        return tuple(self.operation or ())

    # What a subclass may override.

    def get_name(self) -> str:
        """Return the name."""
        return str(self.name)

    def get_condition(self, model: Model) -> Condition | models.Q | None:
        """Return the condition."""
        return self.condition

    def get_declare(self, model: Model) -> list[tuple[str, str]]:
        """Return the variables of the function as (name, type) pairs."""
        return self.declare or []

    def get_func(self, model: Model) -> Func | str:
        """Return the PL/pgSQL between BEGIN and END."""
        text = self.func.func if isinstance(self.func, Func) else self.func
        if not self.func or (isinstance(text, str) and not text.strip()):
            raise DeclarationError(
                f'Must define func attribute or implement get_func: trigger "{self.name}" has no body.'
            )
        return self.func

    def get_func_template_kwargs(self, model: Model) -> dict[str, Any]:
        """Return what the text of a `Func` may name in braces."""
        return table_kwargs(model)

    # What others ask of it.

    def get_uri(self, model: Model) -> str:
        """Return `app_label.ModelName:trigger_name`."""
        return names.trigger_uri(model._meta.app_label, str(model._meta.object_name), self.get_name())

    def get_pgid(self, model: Model) -> str:
        """Return its name in Postgres, at most 63 bytes."""
        return names.postgres_name(self.get_name(), self.get_uri(model))

    def format_sql(self, sql: str) -> str:
        """Return SQL without the blanks around it; those inside may be those of a literal."""
        return sql.strip()

    def render_condition(self, model: Model) -> str:
        """Return the condition as a WHEN clause on OLD and NEW, empty without one."""
        condition = self.get_condition(model)
        return f"WHEN ({doors.compiler().condition(condition, model)})" if condition is not None else ""

    def render_declare(self, model: Model) -> str:
        """Return the DECLARE section, empty without variables."""
        variables = self.get_declare(model)
        return "DECLARE " + " ".join(f"{name} {type_};" for name, type_ in variables) if variables else ""

    def render_func(self, model: Model) -> str:
        """Return the PL/pgSQL between BEGIN and END with the template's names filled in."""
        func = self.get_func(model)
        return func.render(**self.get_func_template_kwargs(model)) if isinstance(func, Func) else func

    def render_execute(self, model: Model) -> str:
        """Return the call of its function, without its schema.

        A subclass may give it arguments (TG_ARGV), or call another function: `ignore` passes over such a trigger,
        since only its own function asks.
        """
        return f"{names.quote_if_needed(self.get_pgid(model))}()"

    def compile(self, model: Model, *, database: str | None = None) -> Compiled:
        """Return the function and the triggers that stand for it in Postgres; nothing is executed."""
        return doors.compiler().trigger(self, model, database)

    def register(self, *models: Model) -> AbstractContextManager[None]:
        """Register it for models; as a context manager, for the block only."""
        for model in models:
            registry.check_model(model)
        former = registry.remember(self.get_uri(model) for model in models)
        for model in models:
            registry.add(model, self)
        return former

    def unregister(self, *models: Model) -> AbstractContextManager[None]:
        """Take it off models; as a context manager, for the block only."""
        former = registry.remember(self.get_uri(model) for model in models)
        for model in models:
            registry.remove(model, self)
        return former

    def is_registered(self, model: Model) -> bool:
        """Return whether it is registered for a model."""
        return registry.find(self.get_uri(model)) == (model, self)

    def install(self, model: Model, database: str | None = None) -> AbstractContextManager[None]:
        """Install it, in one transaction; as a context manager, for the block only."""
        return doors.database().install(model, self, database)

    def uninstall(self, model: Model, database: str | None = None) -> AbstractContextManager[None]:
        """Drop it and its function, in one transaction; as a context manager, for the block only."""
        return doors.database().uninstall(model, self, database)

    def enable(self, model: Model, database: str | None = None) -> AbstractContextManager[None]:
        """Let it fire; as a context manager, for the block only."""
        return doors.database().enable(model, self, database)

    def disable(self, model: Model, database: str | None = None) -> AbstractContextManager[None]:
        """Keep it installed, but let it fire for no session; as a context manager, for the block only."""
        return doors.database().disable(model, self, database)

    def get_installation_status(self, model: Model, database: str | None = None) -> tuple[str, bool | None]:
        """Return INSTALLED, OUTDATED, UNINSTALLED or UNALLOWED, and whether it is enabled (None: not installed)."""
        return doors.database().installation_status(model, self, database)

    def exec_sql(self, sql: str, model: Model, database: str | None = None, fetchall: bool = False) -> Any:
        """Execute SQL on the model's database; return all rows if asked to."""
        return doors.database().execute(sql, database, fetchall)
