"""`Composer`: one declaration for row level and for statement level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgmagic.declare import doors
from pgmagic.declare.templates import Func
from pgmagic.declare.trigger import Model, Trigger
from pgmagic.declare.vocabulary import (
    After,
    Delete,
    Insert,
    Level,
    Operation,
    Referencing,
    Statement,
    Truncate,
    UpdateOf,
)
from pgmagic.errors import DeclarationError

# The names under which a statement-level function finds the rows before and after the statement.
OLD_VALUES = "old_values"
NEW_VALUES = "new_values"


class Composer(Trigger):
    """A trigger with a body for each level: `func={Row: …, Statement: …}`; one body alone serves both.

    At statement level, after the operation, the transition tables are called `old_values` and `new_values`, and a
    `Func` may name the rows for which the condition holds: `FROM {cond_old_values}`, `FROM {cond_new_values}`, and
    `FROM {cond_joined_values}`, in which each row before the statement stands beside what became of it, also where
    the statement changed its key.

    Raises:
        DeclarationError: there is no body for the level, or `referencing` is given, which is composed here.
    """

    func: Func | str | Mapping[Level, Func | str] | None = None  # type: ignore[assignment]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.compose()

    def compose(self) -> None:
        """Name the transition tables that the level and the operations call for."""
        if self.level == Statement and self.when == After:
            self.referencing = transition_tables(self.operations)

    def _validate_referencing(self) -> None:
        if self.referencing is not None:
            raise DeclarationError(
                f'Composer triggers do not support referencing declarations: at statement level "{OLD_VALUES}" and '
                f'"{NEW_VALUES}" are there by themselves (trigger "{self.name}").'
            )

    def get_func(self, model: Model) -> Func | str:
        """Return the body for the trigger's level."""
        if not isinstance(self.func, Mapping):
            return super().get_func(model)
        if self.level not in self.func:
            given = ", ".join(map(repr, self.func)) or "none"
            raise DeclarationError(
                f'The trigger "{self.name}" is declared for level {self.level!r}, but has no func for it, only for '
                f"{given}."
            )
        return self.func[self.level]

    def get_func_template_kwargs(self, model: Model) -> dict[str, Any]:
        """Return what the text of a `Func` may name in braces, the rows of the condition included."""
        return super().get_func_template_kwargs(model) | doors.compiler().transition_kwargs(self, model)


def transition_tables(operations: tuple[Operation, ...]) -> Referencing | None:
    """Return the transition tables that Postgres has for the operations, or None.

    It has none for TRUNCATE, and none for an UPDATE OF columns.
    """
    if any(isinstance(operation, UpdateOf) for operation in operations):
        return None
    rows = [operation for operation in operations if operation != Truncate]
    if not rows:
        return None
    return Referencing(
        old=OLD_VALUES if any(operation != Insert for operation in rows) else None,
        new=NEW_VALUES if any(operation != Delete for operation in rows) else None,
    )
