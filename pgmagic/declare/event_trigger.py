"""The trigger that records events, and the level at which it records them."""

from __future__ import annotations

from typing import Final, Literal

from django.db import models

from pgmagic.declare.composer import NEW_VALUES, OLD_VALUES
from pgmagic.declare.conditions import Change, Combined, Condition, Not, Q
from pgmagic.declare.model_types import EventModel
from pgmagic.declare.trigger import ReadyMade
from pgmagic.declare.vocabulary import After, Delete, Level, Operation, Referencing, Row, Statement, UpdateOf
from pgmagic.errors import DeclarationError

Side = Literal["OLD", "NEW"]

Old: Final = "OLD"
New: Final = "NEW"


class EventTrigger(ReadyMade):
    """Records one side of each changed row as an event.

    event_model: where the events go. label: their name. row: `Old` or `New`. level: whether it fires for
    each row, or once for each statement; then one INSERT records its rows. Where deletes are recorded, the rows that
    TRUNCATE removes are recorded, too.
    """

    when = After

    def __init__(
        self,
        *,
        event_model: EventModel,
        label: str,
        row: Side,
        name: str,
        operation: Operation,
        condition: Condition | models.Q | None = None,
        level: Level = Row,
    ) -> None:
        self.event_model = event_model
        self.label = label
        self.row = row
        referencing = Referencing(old=OLD_VALUES, new=NEW_VALUES) if level == Statement else None
        super().__init__(name=name, operation=operation, condition=condition, level=level, referencing=referencing)

    @property
    def records_truncate(self) -> bool:
        """Whether it records the rows that TRUNCATE removes."""
        return Delete in self.operations

    @property
    def asks_tables(self) -> bool:
        """Whether rows come out of tables in its body: the transition tables, or at TRUNCATE the table itself."""
        return self.level == Statement or self.records_truncate

    def for_each_row(self) -> EventTrigger:
        """Return the same trigger at row level."""
        return EventTrigger(
            event_model=self.event_model,
            label=self.label,
            row=self.row,
            name=self.get_name(),
            operation=self.operation or Delete,
            condition=self.condition,
        )


def recording_level(wanted: Level | None, operation: Operation, condition: Condition | models.Q | None) -> Level:
    """Return the level at which changes are recorded: for each statement, unless only each row is right.

    Postgres has no transition tables for UPDATE OF. A condition in a user's own SQL may need what they do not have: the
    row as a value of the table's type, `ctid`, `pg_trigger_depth()`. A level that was given is kept.
    """
    if any(isinstance(single, UpdateOf) for single in operation):
        return Row
    if wanted is not None:
        return wanted
    return Row if condition is not None and _is_in_sql(condition) else Statement


def _is_in_sql(condition: Condition | models.Q) -> bool:
    """Return whether a condition has a user's own SQL in it."""
    if isinstance(condition, Q) or not isinstance(condition, Condition):
        return False
    if type(condition).resolve is not Condition.resolve:
        return True
    if isinstance(condition, Combined):
        return any(_is_in_sql(part) for part in condition.conditions)
    if isinstance(condition, Not):
        return _is_in_sql(condition.condition)
    return not isinstance(condition, Change)


def check_level(level: object, what: str) -> None:
    """Check that something is a level, or None.

    Raises:
        DeclarationError: if it is not.
    """
    if level is not None and level not in (Row, Statement):
        raise DeclarationError(
            f"{what}: history is recorded at level=pghistory.Statement (the default, fast) or level=pghistory.Row, but "
            f"{level!r} was given."
        )
