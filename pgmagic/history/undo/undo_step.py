"""A plan that undoes a context, and its steps: what would be done to each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias
from uuid import UUID

import pandas as pd

from pgmagic.declare.model_types import EventModel, Model
from pgmagic.history.comparing import changes

Action = Literal["delete", "change back", "restore", "nothing"]
Status = Literal["planned", "conflict", "done", "skipped"]

Key: TypeAlias = tuple[Any, ...]
"""The primary key of an object, also if it has a single column."""

Row: TypeAlias = dict[str, Any]
"""The values of a row by attribute name, a foreign key's by `author_id`."""

Changes: TypeAlias = dict[str, list[object]]
"""The values before and after a step, by field or by a path inside a document."""


def action_between(now: Row | None, then: Row | None) -> Action:
    """Return the action that makes a row what it was; None for no row."""
    if then is None:
        return "nothing" if now is None else "delete"
    if now is None:
        return "restore"
    return "nothing" if now == then else "change back"


@dataclass(frozen=True)
class Step:
    """What would be done to one row; a row of `UndoFrame`.

    event: the `pgh_id` of an event with the key of the row and, unless the row is deleted, its values. now, then: the
    row as it is, and as it would be; None for no row. conflict: what prevents it. result: what was done, after `apply`.
    """

    tracked_model: Model
    event_model: EventModel
    key: Key
    action: Action
    event: int
    now: Row | None
    then: Row | None
    conflict: str | None = None
    result: Literal["done", "skipped"] | None = None
    lines: Sequence[str] = ()

    @property
    def model(self) -> str:
        """The label of the tracked model."""
        return self.tracked_model._meta.label

    @property
    def object(self) -> str:
        """The primary key as text."""
        return ", ".join(map(str, self.key))

    @property
    def status(self) -> Status:
        """Whether the step is planned, has a conflict, or was done or skipped."""
        return self.result or ("planned" if self.conflict is None else "conflict")

    @property
    def changes(self) -> Changes:
        """The fields that differ, as `[now, then]`; `pd.NA` on the side without a row."""
        if self.now is None:
            return {name: [pd.NA, value] for name, value in (self.then or {}).items()}
        if self.then is None:
            return {name: [value, pd.NA] for name, value in self.now.items()}
        return {
            path: [before, after]
            for name, value in self.now.items()
            for path, before, after in changes(name, value, self.then.get(name))
        }

    @property
    def is_to_do(self) -> bool:
        """Whether the step changes the row: it has no conflict, and the row is not yet as it was."""
        return self.conflict is None and self.action != "nothing"

    @property
    def identity(self) -> tuple[str, Key, Action, int, str | None]:
        """What makes two steps the same."""
        return (self.model, self.key, self.action, self.event, self.conflict)


@dataclass(frozen=True)
class Plan:
    """What undoes a context, in the order in which it would be done."""

    context_id: UUID
    using: str
    steps: tuple[Step, ...]
    complete: bool = False

    @property
    def conflicts(self) -> tuple[Step, ...]:
        """The steps with a conflict."""
        return tuple(step for step in self.steps if step.conflict is not None)

    @property
    def to_do(self) -> tuple[Step, ...]:
        """The steps that change a row."""
        return tuple(step for step in self.steps if step.is_to_do)

    def is_same(self, other: Plan) -> bool:
        """Return whether two plans have the same steps."""
        return [step.identity for step in self.steps] == [step.identity for step in other.steps]
