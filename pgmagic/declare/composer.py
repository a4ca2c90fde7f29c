"""`Composer`: one declaration for row level and for statement level."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from django.db import models

from pgmagic.declare import doors
from pgmagic.declare.conditions import Condition
from pgmagic.declare.model_types import Model
from pgmagic.declare.signatures import arguments_checked
from pgmagic.declare.templates import Func
from pgmagic.declare.trigger import Trigger
from pgmagic.declare.vocabulary import (
    After,
    Delete,
    Insert,
    Level,
    Operation,
    Referencing,
    Statement,
    Timing,
    Truncate,
    UpdateOf,
    When,
)
from pgmagic.errors import DeclarationError

# The names under which a statement-level function finds the rows before and after the statement.
OLD_VALUES = "old_values"
NEW_VALUES = "new_values"
# The rows that the placeholders of a body need.
_ROWS = {"cond_old_values": ("old",), "cond_new_values": ("new",), "cond_joined_values": ("old", "new")}


class Composer(Trigger):
    """A trigger with a body for each level: `func={Row: …, Statement: …}`; a single body serves both.

    After a statement, the transition tables are called `old_values` and `new_values`, and a `Func` may name the rows
    for which the condition holds: `FROM {cond_old_values}`, `FROM {cond_new_values}`, and `FROM {cond_joined_values}`,
    which has each row before the statement beside the same row after it, also where the statement changed its key.

    Args:
        func: the PL/pgSQL between BEGIN and END, or a dictionary of it by level.
        name, level, when, operation, condition, declare, timing: see `Trigger`.
        referencing: not supported; the transition tables are there by themselves.

    Raises:
        DeclarationError: if `referencing` is given, or the body names rows that an operation does not have; when
            compiled, if there is no body for the level.

    Example:
        >>> count = pgtrigger.Composer(
        ...     name="count", when=pgtrigger.After, operation=pgtrigger.Update, level=pgtrigger.Statement,
        ...     condition=pgtrigger.Q(new__likes__gt=9), func=pgtrigger.Func(
        ...         "IF (SELECT count(*) FROM {cond_new_values}) > 1 THEN RAISE 'too many'; END IF; RETURN NULL;"))
        >>> with count.install(Post):
        ...     Post.objects.update(likes=10)
        1
    """

    func: Func | str | Mapping[Level, Func | str] | None = None  # type: ignore[assignment]

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
        func: Func | str | Mapping[Level, Func | str] | None = None,
        declare: list[tuple[str, str]] | None = None,
        timing: Timing | None = None,
    ) -> None:
        if func is not None:
            self.func = func
        super().__init__(
            name=name, level=level, when=when, operation=operation, condition=condition, referencing=referencing,
            declare=declare, timing=timing,
        )  # fmt: skip
        self.compose()

    def compose(self) -> None:
        """Name the transition tables that the level and the operations need.

        Raises:
            DeclarationError: if the body names rows that an operation does not have.
        """
        if self.level == Statement and self.when == After:
            self.referencing = transition_tables(self.operations)
        body = self.func.get(Statement) if isinstance(self.func, Mapping) else self.func
        if self.referencing is None or not isinstance(body, Func):
            return
        for template, rows in _ROWS.items():
            if f"{{{template}}}" in body.func:
                for operation in self.operations:
                    # TRUNCATE, which has no rows at all, is refused when the body is rendered.
                    if operation != Truncate:
                        check_rows(self, operation, rows, template)

    def _validate_referencing(self) -> None:
        raise DeclarationError(
            f'Composer triggers do not support referencing declarations: at statement level "{OLD_VALUES}" and '
            f'"{NEW_VALUES}" are there by themselves (trigger "{self.name}").'
        )

    def get_func(self, model: Model) -> Func | str:
        """Return the body for the trigger's level.

        Raises:
            DeclarationError: if there is no body for it.
        """
        if not isinstance(self.func, Mapping):
            return super().get_func(model)
        if self.level not in self.func:
            given = ", ".join(map(repr, self.func)) or "none"
            raise DeclarationError(
                f'The trigger "{self.name}" is declared for level {self.level!r}, but has no func for it, only for '
                f"{given}."
            )
        return self.func[self.level]

    def get_func_template_kwargs(self, model: Model) -> dict[str, object]:
        """Return what the text of a `Func` may name in braces, the rows of the condition included."""
        return super().get_func_template_kwargs(model) | doors.compiler().transition_kwargs(self, model)


def check_rows(trigger: Composer, operation: Operation, rows: Collection[str], template: str) -> None:
    """Check that an operation has the rows, "old" or "new", that a placeholder of a trigger's body needs.

    Raises:
        DeclarationError: if it does not.
    """
    row = missing_row(operation)
    if row is not None and row in rows:
        raise DeclarationError(
            f'Composer trigger references {row.upper()} values, but operation "{operation}" doesn\'t allow for that: '
            f'the "{{{template}}}" of the trigger "{trigger.name}" needs the {row} row.'
        )


def missing_row(operation: Operation) -> Literal["old", "new"] | None:
    """Return the row that an operation does not have; None for an update, which has both."""
    if operation == Insert:
        return "old"
    return "new" if operation in (Delete, Truncate) else None


def transition_tables(operations: tuple[Operation, ...]) -> Referencing | None:
    """Return the transition tables that Postgres has for the operations, or None.

    It has none for TRUNCATE, and none for an UPDATE OF columns.
    """
    rows = [operation for operation in operations if operation != Truncate]
    if not rows or any(isinstance(operation, UpdateOf) for operation in rows):
        return None
    return Referencing(
        old=OLD_VALUES if any(operation != Insert for operation in rows) else None,
        new=NEW_VALUES if any(operation != Delete for operation in rows) else None,
    )
