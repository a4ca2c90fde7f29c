"""Undoing changes of keys: rows that got another key, and rows whose first event says little."""
# ruff: noqa: F811

from __future__ import annotations

from typing import Any

import pytest
from django.db import models, transaction

import pgmagic
from pgmagic import pghistory
from pgmagic.errors import HistoryError
from tests.history.test_undo_plan import BOTH, shown
from tests.history_support import History, history, history_schema, model  # noqa: F401

BOTH_SIDES = (
    pghistory.InsertEvent(),
    pghistory.UpdateEvent("is"),
    pghistory.BeforeUpdate("was"),
    pghistory.DeleteEvent(),
)


def things(history: History, *trackers: Any, **kwargs: Any) -> Any:
    return history.declare(
        lambda: pghistory.track(*trackers, **kwargs)(
            model("Thing", n=models.IntegerField(), note=models.TextField(default=""))
        )
    )


def rows(thing: Any) -> list[Any]:
    return list(thing.objects.order_by("pk").values())


@pytest.mark.parametrize("trackers", [BOTH, BOTH_SIDES], ids=["new rows", "both sides"])
def test_a_row_goes_back_to_its_former_key(history: History, trackers: Any) -> None:
    thing = things(history, *trackers)
    for n in range(1, 6):
        thing.objects.create(id=n, n=n)
    thing.objects.filter(id=1).update(note="first")
    was = rows(thing)
    with pghistory.context(job="mistake") as opened:
        thing.objects.filter(id=1).update(id=11)
        # By way of another key.
        thing.objects.filter(id=2).update(id=12)
        thing.objects.filter(id=12).update(id=22)
        # Changed before it was moved, there and back, and deleted where it was moved to.
        thing.objects.filter(id=3).update(n=30)
        thing.objects.filter(id=3).update(id=13)
        thing.objects.filter(id=13).update(id=3)
        thing.objects.filter(id=4).update(id=14)
        thing.objects.filter(id=14).delete()
        thing.objects.create(id=6, n=6)
    frame = pgmagic.undo_plan(opened)
    assert list(frame["conflict"].dropna()) == []
    assert ("hist.Thing", "1", "restore", "planned") in shown(frame)
    assert ("hist.Thing", "11", "delete", "planned") in shown(frame)
    assert ("hist.Thing", "12", "nothing", "planned") in shown(frame)
    frame.apply()
    assert rows(thing) == was


def test_rows_that_change_places_are_put_back_where_they_were(history: History) -> None:
    thing = things(history, *BOTH)
    for n in range(1, 4):
        thing.objects.create(id=n, n=n)
    was = rows(thing)
    with pghistory.context(job="swap") as opened:
        for former, new in ((1, 99), (2, 1), (99, 2)):
            thing.objects.filter(id=former).update(id=new)
    frame = pgmagic.undo_plan(opened)
    assert shown(frame, "object", "action") == [("2", "change back"), ("1", "change back"), ("99", "nothing")]
    frame.apply()
    assert rows(thing) == was


def test_rows_that_make_room_for_each_other_are_put_back(history: History) -> None:
    thing = things(history, *BOTH)
    for n in range(1, 5):
        thing.objects.create(id=n, n=n)
    was = rows(thing)
    with pghistory.context(job="shift") as opened:
        for key in (4, 3, 2, 1):
            thing.objects.filter(id=key).update(id=key + 1)
    frame = pgmagic.undo_plan(opened)
    assert shown(frame, "object", "action")[0] == ("5", "delete")
    assert shown(frame, "object", "action")[-1] == ("1", "restore")
    frame.apply()
    assert rows(thing) == was


def test_a_key_that_was_left_earlier_is_not_taken_for_the_key_that_was_left_now(history: History) -> None:
    thing = things(history, *BOTH)
    for n in range(1, 3):
        thing.objects.create(id=n, n=n)
    # For a while the second row was the ninth.
    thing.objects.filter(id=2).update(id=9)
    thing.objects.filter(id=9).update(id=2)
    with pghistory.context(job="shift") as opened:
        for key in (2, 1):
            thing.objects.filter(id=key).update(id=key + 1)
    assert "9" not in list(pgmagic.undo_plan(opened)["object"])
    assert ("3", "conflict") in shown(pgmagic.undo_plan(opened), "object", "status")


def test_contexts_are_undone_one_after_the_other(history: History) -> None:
    """What came later was undone, so that nothing stands against undoing what came before it."""
    thing = things(history, *BOTH)
    thing.objects.create(id=1, n=1)
    opened = []
    for key, n in ((2, 10), (3, 20)):
        with pghistory.context(job=n) as context:
            opened.append(context)
            thing.objects.filter(id=1).update(n=n)
            thing.objects.create(id=key, n=n)
    for context in reversed(opened):
        pgmagic.undo_plan(context).apply()
    assert rows(thing) == [{"id": 1, "n": 1, "note": ""}]


def test_children_that_followed_a_row_go_back_with_it(history: History) -> None:
    def declare() -> dict[str, Any]:
        parent = pghistory.track(*BOTH)(model("Parent", name=models.TextField(unique=True)))
        child = pghistory.track(*BOTH)(
            model("Child", parent=models.ForeignKey(parent, models.CASCADE), n=models.IntegerField())
        )
        loose = model("Loose", parent=models.ForeignKey(parent, models.CASCADE))
        return {"Parent": parent, "Child": child, "Loose": loose}

    found = history.declare(declare)
    one = found.Parent.objects.create(id=1, name="one")
    found.Child.objects.create(id=1, parent=one, n=1)
    was = [rows(found.Parent), rows(found.Child)]
    with pghistory.context(job="mistake") as opened, transaction.atomic():
        found.Parent.objects.filter(id=1).update(id=2)
        found.Child.objects.update(parent_id=2)
    # A row that is not tracked, and stays.
    loose = found.Loose.objects.create(parent_id=2)
    assert f"the Loose {loose.pk} refers to it" in list(pgmagic.undo_plan(opened)["conflict"])
    loose.delete()
    pgmagic.undo_plan(opened).apply()
    assert [rows(found.Parent), rows(found.Child)] == was


def test_composite_keys_are_put_back(history: History) -> None:
    seat = history.declare(
        lambda: pghistory.track(*BOTH, obj_field=None)(
            model(
                "Seat",
                pk=models.CompositePrimaryKey("row", "number"),
                row=models.TextField(),
                number=models.IntegerField(),
                taken=models.BooleanField(default=False),
            )
        )
    )
    for number in (1, 2):
        seat.objects.create(row="a", number=number)
    was = list(seat.objects.order_by("pk").values())
    with pghistory.context(job="mistake") as opened:
        seat.objects.filter(number=1).update(row="z's", taken=True)
        seat.objects.filter(number=2).update(number=3)
        seat.objects.filter(number=3).update(taken=True)
    # Both rows were changed when or after they moved, so that nothing shows which is which.
    frame = pgmagic.undo_plan(opened)
    assert {status for (status,) in shown(frame, "status")} == {"conflict"}
    frame = pgmagic.undo_plan(opened, complete=True)
    assert frame.conflicts.empty
    frame.apply()
    assert list(seat.objects.order_by("pk").values()) == was


def test_a_moved_row_is_never_guessed(history: History) -> None:
    thing = things(history, *BOTH)
    history.run(
        "SET session_replication_role = replica",
        "INSERT INTO hist_thing (id, n, note) VALUES (5, 5, '')",
        "SET session_replication_role = origin",
    )
    thing.objects.create(id=1, n=1)
    thing.objects.create(id=2, n=2)
    # A row from before tracking is changed, and another vanishes without a trace: no move, though it looks like one.
    with pghistory.context(job="x") as opened:
        thing.objects.filter(id=5).update(n=50)
    history.run(
        "SET session_replication_role = replica",
        "DELETE FROM hist_thing WHERE id = 1",
        "SET session_replication_role = origin",
    )
    [(action, conflict)] = shown(pgmagic.undo_plan(opened), "action", "conflict")
    assert action == "nothing"
    assert conflict.startswith("its key is new, and no event shows for certain which row was moved there")
    # Nor is a row taken for one that this context moved, if another did.
    with pghistory.context(job="a") as first:
        thing.objects.filter(id=2).update(id=12)
    with pghistory.context(job="b"):
        thing.objects.create(id=3, n=2)
        thing.objects.filter(id=3).update(id=13)
    assert shown(pgmagic.undo_plan(first), "action", "status") == [("nothing", "conflict")]


def test_a_moved_row_that_was_changed_since_is_a_conflict_at_both_keys(history: History) -> None:
    thing = things(history, *BOTH)
    thing.objects.create(id=1, n=1)
    with pghistory.context(job="x") as opened:
        thing.objects.filter(id=1).update(id=2)
    thing.objects.filter(id=2).update(n=5)
    frame = pgmagic.undo_plan(opened)
    found = dict(shown(frame, "object", "conflict"))
    assert found["2"].startswith('changed since, outside any context: "update"')
    assert found["1"] == "its row was moved, as that of 2, which has a conflict"
    with pytest.raises(HistoryError, match="because of 2 conflicts"):
        frame.apply()


def test_a_row_that_is_gone_without_an_event_is_not_restored_twice(history: History) -> None:
    """Only the OLD row of an update is recorded: no event shows where the row is now."""
    thing = things(history, pghistory.InsertEvent(), pghistory.BeforeUpdate("was"), pghistory.DeleteEvent())
    thing.objects.create(id=1, n=1)
    with pghistory.context(job="x") as opened:
        thing.objects.filter(id=1).update(id=2)
    [(key, conflict)] = shown(pgmagic.undo_plan(opened), "object", "conflict")
    assert key == "1"
    assert conflict == "it is gone, and no event shows how: it was deleted, or its key was changed"


SNAPSHOTS = (pghistory.Snapshot(), pghistory.BeforeDelete("gone"))


def test_a_snapshot_is_of_a_new_row_if_a_baseline_or_the_user_says_so(history: History) -> None:
    thing = things(history, *SNAPSHOTS)
    thing.objects.create(id=1, n=1)
    was = rows(thing)
    with pghistory.context(job="x") as opened:
        thing.objects.create(id=2, n=2)
        thing.objects.filter(id=1).update(n=10)
    assert shown(pgmagic.undo_plan(opened), "object", "status") == [("1", "planned"), ("2", "conflict")]
    pgmagic.undo_plan(opened, complete=True).apply()
    assert rows(thing) == was
    pghistory.backfill(thing)
    with pghistory.context(job="y") as again:
        thing.objects.create(id=3, n=3)
    pgmagic.undo_plan(again).apply()
    assert rows(thing) == was


def test_a_snapshot_of_a_row_that_may_have_been_moved_is_a_conflict(history: History) -> None:
    thing = things(history, *SNAPSHOTS)
    thing.objects.create(id=1, n=1)
    with pghistory.context(job="x") as opened:
        thing.objects.filter(id=1).update(id=2)
    [(key, action, status)] = shown(pgmagic.undo_plan(opened, complete=True), "object", "action", "status")
    assert (key, action, status) == ("2", "nothing", "conflict")


def test_another_event_model_may_show_more_than_a_snapshot(history: History) -> None:
    def declare() -> Any:
        thing = model("Thing", n=models.IntegerField())
        pghistory.track(
            pghistory.InsertEvent("born"),
            model_name="Birth",
            obj_field=pghistory.ObjForeignKey(related_name="births"),
        )(thing)
        return pghistory.track(pghistory.Snapshot())(thing)

    thing = history.declare(declare)
    with pghistory.context(job="x") as opened:
        thing.objects.create(n=1)
    pgmagic.undo_plan(opened).apply()
    assert not thing.objects.exists()


@pytest.fixture
def named(history: History) -> Any:
    """A model with a unique name, and a table that refers to it."""

    def declare() -> Any:
        named = pghistory.track(*BOTH)(model("Named", name=models.TextField(unique=True)))
        model("Other", named=models.ForeignKey(named, models.CASCADE))
        return named

    return history.declare(declare)


def swapped(named: Any, history: History) -> Any:
    """Return a context in which rows exchanged their names, and others passed theirs on."""
    for key, name in enumerate("ABCDE", start=1):
        named.objects.create(id=key, name=name)
    history.run("INSERT INTO hist_other (named_id) SELECT id FROM hist_named")
    with pghistory.context(job="swap") as opened:
        for key, name in ((1, "x"), (2, "A"), (1, "B"), (5, "F"), (4, "E"), (3, "D")):
            named.objects.filter(id=key).update(name=name)
    return opened


def test_rows_that_hold_unique_values_of_each_other_are_put_back(named: Any, history: History) -> None:
    opened = swapped(named, history)
    pgmagic.undo_plan(opened).apply()
    assert list(named.objects.order_by("id").values_list("name", flat=True)) == list("ABCDE")
    assert history.run("SELECT count(*) FROM hist_other") == [(5,)]
    # Only those in a circle had to go for it.
    assert named.pgh_event_model.objects.filter(pgh_label="delete").count() == 2


def test_rows_whose_deletion_would_cascade_stay(named: Any, history: History) -> None:
    opened = swapped(named, history)
    history.run("CREATE TABLE taken (named_id bigint REFERENCES hist_named ON DELETE CASCADE)")
    was = rows(named)
    with pytest.raises(HistoryError, match=r"Named 2, Named 1 hold unique values .* rows of taken would be lost"):
        pgmagic.undo_plan(opened).apply()
    assert rows(named) == was
