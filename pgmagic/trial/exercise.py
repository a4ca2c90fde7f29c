"""The check of an exercise, tried on the triggers that are installed: any solution that works is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from django.db import connection

from pgmagic.db.driver import driver_connection
from pgmagic.tables.frame import ResultFrame
from pgmagic.trial.attempts import Refused, attempt, nothing_kept
from pgmagic.watch.trigger_catalog import TriggerCatalog, read_trigger_catalog

Cases = Mapping[str, Callable[[], object]]
Expected = Literal["rejected", "applied", "true"]

# SQLSTATE classes of errors that no rule raises: RAISE of a trigger is P0001, that of a function may be of a class of
# its own, a constraint's is 23.
_NOT_A_RULE = ("08", "22", "25", "40", "42", "53", "54", "55", "57", "58", "XX")


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A case of an exercise, and what happened when it was tried: a row of the frame."""

    case: str
    expected: Expected
    got: str
    is_right: bool
    reason: str | None = None
    lines: Sequence[str] = ()

    @property
    def result(self) -> Literal["right", "not yet"]:
        """The verdict on the case."""
        return "right" if self.is_right else "not yet"


class ExerciseFrame(ResultFrame):
    """One row for each case of an exercise, in the order in which they were tried.

    Columns:
        case (string): what was tried, in words.
        expected (string): `rejected`, `applied`, or `true`.
        got (string): the same, or `not true`, `no rows`, `an error`, `an error in Python`.
        result (string): `right`, or `not yet`.
        reason (string): which trigger rejected the case, or what is not as expected; missing if there is neither.
    """

    columns_contract = MappingProxyType(
        {"case": "string", "expected": "string", "got": "string", "result": "string", "reason": "string"}
    )
    columns_roles = MappingProxyType({"result": "verdict"})

    @property
    def is_solved(self) -> bool:
        """Whether every case is right."""
        return bool((self["result"] == "right").all())


def check(*, rejects: Cases | None = None, applies: Cases | None = None, holds: Cases | None = None) -> ExerciseFrame:
    """Return which cases of an exercise work as they should with the triggers that are installed.

    Each case is tried in a savepoint, and what it defers until COMMIT is fired. Nothing is kept; inside a transaction,
    the transaction goes on.

    Args:
        rejects: what the database must refuse; a few words for each case, and a function without arguments.
        applies: what the database must let through. A case that returns how many rows it changed must change a row.
        holds: what must return something true.

    Returns:
        One row for each case, in this order, with the columns `case`, `expected`, `got`, `result` and `reason`;
        `is_solved` is true if every result is `right`.

    Raises:
        CellError: if the transaction that is open is in error.

    Example:
        >>> from pgmagic.notebook.exercises import check
        >>> check(applies={"a draft is deleted": lambda: Post.objects.filter(status="draft").delete()}).is_solved
        True
    """
    parts: tuple[tuple[Expected, Cases | None], ...] = (("rejected", rejects), ("applied", applies), ("true", holds))
    connection.ensure_connection()
    with nothing_kept(connection):
        catalog = read_trigger_catalog(driver_connection(connection))
        judged = [
            _judged(case, expected, run, catalog) for expected, cases in parts for case, run in (cases or {}).items()
        ]
    right = sum(each.is_right for each in judged)
    if right == len(judged):
        caption = "Solved: everything works as it should"
    else:
        caption = f"Not yet: {right:,} of {len(judged):,} work as they should"
    return ExerciseFrame.from_rows(
        judged, caption=caption, notes=["Each case was tried in a savepoint; nothing was kept."]
    )


def _judged(case: str, expected: Expected, run: Callable[[], object], catalog: TriggerCatalog) -> Judged:
    try:
        made = attempt(connection, run, catalog, "")
    except Exception as error:  # noqa: BLE001 - whatever the learner's code raises
        said = str(error).strip().partition("\n")[0]
        why = f"{type(error).__name__}: {said}"
        if expected == "rejected":
            why += " - Python refused, not the database"
        return Judged(case=case, expected=expected, is_right=False, got="an error in Python", reason=why)
    if isinstance(made, Refused):
        refusal = made.rejection
        is_rule = not (made.sqlstate or "XX").startswith(_NOT_A_RULE)
        return Judged(
            case=case,
            expected=expected,
            is_right=expected == "rejected" and is_rule,
            got="rejected" if is_rule else "an error",
            reason=f"{refusal.trigger}: {refusal.reason}" if refusal.trigger else refusal.reason,
        )
    is_right, got, reason = _applied(expected, made.value)
    return Judged(case=case, expected=expected, is_right=is_right, got=got, reason=reason)


def _applied(expected: Expected, value: object) -> tuple[bool, str, str | None]:
    """Return whether a change that was made is right, what happened in a word or two, and why it is not right."""
    if expected == "rejected":
        return False, "applied", "nothing rejected it"
    if expected == "true":
        return (True, "true", None) if value else (False, "not true", f"it is {value!r}")
    # An update returns a number of rows; what a delete returns begins with that number.
    rows = value[0] if isinstance(value, tuple) and value else value
    if isinstance(rows, int) and not isinstance(rows, bool) and rows == 0:
        return False, "no rows", "it touched no row"
    return True, "applied", None
