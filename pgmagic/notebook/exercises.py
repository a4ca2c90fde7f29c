"""`check`: the check of a notebook's exercise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pgmagic.trial.exercise import Case, Expected, judge
from pgmagic.trial.exercise_frame import ExerciseFrame, ExerciseRow, exercise_frame

Cases = Mapping[str, Callable[[], Any]]


def check(
    *, rejects: Cases | None = None, applies: Cases | None = None, holds: Cases | None = None
) -> ExerciseFrame:
    """Try an exercise's cases on the rules that are live, each in a savepoint; return which are as they should be.

    Each case is a few words and a function without arguments. rejects: what the database must refuse. applies: what it
    must let pass, and what must touch a row. holds: what must return something true. Nothing of it is kept.
    """
    given: list[tuple[Expected, Cases | None]] = [
        ("rejected", rejects),
        ("applied", applies),
        ("true", holds),
    ]
    cases = [Case(words, expected, run) for expected, part in given for words, run in (part or {}).items()]
    judged = judge(cases)
    right = sum(each.is_right for each in judged)
    if right == len(judged):
        caption = f"Solved: {'all' if right > 1 else 'it'} as it should be"
    else:
        caption = f"Not yet: {right:,} of {len(judged):,} as it should be"
    rows = [
        ExerciseRow(
            case=each.case.words,
            expected=each.case.expected,
            got=each.got,
            result="right" if each.is_right else "not yet",
            reason=each.reason,
        )
        for each in judged
    ]
    return exercise_frame(
        rows, caption=caption, notes=["Each case was tried in a savepoint; nothing was kept."]
    )
