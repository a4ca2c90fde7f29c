"""The steps from what is installed to what is desired, and their outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pgmagic.compile.desired import Marking

Kind = Literal["table", "event table", "column", "index", "constraint", "function", "trigger"]
Action = Literal["create", "alter", "replace", "drop", "unchanged"]
Status = Literal["done", "failed", "rolled back", "skipped", "planned"]


@dataclass(frozen=True)
class Remembered:
    """What the schema remembers of a table: the model that it was made for, and the digest of its declaration."""

    table: str
    label: str
    declared: str
    state: str


@dataclass(frozen=True)
class Step:
    """One change to one object; its statements belong together.

    deferred: statements that run after those of every other step, such as foreign keys between new tables.
    """

    object: str
    kind: Kind
    action: Action
    sql: tuple[str, ...] = ()
    deferred: tuple[str, ...] = ()
    fires: str = ""
    condition: str = ""
    marking: Marking | None = None
    # For a table: what the schema remembers of it.
    remember: Remembered | None = None
    # For a renamed table: the name to forget, and what the schema remembers of the tables that refer to it.
    forget: str | None = None
    remember_others: tuple[Remembered, ...] = ()
    # For a function: whether Postgres has to check its body.
    needs_check: bool = True
    # For a function: the columns of its table that have to exist, since the body names them.
    named_columns: frozenset[str] = frozenset()
    # What the user should know about the step.
    notes: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether the step changes the database."""
        return bool(self.sql or self.deferred or self.remember)

    @property
    def makes_function_or_trigger(self) -> bool:
        """Whether it creates or replaces a function or a trigger."""
        return self.kind in ("function", "trigger") and self.action in ("create", "replace")

    @property
    def all_remembered(self) -> Sequence[Remembered]:
        """What the schema remembers of this table and of those that refer to it."""
        return (*self.remember_others, self.remember) if self.remember else self.remember_others


@dataclass(frozen=True)
class Evolution:
    """The steps that alter one table.

    moves_columns: whether Postgres refuses a step while a trigger's condition depends on the column.
    """

    steps: Sequence[Step]
    moves_columns: bool


@dataclass(frozen=True)
class Plan:
    """Steps in the order in which they are carried out."""

    steps: Sequence[Step]

    @property
    def changes(self) -> bool:
        """Whether a step changes the database."""
        return any(step.changes for step in self.steps)

    @property
    def sql(self) -> str:
        """The statements of all steps, in order."""
        statements = [sql for step in self.steps for sql in step.sql]
        statements += [sql for step in self.steps for sql in step.deferred]
        return "\n".join(statements)


@dataclass(frozen=True)
class Outcome:
    """What became of a step: a row of the installation frame.

    elapsed_ms: the server's time for the step's statements; None if none ran.
    """

    step: Step
    status: Status
    elapsed_ms: float | None = None

    @property
    def object(self) -> str:
        """The URI of the trigger, or the label of the model."""
        return self.step.object

    @property
    def kind(self) -> Kind:
        """What kind of object the step changes."""
        return self.step.kind

    @property
    def action(self) -> Action:
        """What the step does to the object."""
        return self.step.action

    @property
    def fires(self) -> str | None:
        """When the trigger fires; None for every other object."""
        return self.step.fires or None

    @property
    def condition(self) -> str | None:
        """The SQL of the trigger's condition; None if it always fires."""
        return self.step.condition or None

    @property
    def lines(self) -> Sequence[str]:
        """The notes on the step, shown under its row."""
        return self.step.notes
