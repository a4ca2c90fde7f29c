"""`Trigger`: one rule on one model's table, declared."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import ClassVar

from django.db import models

from pgmagic.declare import doors, names, registry
from pgmagic.declare.conditions import Condition
from pgmagic.declare.doors import Compiled
from pgmagic.declare.model_types import Model
from pgmagic.declare.signatures import arguments_checked
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
    Word,
)
from pgmagic.errors import DeclarationError


class Trigger:
    """A trigger of your own. Each argument may also be an attribute of a subclass, and each `get_…` be overridden.

    Args:
        name: unique among the triggers of a model.
        level: `Row` (the default) or `Statement`.
        when: `Before`, `After` or `InsteadOf`.
        operation: `Insert`, `Update`, `UpdateOf(…)`, `Delete`, `Truncate`, or several joined by `|`.
        condition: the trigger fires only where it is true.
        referencing: names of the transition tables, for a trigger after a statement.
        func: the PL/pgSQL between BEGIN and END.
        declare: the variables of the function, as (name, type) pairs.
        timing: `Immediate` or `Deferred`; makes it a constraint trigger.

    Raises:
        DeclarationError: if the arguments contradict each other, or one does not exist.

    Example:
        >>> loud = pgtrigger.Trigger(
        ...     name="loud", when=pgtrigger.Before, operation=pgtrigger.Update,
        ...     func="NEW.title := upper(NEW.title); RETURN NEW;")
        >>> with loud.install(Post):
        ...     Post.objects.update(title="hi")
        1
        >>> Post.objects.get().title
        'HI'
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

    # Whether its function lets everything pass in a session that ignores the trigger.
    ignorable: ClassVar[bool] = True

    @arguments_checked
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
            DeclarationError: if they do not; the message names the attribute.
        """
        self.validate_name()
        self._validate_type("when", When)
        self._validate_type("operation", Operation)
        self._validate_type("level", Level)
        self._validate_type("timing", Timing, type(None))
        self._validate_type("condition", Condition, models.Q, type(None))
        self._validate_type("referencing", Referencing, type(None))
        updates = [each for each in self.operations if each == Update or isinstance(each, UpdateOf)]
        if len(updates) > 1:
            raise DeclarationError(
                f"{' and '.join(map(str, updates))} are one event in Postgres: name all fields in one "
                f'pgtrigger.UpdateOf, or use pgtrigger.Update (trigger "{self.name}").'
            )
        if self.timing is not None:
            self._validate_timing()
        if self.when == InsteadOf and self.level != Row:
            raise DeclarationError(f'InsteadOf triggers fire for each row (trigger "{self.name}").')
        if self.when == InsteadOf and self.condition is not None:
            raise DeclarationError(
                f'InsteadOf triggers take no condition in Postgres: test it in the body (trigger "{self.name}").'
            )
        if self.referencing is not None:
            self._validate_referencing()

    def validate_name(self) -> None:
        """Check the name.

        Raises:
            DeclarationError: if the name is empty, or holds what Postgres cannot store.
        """
        names.validate_name(self.name, type(self).__name__)

    def _validate_type(self, attribute: str, *types: type) -> None:
        value = getattr(self, attribute)
        if not isinstance(value, types):
            expected = " or ".join(f"pgtrigger.{kind.__name__}" for kind in types if kind is not type(None))
            words = [repr(kind(value)) for kind in types if issubclass(kind, Word) for value in kind.values]
            advice = f" The choices are {', '.join(words)}." if words else ""
            raise DeclarationError(
                f'Invalid "{attribute}" attribute of trigger "{self.name}": expected {expected}, got {value!r}.{advice}'
            )

    def _validate_timing(self) -> None:
        if Truncate in self.operations:
            raise DeclarationError(
                f'Deferrable triggers fire for each row, and TRUNCATE shows none (trigger "{self.name}").'
            )
        for attribute, expected in (("level", Row), ("when", After)):
            if getattr(self, attribute) != expected:
                raise DeclarationError(
                    f'Deferrable triggers must have "{attribute}" attribute as "{expected!r}" (trigger "{self.name}").'
                )

    def _validate_referencing(self) -> None:
        if self.when != After or self.level != Statement:
            raise DeclarationError(
                f'"referencing" goes with when=pgtrigger.After and level=pgtrigger.Statement (trigger "{self.name}").'
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
        """Return the PL/pgSQL between BEGIN and END.

        Raises:
            DeclarationError: if there is none.
        """
        text = self.func.func if isinstance(self.func, Func) else self.func
        if not self.func or (isinstance(text, str) and not text.strip()):
            raise DeclarationError(
                f'Must define func attribute or implement get_func: trigger "{self.name}" has no body.'
            )
        return self.func

    def get_func_template_kwargs(self, model: Model) -> dict[str, object]:
        """Return what the text of a `Func` may name in braces: `meta`, `fields` and `columns`."""
        return table_kwargs(model)

    # What other code asks of it.

    def get_uri(self, model: Model) -> str:
        """Return `app_label.ModelName:trigger_name`."""
        return names.trigger_uri(model._meta.app_label, str(model._meta.object_name), self.get_name())

    def get_pgid(self, model: Model) -> str:
        """Return the name of the trigger and its function in Postgres, at most 63 bytes."""
        return names.postgres_name(self.get_name(), self.get_uri(model))

    def format_sql(self, sql: str) -> str:
        """Return SQL without the blanks around it; blanks inside may belong to a literal."""
        return sql.strip()

    def render_condition(self, model: Model) -> str:
        """Return the condition as a WHEN clause on OLD and NEW, empty without a condition."""
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

        A subclass may give the call arguments (TG_ARGV), or call another function. `ignore` has no effect on a trigger
        that calls another function, since only the trigger's own function looks for it.
        """
        return f"{names.quote_if_needed(self.get_pgid(model))}()"

    def compile(self, model: Model, *, database: str | None = None) -> Compiled:
        """Return the function and the triggers that the declaration needs in Postgres; nothing is executed.

        Args:
            model: the model on whose table the trigger is.
            database: the alias for which the SQL is; in a notebook, the SQL names the notebook's schema.

        Returns:
            An object with `install_sql` and `uninstall_sql`.

        Raises:
            DeclarationError: if it names what the model does not have, or contradicts what Postgres allows.

        Example:
            >>> [(_, trigger)] = pgtrigger.registered("notebook.Post:keep_published")
            >>> print(trigger.compile(Post).uninstall_sql)
            DROP TRIGGER "pgtrigger_keep_published_..." ON ...
        """
        return doors.compiler().trigger(self, model, database)

    def register(self, *models: Model) -> AbstractContextManager[None]:
        """Register it for models; as a context manager, for the block only.

        Raises:
            DeclarationError: if a model has another trigger of that name, or no table.
        """
        for model in models:
            registry.check_model(model)
        former = registry.remember(self.get_uri(model) for model in models)
        for model in models:
            registry.add(model, self)
        return former

    def unregister(self, *models: Model) -> AbstractContextManager[None]:
        """Remove it from models; as a context manager, for the block only.

        Raises:
            UnknownTriggerError: if it is not registered for a model.
        """
        former = registry.remember(self.get_uri(model) for model in models)
        for model in models:
            registry.remove(model, self)
        return former

    def is_registered(self, model: Model) -> bool:
        """Return whether it is registered for a model."""
        return registry.find(self.get_uri(model)) == (model, self)

    def install(self, model: Model, database: str | None = None) -> AbstractContextManager[None]:
        """Install it, in one transaction; as a context manager, for the block only.

        Args:
            model: the model on whose table the trigger is.
            database: an alias; the default database unless given.

        Raises:
            InstallationError: if the database refused it, and nothing of it was kept.
        """
        return doors.database().install(model, self, database)

    def uninstall(self, model: Model, database: str | None = None) -> AbstractContextManager[None]:
        """Drop it and its function, in one transaction; as a context manager, for the block only. See `install`."""
        return doors.database().uninstall(model, self, database)

    def enable(self, model: Model, database: str | None = None) -> AbstractContextManager[None]:
        """Let it fire; as a context manager, for the block only. See `install`.

        Raises:
            NotInstalledError: if it is not installed.
        """
        return doors.database().enable(model, self, database)

    def disable(self, model: Model, database: str | None = None) -> AbstractContextManager[None]:
        """Keep it installed, but let it fire in no session; as a context manager, for the block only. See `enable`."""
        return doors.database().disable(model, self, database)

    def get_installation_status(self, model: Model, database: str | None = None) -> tuple[str, bool | None]:
        """Return INSTALLED, OUTDATED, UNINSTALLED or UNALLOWED, and whether it is enabled (None: not installed)."""
        return doors.database().installation_status(model, self, database)

    def allow_migrate(self, model: Model, database: str | None = None) -> bool:
        """Return whether a database may have it: a Postgres that the routers let have the model. May be overridden.

        Where it may not be, its state is UNALLOWED, and installing it does nothing.
        """
        return doors.database().allows(model, database)

    def exec_sql(
        self, sql: str, model: Model, database: str | None = None, fetchall: bool = False
    ) -> list[tuple[object, ...]] | None:
        """Execute SQL on a database, the default one unless given; return all rows if `fetchall` is true."""
        return doors.database().execute(sql, database, fetchall)


class ReadyMade(Trigger):
    """A trigger whose body the compiler writes."""

    def get_func(self, model: Model) -> Func | str:
        """Return the body, as the compiler writes it for the database that is compiled for, or else the default one."""
        return doors.compiler().body(self, model)
