"""What declarations ask of other rooms: three services, each supplied once, when the public package is imported.

So this room imports no other room. A service holds nothing of a session: what SQL is compiled for follows from the
database that a call names.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from pgmagic.declare.model_types import Model

if TYPE_CHECKING:
    from django.db import models

    from pgmagic.declare.composer import Composer
    from pgmagic.declare.conditions import Condition
    from pgmagic.declare.trigger import Trigger

Service = TypeVar("Service")


class Compiled(Protocol):
    """What a trigger is compiled to."""

    @property
    def install_sql(self) -> str:
        """The SQL that installs it."""

    @property
    def uninstall_sql(self) -> str:
        """The SQL that drops it."""


class Compiler(Protocol):
    """What `compile/` does for a declaration. database: an alias; None stands for the default one."""

    def condition(self, condition: Condition | models.Q, model: Model) -> str:
        """Return a condition as SQL on OLD and NEW."""

    def built_in_condition(self, condition: Condition, model: Model) -> str:
        """Return a condition as SQL as pgmagic renders it, also if its class has a `resolve` of its own."""

    def trigger(self, trigger: Trigger, model: Model, database: str | None) -> Compiled:
        """Return the compiled trigger."""

    def body(self, trigger: Trigger, model: Model) -> str:
        """Return the body of a ready-made trigger's function."""

    def transition_kwargs(self, trigger: Composer, model: Model) -> dict[str, object]:
        """Return the rows for which the condition holds, under the names that a statement-level `Func` may use."""


class Database(Protocol):
    """What `db/` does for a declaration. database: an alias; None stands for the default one."""

    def install(self, model: Model, trigger: Trigger, database: str | None) -> AbstractContextManager[None]:
        """Install one trigger, in one transaction."""

    def uninstall(self, model: Model, trigger: Trigger, database: str | None) -> AbstractContextManager[None]:
        """Drop one trigger and its function, in one transaction."""

    def enable(self, model: Model, trigger: Trigger, database: str | None) -> AbstractContextManager[None]:
        """Enable one trigger."""

    def disable(self, model: Model, trigger: Trigger, database: str | None) -> AbstractContextManager[None]:
        """Disable one trigger."""

    def installation_status(self, model: Model, trigger: Trigger, database: str | None) -> tuple[str, bool | None]:
        """Return the installation state of one trigger, and whether it is enabled."""

    def allows(self, model: Model, database: str | None) -> bool:
        """Return whether the triggers of a model may be in a database."""

    def execute(self, sql: str, database: str | None, fetchall: bool) -> list[tuple[object, ...]] | None:
        """Execute SQL; return all rows if asked to."""


class Door(Generic[Service]):
    """A service of another room. Calling the door returns the service."""

    def __init__(self, package: str) -> None:
        self._package = package
        self._service: Service | None = None

    def supply(self, service: Service) -> None:
        """Supply the service, once.

        Raises:
            RuntimeError: if another service is there already.
        """
        if self._service not in (None, service):
            raise RuntimeError(f"The service of pgmagic.{self._package} is supplied already, and never replaced.")
        self._service = service

    def __call__(self) -> Service:
        """Return the service.

        Raises:
            RuntimeError: if the package that supplies it was not imported.
        """
        if self._service is None:
            raise RuntimeError(f"A declaration needs pgmagic.{self._package}: import it first.")
        return self._service


compiler: Door[Compiler] = Door("pgtrigger")
database: Door[Database] = Door("pgtrigger")
# Returns the abstract model that event models are made from; models are loaded when Django is ready for them.
event_base: Door[Callable[[], Model]] = Door("pghistory")
