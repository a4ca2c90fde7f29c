"""The exercise frame: the cases of an exercise, and which of them are as they should be."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from pgmagic.tables.frame import ResultFrame

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, kw_only=True, slots=True)
class ExerciseRow:
    """One case of an exercise, and what became of it."""

    case: str
    expected: str
    got: str
    result: str
    reason: str | None = None
    lines: Sequence[str] = ()


class ExerciseFrame(ResultFrame):
    """One row for each case of an exercise, in the order in which they were tried.

    Columns:
        case (string): what was tried, in words.
        expected (string): `rejected`, `applied`, or `true`.
        got (string): the same, or `not true`, `no rows`, `an error`, `an error in Python`.
        result (string): `right`, or `not yet`.
        reason (string): who rejected it, or what is not as expected; missing where there is nothing to say.
    """

    columns_contract = MappingProxyType(
        {"case": "string", "expected": "string", "got": "string", "result": "string", "reason": "string"}
    )
    columns_roles = MappingProxyType({"result": "verdict"})

    @property
    def is_solved(self) -> bool:
        """Whether every case is as it should be."""
        return bool((self["result"] == "right").all())


def exercise_frame(
    rows: Iterable[ExerciseRow], *, caption: str | None = None, notes: Iterable[str] = ()
) -> ExerciseFrame:
    """Return the rows as an `ExerciseFrame`, in their order."""
    return ExerciseFrame.from_rows(rows, caption=caption, notes=notes)
