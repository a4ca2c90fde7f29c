"""What declarations ask of the rooms behind them, as protocols that the public packages fill in at import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from django.db import models

    from pgmagic.declare.composer import Composer
    from pgmagic.declare.conditions import Condition
    from pgmagic.declare.templates import Func
    from pgmagic.declare.trigger import Trigger

Model = type["models.Model"]


class Compiled(Protocol):
    """What a trigger is compiled to."""

    @property
    def install_sql(self) -> str:
        """The SQL that installs it."""

    @property
    def uninstall_sql(self) -> str:
        """The SQL that drops it."""


class Compiler(Protocol):
    """What `compile/` does for a declaration."""

    def condition(self, condition: Condition | models.Q, model: Model) -> str:
        """Return a condition as SQL on OLD and NEW."""

    def trigger(self, trigger: Trigger, model: Model) -> Compiled:
        """Return the compiled trigger."""

    def body(self, trigger: Trigger, model: Model) -> Func | str:
        """Return the body of a ready-made trigger's function."""

    def template_kwargs(self, model: Model) -> dict[str, Any]:
        """Return what every function's text may name."""

    def transition_kwargs(self, trigger: Composer, model: Model) -> dict[str, Any]:
        """Return what the text of a statement-level function may name: the rows for which the condition holds."""


class Database(Protocol):
    """What `db/` does for a declaration."""

    def install(self, model: Model, trigger: Trigger, database: str | None) -> AbstractContextManager[None]:
        """Install one trigger, in one transaction."""

    def uninstall(self, model: Model, trigger: Trigger, database: str | None) -> AbstractContextManager[None]:
        """Drop one trigger and its function, in one transaction."""

    def enable(self, model: Model, trigger: Trigger, database: str | None) -> AbstractContextManager[None]:
        """Enable one trigger."""

    def disable(self, model: Model, trigger: Trigger, database: str | None) -> AbstractContextManager[None]:
        """Disable one trigger."""

    def installation_status(
        self, model: Model, trigger: Trigger, database: str | None
    ) -> tuple[str, bool | None]:
        """Return the installation state of one trigger, and whether it is enabled."""

    def execute(self, sql: str, model: Model, database: str | None, fetchall: bool) -> Any:
        """Execute SQL on the model's database."""


class History(Protocol):
    """What the app of history does for a declaration."""

    def base_model(self) -> Model:
        """Return the abstract model that event models are made from."""


class Delegates:
    """The rooms that stand behind the declarations; `pgmagic.pgtrigger` and `pgmagic.pghistory` supply them."""

    compiler: Compiler
    database: Database
    history: History

    def __getattr__(self, name: str) -> Any:
        package = "pghistory" if name == "history" else "pgtrigger"
        raise RuntimeError(f"Nothing supplied the {name} of declarations: import pgmagic.{package} first.")


delegates = Delegates()
