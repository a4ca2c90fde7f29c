"""Columns with the names that bodies and Postgres use themselves."""

from __future__ import annotations

import json

import pytest
from django.db import models, transaction

from pgmagic import pghistory, pgtrigger
from pgmagic.declare.model_registry import redeclaring
from pgmagic.errors import TriggerError
from tests.db.live import LABEL, Live

Q, F = pgtrigger.Q, pgtrigger.F
NAMES = [
    "old", "new", "key", "value", "before", "after", "shown", "filter", "target", "tg_op", "found", "known",
    "row_number", "old_values", "new_values", "sqlstate", "image", "a", "b", "r", "t", "operation", "record", "changed",
]  # fmt: skip


def named() -> dict[str, models.Field]:
    return {name: models.IntegerField(default=0) for name in NAMES}


def triggers(level) -> list[pgtrigger.Trigger]:
    return [
        pgtrigger.Protect(name="all", level=level, operation=pgtrigger.Update | pgtrigger.Delete | pgtrigger.Insert),
        pgtrigger.Protect(
            name="some", level=level, operation=pgtrigger.Update,
            condition=Q(old__old=0, new__new=1) | Q(old__key__gt=5) | pgtrigger.AnyChange("value"),
        ),
        pgtrigger.ReadOnly(name="fixed", level=level, fields=["old", "new", "key"]),
        pgtrigger.FSM(name="life", field="old", transitions=[(0, 1)]),
        pgtrigger.Protect(name="truncate", operation=pgtrigger.Truncate, condition=Q(old__old=0)),
        pgtrigger.SoftDelete(name="soft", field="new", value=F("old") + F("old__key") + 1),
        pgtrigger.Composer(
            name="sum", level=pgtrigger.Statement, when=pgtrigger.After, operation=pgtrigger.Update,
            condition=pgtrigger.AnyChange("old", "new") & Q(old__old_values=0),
            func=pgtrigger.Func(
                "RAISE EXCEPTION '% % %', (SELECT sum(old_values.old + new_values.new) FROM {cond_joined_values}),"
                "  (SELECT sum(old_values.new) FROM {cond_old_values}),"
                "  (SELECT sum(new_values.new) FROM {cond_new_values});"
            ),
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("level", [pgtrigger.Row, pgtrigger.Statement])
def test_every_ready_made_trigger(live: Live, level):
    declared = triggers(level)
    model = live.declare("Odd", declared, **named())

    def told(name, work):
        """The message and the detail with which one trigger alone rejects."""
        others = [trigger.get_uri(model) for trigger in declared if trigger.name != name]
        with pgtrigger.ignore(*others), pytest.raises(TriggerError) as raised, transaction.atomic():
            work()
        diag = raised.value.__cause__.diag
        return diag.message_primary, json.loads(diag.message_detail) if diag.message_detail else None

    with pgtrigger.ignore():
        row = model.objects.create(pk=1)
    update = {"operation": "update", "key": {"id": 1}}
    everything = {"id": 1, **dict.fromkeys(NAMES, 0)}
    cannot = "pgtrigger: Cannot {} rows from live_odd table"
    writes = cannot.format("update or delete or insert")
    assert told("all", lambda: model.objects.update(old=1)) == (
        writes,
        {**update, "old": {"old": 0}, "new": {"old": 1}},
    )
    assert told("all", row.delete) == (
        writes, {"operation": "delete", "key": {"id": 1}, "old": everything, "new": None},
    )  # fmt: skip
    assert told("all", lambda: model.objects.create(pk=2)) == (
        writes, {"operation": "insert", "key": {"id": 2}, "old": None, "new": {**everything, "id": 2}},
    )  # fmt: skip
    changes = {**update, "old": {"new": 0}, "new": {"new": 1}}
    assert told("some", lambda: model.objects.update(new=1)) == (cannot.format("update"), changes)
    assert told("fixed", lambda: model.objects.update(new=1, t=2)) == (cannot.format("update"), changes)
    assert told("life", lambda: model.objects.update(old=7))[1] == {
        **update,
        "old": {"old": 0},
        "new": {"old": 7},
    }
    message, detail = told("truncate", lambda: live.sql("TRUNCATE live_odd"))
    assert (message, detail["key"], detail["old"]) == (cannot.format("truncate"), {"id": 1}, everything)
    assert told("sum", lambda: model.objects.update(new=3))[0] == "3 0 3"
    with pgtrigger.ignore(*(trigger.get_uri(model) for trigger in declared if trigger.name != "soft")):
        row.delete()
    assert model.objects.get().new == 1


@pytest.mark.parametrize("level", [pghistory.Row, pghistory.Statement])
def test_events(live: Live, level):
    with redeclaring(LABEL, __name__) as declaration:
        with declaration.collecting():
            odd = type("Odd", (models.Model,), {"__module__": __name__, **named()})
            pghistory.track(
                pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent(),
                pghistory.UpdateEvent("was", row=pghistory.Old, condition=Q(old__old=0) & pgtrigger.AnyChange("new")),
                level=level, context_field=None,
            )(odd)  # fmt: skip
        applied = live.apply(*declaration.models)
    assert applied.error is None, applied.error
    row = odd.objects.create(a=1)
    odd.objects.update(new=2, key=3)
    odd.objects.update(old=4)
    row.delete()
    events = odd.pgh_event_model.objects.order_by("pgh_id").values_list("pgh_label", "old", "new", "key", "a")
    assert sorted(events) == sorted([
        ("insert", 0, 0, 0, 1), ("update", 0, 2, 3, 1), ("was", 0, 0, 0, 1), ("update", 4, 2, 3, 1),
        ("delete", 4, 2, 3, 1),
    ])  # fmt: skip
