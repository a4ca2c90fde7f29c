"""Twenty-six years of real changes of status against the life cycle of PEP 1, in the live database."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

CHANGES = Path(__file__).parents[2] / "data" / "pep_changes.csv"

TODAYS_WORD = {
    "": "Draft",
    "Incomplete": "Draft",
    "Replaced": "Superseded",
    "Finished": "Final",
    "Complete": "Final",
    "Approved": "Accepted",
    "Postponed": "Deferred",
    "April Fool!": "Rejected",
}

MODEL = """%%pgtrigger
LIFE_CYCLE = {
    "Draft": ["Accepted", "Provisional", "Rejected", "Withdrawn", "Deferred", "Active"],
    "Accepted": ["Final", "Rejected", "Withdrawn"],
    "Provisional": ["Final", "Rejected", "Withdrawn"],
    "Deferred": ["Draft"],
    "Final": ["Superseded"],
    "Active": ["Final", "Superseded"],
    "Withdrawn": ["Draft"],
}


class Pep(models.Model):
    number = models.IntegerField(primary_key=True)
    status = models.CharField(max_length=12)

    class Meta:
        triggers = [
            pgtrigger.FSM(
                name="life_cycle",
                field="status",
                transitions=[(old, new) for old, following in LIFE_CYCLE.items() for new in following],
            )
        ]
"""


class Step(NamedTuple):
    """A change of status as it happened."""

    pep: int
    day: str
    old: str
    new: str


def read_steps() -> tuple[dict[int, str], list[Step]]:
    """Return each PEP's first status, and every later change of one, in order."""
    first: dict[int, str] = {}
    last: dict[int, str] = {}
    steps = []
    with CHANGES.open(newline="", encoding="utf-8") as file:
        for row in sorted(csv.DictReader(file), key=lambda row: int(row["change_id"])):
            number, status = int(row["pep"]), TODAYS_WORD.get(row["status"], row["status"])
            if number not in last:
                first[number] = status
            elif status != last[number]:
                steps.append(Step(number, row["committed_at"][:10], last[number], status))
            last[number] = status
    return first, steps


@pytest.mark.slow
def test_replay_of_all_transitions_rejects_exactly_those_that_pep_1_does_not_allow(shell):
    from django.db import InternalError

    from pgmagic import pgtrigger

    first, steps = read_steps()
    assert (len(first), len(steps)) == (736, 1_072)
    shell.run(MODEL)
    model, life_cycle = shell["Pep"], shell["LIFE_CYCLE"]
    model.objects.bulk_create(model(number=number, status=status) for number, status in first.items())

    rejected, messages = [], []
    for step in steps:
        pep = model.objects.filter(number=step.pep)
        try:
            assert pep.update(status=step.new) == 1
        except InternalError as error:
            messages.append(str(error).partition(" on table")[0])
            rejected.append(step)
            with pgtrigger.ignore("notebook.Pep:life_cycle"):
                assert pep.update(status=step.new) == 1

    assert len(rejected) == 200
    assert messages == [
        f'pgtrigger: Invalid transition of field "status" from "{step.old}" to "{step.new}"'
        for step in rejected
    ]
    assert rejected == [step for step in steps if step.new not in life_cycle.get(step.old, [])]
    assert len({step.pep for step in rejected}) == 178
    assert Counter((step.old, step.new) for step in rejected)["Draft", "Final"] == 90
    for known in [
        Step(308, "2005-09-30", "Rejected", "Accepted"),
        Step(274, "2012-04-09", "Withdrawn", "Accepted"),
        Step(2, "2022-09-23", "Superseded", "Active"),
        Step(545, "2024-10-29", "Final", "Active"),
        Step(42, "2016-09-26", "Final", "Rejected"),
    ]:
        assert known in rejected
    recorded = {**first, **{step.pep: step.new for step in steps}}
    assert dict(model.objects.values_list("number", "status")) == recorded
