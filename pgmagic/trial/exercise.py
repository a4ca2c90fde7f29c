"""The cases of an exercise, tried on the rules that are live: any solution that does the right thing is right."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from django.db import connection

from pgmagic.trial.attempts import Attempt, attempt, nothing_kept
from pgmagic.watch.trigger_catalog import TriggerCatalog, read_trigger_catalog

Expected = Literal["rejected", "applied", "true"]

# What a rule says no with: RAISE of a trigger (P0001), or of a function (any class of its own), a constraint (23).
_NOT_A_RULE = ("08", "22", "25", "40", "42", "53", "54", "55", "57", "58", "XX")


@dataclass(frozen=True)
class Case:
    """What is tried, in words, and what is expected of it."""

    words: str
    expected: Expected
    run: Callable[[], Any]


@dataclass(frozen=True)
class Judged:
    """What became of a case. got: in a word or two; reason: why it is not as expected, or who rejected it."""

    case: Case
    is_right: bool
    got: str
    reason: str | None


def judge(cases: Iterable[Case]) -> list[Judged]:
    """Try each case in a savepoint, with what it defers until COMMIT; nothing is kept.

    `rejected`: the database must refuse. `applied`: it must not, and if the case returns how many rows it touched,
    that must not be none. `true`: what the case returns must be true.
    """
    connection.ensure_connection()
    with nothing_kept(connection):
        catalog = read_trigger_catalog(connection.connection)
        return [_judged(case, catalog) for case in cases]


def _judged(case: Case, catalog: TriggerCatalog) -> Judged:
    try:
        made = attempt(connection, case.run, catalog, "")
    except Exception as error:  # noqa: BLE001 - whatever the learner's code raises
        said = str(error).strip().partition("\n")[0]
        why = f"{type(error).__name__}: {said}"
        if case.expected == "rejected":
            why += " - Python refused, not the database"
        return Judged(case, False, "an error in Python", why)
    if made.refusal is not None:
        return _refused(case, made)
    return _done(case, made.value)


def _refused(case: Case, made: Attempt) -> Judged:
    refusal: Any = made.refusal
    by = f"{refusal.trigger}: " if refusal.trigger else ""
    is_rule = not (made.sqlstate or "XX").startswith(_NOT_A_RULE)
    got = "rejected" if is_rule else "an error"
    return Judged(case, case.expected == "rejected" and is_rule, got, f"{by}{refusal.reason}")


def _done(case: Case, value: Any) -> Judged:
    if case.expected == "rejected":
        return Judged(case, False, "applied", "nothing rejected it")
    if case.expected == "true":
        return Judged(
            case, bool(value), "true" if value else "not true", None if value else f"it is {value!r}"
        )
    # What an update returns is a number of rows, what a delete returns begins with one.
    rows = value[0] if isinstance(value, tuple) and value else value
    touched = not (isinstance(rows, int) and not isinstance(rows, bool) and rows == 0)
    return Judged(
        case, touched, "applied" if touched else "no rows", None if touched else "it touched no row"
    )
