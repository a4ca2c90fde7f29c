"""`pgmagic.undo_plan`: a context is looked at, undone in one transaction, and the undoing recorded."""
# ruff: noqa: F811

from __future__ import annotations

import uuid
from typing import Any

import pandas as pd
import pytest
from django.db import models, transaction

import pgmagic
from pgmagic import pghistory, pgtrigger
from pgmagic.errors import HistoryError
from tests.history_support import History, history, history_schema, model  # noqa: F401

BOTH = (pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent())


@pytest.fixture
def shop(history: History) -> Any:
    """Authors with books, which refer to them; a book may follow another."""

    def declare() -> dict[str, Any]:
        author = pghistory.track(*BOTH)(model("Author", name=models.TextField(unique=True)))
        book = pghistory.track(*BOTH, pghistory.ManualEvent("note"))(
            model(
                "Book",
                title=models.TextField(),
                author=models.ForeignKey(author, models.CASCADE),
                follows=models.ForeignKey("self", models.CASCADE, null=True),
                price=models.DecimalField(max_digits=8, decimal_places=2, default="1.50"),
                data=models.JSONField(default=dict),
                changed_at=models.DateTimeField(auto_now=True),
            )
        )
        return {"Author": author, "Book": book}

    return history.declare(declare)


def everything(shop: Any) -> list[Any]:
    return [list(found.objects.order_by("pk").values()) for found in (shop.Author, shop.Book)]


def shown(frame: Any, *columns: str) -> list[tuple[Any, ...]]:
    wanted = columns or ("model", "object", "action", "status")
    return [tuple(row) for row in frame[list(wanted)].itertuples(index=False, name=None)]


def test_undo_follows_the_order_of_foreign_keys(shop: Any) -> None:
    ann, ben = (shop.Author.objects.create(name=name) for name in ("Ann", "Ben"))
    kept = shop.Book.objects.create(title="kept", author=ann, data={"k": [1, None]})
    gone = shop.Book.objects.create(title="gone", author=ben, follows=kept)
    was = everything(shop)
    keys = [ann.pk, ben.pk, kept.pk, gone.pk]
    with pghistory.context(job="mistake") as opened:
        shop.Book.objects.filter(pk=kept.pk).update(title="wrong", data={"k": [2, None]}, price="9.99")
        shop.Book.objects.filter(pk=kept.pk).update(title="and again")
        ben.delete()
        new = shop.Author.objects.create(name="Ben")
        added = shop.Book.objects.create(title="new", author=new)
    frame = pgmagic.undo_plan(opened)
    assert shown(frame) == [
        ("hist.Book", str(added.pk), "delete", "planned"),
        ("hist.Author", str(new.pk), "delete", "planned"),
        ("hist.Author", str(keys[1]), "restore", "planned"),
        ("hist.Book", str(keys[2]), "change back", "planned"),
        ("hist.Book", str(keys[3]), "restore", "planned"),
    ]
    assert frame["changes"].iloc[3].keys() == {"title", "data.k[0]", "price"}
    assert frame["changes"].iloc[3]["data.k[0]"] == [2, 1]
    assert frame["changes"].iloc[2]["name"] == [pd.NA, "Ben"]
    assert everything(shop) != was
    done = frame.apply()
    assert everything(shop) == was
    assert set(done["status"]) == {"done"}
    with pytest.raises(ValueError, match="carried out already"):
        done.apply()


def test_undo_is_recorded_in_a_context_of_its_own_and_can_be_undone(shop: Any) -> None:
    ann = shop.Author.objects.create(name="Ann")
    with pghistory.context(job="mistake") as opened:
        shop.Author.objects.update(name="wrong")
    with pghistory.context(user="me"):
        pgmagic.undo_plan(opened.id).apply()
    event = shop.Author.pgh_event_model.objects.latest("pgh_id")
    assert (event.pgh_label, event.name) == ("update", "Ann")
    assert event.pgh_context.metadata == {"user": "me", "undo_of": str(opened.id)}
    pgmagic.undo_plan(event.pgh_context).apply()
    assert shop.Author.objects.get(pk=ann.pk).name == "wrong"


def test_a_row_that_another_context_changed_since_is_a_conflict(shop: Any) -> None:
    ann, ben = (shop.Author.objects.create(name=name) for name in ("Ann", "Ben"))
    with pghistory.context(job="mistake") as opened:
        shop.Author.objects.filter(pk=ann.pk).update(name="Anna")
        shop.Author.objects.filter(pk=ben.pk).update(name="Benno")
    with pghistory.context(job="other") as other:
        shop.Author.objects.filter(pk=ann.pk).update(name="Annabel")
    was = everything(shop)
    frame = pgmagic.undo_plan(opened)
    assert shown(frame, "object", "status") == [(str(ben.pk), "planned"), (str(ann.pk), "conflict")]
    [conflict] = frame.conflicts["conflict"]
    assert conflict.startswith(f'changed since, in the context {other.id}: "update" at ')
    assert "1 of 2 rows have a conflict" in frame.notes[0]
    with pytest.raises(HistoryError, match=f"because of 1 conflict: Author {ann.pk}: changed since"):
        frame.apply()
    assert everything(shop) == was
    done = frame.apply(skip_conflicts=True)
    assert shown(done, "object", "status") == [(str(ben.pk), "done"), (str(ann.pk), "skipped")]
    assert list(shop.Author.objects.order_by("pk").values_list("name", flat=True)) == ["Annabel", "Ben"]


def test_a_change_without_an_event_is_a_conflict(shop: Any, history: History) -> None:
    shop.Author.objects.create(name="Ann")
    with pghistory.context(job="mistake") as opened:
        shop.Author.objects.update(name="Anna")
    history.run(
        "SET session_replication_role = replica",
        "UPDATE hist_author SET name = 'secretly'",
        "SET session_replication_role = origin",
    )
    assert shown(pgmagic.undo_plan(opened), "conflict") == [("changed since, and no event shows by whom",)]


def test_rows_that_others_refer_to_are_not_deleted(shop: Any) -> None:
    with pghistory.context(job="mistake") as opened:
        ann = shop.Author.objects.create(name="Ann")
    book = shop.Book.objects.create(title="t", author=ann)
    assert shown(pgmagic.undo_plan(opened), "action", "conflict") == [("delete", f"the Book {book.pk} refers to it")]
    book.delete()
    pgmagic.undo_plan(opened).apply()
    assert not shop.Author.objects.exists()


def test_rows_whose_foreign_key_has_no_target_are_not_restored(shop: Any) -> None:
    ann = shop.Author.objects.create(name="Ann")
    shop.Book.objects.create(title="t", author=ann)
    key = ann.pk
    with pghistory.context(job="mistake") as opened:
        shop.Book.objects.all().delete()
    ann.delete()
    conflict = f"its author, the Author {key}, does not exist any more"
    assert shown(pgmagic.undo_plan(opened), "action", "conflict") == [("restore", conflict)]
    shop.Author.pgh_event_model.objects.get(pgh_label="delete").revert()
    pgmagic.undo_plan(opened).apply()
    assert shop.Book.objects.get().author_id == key


def test_rows_that_depend_on_a_conflict_have_a_conflict(shop: Any) -> None:
    """The author cannot be deleted, since a book of the same context stays: somebody changed it."""
    with pghistory.context(job="mistake") as opened:
        ann = shop.Author.objects.create(name="Ann")
        book = shop.Book.objects.create(title="t", author=ann)
    shop.Book.objects.update(title="better")
    frame = pgmagic.undo_plan(opened)
    assert set(frame["status"]) == {"conflict"}
    assert f"the Book {book.pk} refers to it" in list(frame["conflict"])


def test_rows_that_are_as_they_were_are_left_alone(shop: Any) -> None:
    shop.Author.objects.create(name="Ann")
    with pghistory.context(job="in vain") as opened:
        shop.Author.objects.update(name="Anna")
        shop.Author.objects.update(name="Ann")
        shop.Author.objects.create(name="Ben").delete()
    frame = pgmagic.undo_plan(opened)
    assert set(frame["action"]) == {"nothing"}
    assert set(frame.apply()["status"]) == {"skipped"}


def test_an_outdated_plan_is_not_carried_out(shop: Any) -> None:
    shop.Author.objects.create(name="Ann")
    with pghistory.context(job="mistake") as opened:
        shop.Author.objects.update(name="Anna")
    frame = pgmagic.undo_plan(opened)
    shop.Author.objects.update(name="Annabel")
    with pytest.raises(HistoryError, match="rows changed since this plan was made"):
        frame.apply()
    assert shop.Author.objects.get().name == "Annabel"


def test_nothing_is_undone_if_a_trigger_rejects_a_change(history: History) -> None:
    def declare() -> dict[str, Any]:
        protected = pgtrigger.Protect(name="keep", operation=pgtrigger.Delete)
        quiet = pgtrigger.Trigger(name="quiet", when=pgtrigger.Before, operation=pgtrigger.Delete, func="RETURN NULL;")
        return {
            "First": pghistory.track(*BOTH)(model("First", n=models.IntegerField())),
            "Second": pghistory.track(*BOTH)(model("Second", n=models.IntegerField(), meta={"triggers": [protected]})),
            "Third": pghistory.track(*BOTH)(model("Third", n=models.IntegerField(), meta={"triggers": [quiet]})),
        }

    found = history.declare(declare)
    found.First.objects.create(n=1)
    with pghistory.context(job="mistake") as opened:
        found.First.objects.update(n=2)
        found.Second.objects.create(n=1)
    with pytest.raises(Exception, match="Cannot delete rows from hist_second"):
        pgmagic.undo_plan(opened).apply()
    assert found.First.objects.get().n == 2
    with pghistory.context(job="mistake") as other:
        found.Third.objects.create(n=1)
    with pytest.raises(HistoryError, match="a trigger or a policy kept 1 of 1 rows of Third from this: delete"):
        pgmagic.undo_plan(other).apply()
    assert found.Third.objects.exists()


def test_undo_is_rolled_back_with_the_transaction_around_it(shop: Any) -> None:
    with pghistory.context(job="mistake") as opened:
        shop.Author.objects.create(name="Ann")
    with transaction.atomic():
        pgmagic.undo_plan(opened).apply()
        assert not shop.Author.objects.exists()
        transaction.set_rollback(True)
    assert shop.Author.objects.exists()


def test_undo_refuses_what_is_not_a_finished_context(shop: Any) -> None:
    with pytest.raises(HistoryError, match="'abc' was given"):
        pgmagic.undo_plan("abc")
    with pytest.raises(HistoryError, match="No event was recorded in a context"):
        pgmagic.undo_plan(uuid.uuid4())
    with pghistory.context(job="now") as opened:
        shop.Author.objects.create(name="Ann")
        with pytest.raises(HistoryError, match="is still open"):
            pgmagic.undo_plan(opened)


TRACKINGS: dict[str, tuple[Any, ...]] = {
    "new rows": BOTH,
    "old rows": (pghistory.InsertEvent(), pghistory.BeforeUpdate("was"), pghistory.DeleteEvent()),
    "both sides, the new one first": (
        pghistory.InsertEvent(), pghistory.UpdateEvent("is"), pghistory.UpdateEvent("was", row=pghistory.Old),
        pghistory.DeleteEvent(),
    ),
    "snapshots": (pghistory.Snapshot(), pghistory.BeforeDelete("gone"), pghistory.InsertEvent("born")),
    "snapshots and old rows": (
        pghistory.InsertEvent("made"), pghistory.Snapshot(), pghistory.BeforeUpdateOrDelete("before"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("trackers", TRACKINGS.values(), ids=TRACKINGS)
@pytest.mark.parametrize("context_field", [pghistory.ContextForeignKey(), pghistory.ContextJSONField()])
def test_every_way_of_tracking_and_storing_contexts_is_undone(
    history: History, trackers: Any, context_field: Any
) -> None:
    thing = history.declare(
        lambda: pghistory.track(*trackers, context_field=context_field)(
            model("Thing", n=models.IntegerField(), note=models.TextField(null=True))
        )
    )
    for n in range(4):
        thing.objects.create(n=n)
    thing.objects.filter(n=1).update(note="earlier")
    was = list(thing.objects.order_by("pk").values())
    with pghistory.context(job="mistake") as opened:
        thing.objects.filter(n__lt=3).update(n=models.F("n") + 10)
        thing.objects.filter(n=10).delete()
        thing.objects.filter(n=11).update(note=None)
        thing.objects.create(n=99)
        thing.objects.filter(n=99).update(n=98)
    frame = pgmagic.undo_plan(opened, using="default")
    assert list(frame["conflict"].dropna()) == []
    frame.apply()
    assert list(thing.objects.order_by("pk").values()) == was


def test_a_first_event_that_may_be_a_creation_or_a_change_is_a_conflict(history: History) -> None:
    thing = history.declare(lambda: pghistory.track(pghistory.Snapshot())(model("Thing", n=models.IntegerField())))
    with pghistory.context(job="x") as opened:
        thing.objects.create(n=1)
    [(action, conflict)] = shown(pgmagic.undo_plan(opened), "action", "conflict")
    assert action == "nothing"
    assert conflict.startswith('its first event, "snapshot", does not show whether it was created or changed')


def test_baselines_show_what_rows_were_and_are_not_changes(history: History) -> None:
    thing = history.declare(
        lambda: pghistory.track(*BOTH, pghistory.ManualEvent("note"))(model("Thing", n=models.IntegerField()))
    )
    history.run(
        "SET session_replication_role = replica",
        "INSERT INTO hist_thing (n) VALUES (1), (2)",
        "SET session_replication_role = origin",
    )
    with pghistory.context(job="too early") as early:
        thing.objects.filter(n=2).update(n=20)
    assert "no earlier event shows what it was" in shown(pgmagic.undo_plan(early), "conflict")[0][0]
    with pghistory.context(job="baseline") as baseline:
        pghistory.backfill(thing)
    with pytest.raises(HistoryError, match="No event was recorded"):
        pgmagic.undo_plan(baseline)
    with pghistory.context(job="mistake") as opened:
        thing.objects.filter(n=1).update(n=10)
    one = thing.objects.get(n=10)
    one.n = 77
    pghistory.create_event(one, label="note")
    pgmagic.undo_plan(opened).apply()
    assert sorted(thing.objects.values_list("n", flat=True)) == [1, 20]


def test_partial_events_are_a_conflict_that_names_the_fields(history: History) -> None:
    thing = history.declare(
        lambda: pghistory.track(*BOTH, fields=["id", "n"])(
            model("Thing", n=models.IntegerField(), note=models.TextField(default=""))
        )
    )
    with pghistory.context(job="x") as opened:
        thing.objects.create(n=1)
    assert shown(pgmagic.undo_plan(opened), "conflict") == [("ThingIdNEvent does not track note",)]


def test_multi_table_children_and_composite_keys(history: History) -> None:
    def declare() -> dict[str, Any]:
        parent = pghistory.track(*BOTH)(model("Parent", name=models.TextField()))
        child = pghistory.track(*BOTH)(model("Child", bases=(parent,), n=models.IntegerField()))
        seat = pghistory.track(*BOTH, obj_field=None)(
            model(
                "Seat",
                pk=models.CompositePrimaryKey("row", "number"),
                row=models.TextField(),
                number=models.IntegerField(),
                taken=models.BooleanField(default=False),
            )
        )
        return {"Parent": parent, "Child": child, "Seat": seat}

    found = history.declare(declare)
    one = found.Child.objects.create(name="a", n=1)
    found.Seat.objects.create(row="a", number=1)
    found.Seat.objects.create(row="a", number=2)
    was = [list(kind.objects.order_by("pk").values()) for kind in (found.Child, found.Seat)]
    with pghistory.context(job="mistake") as opened:
        one.delete()
        found.Child.objects.create(name="b", n=2)
        found.Seat.objects.filter(number=1).update(taken=True)
        found.Seat.objects.filter(number=2).delete()
        found.Seat.objects.create(row="b", number=1)
    frame = pgmagic.undo_plan(opened)
    assert frame.conflicts.empty
    assert {"a, 1", "a, 2", "b, 1"} <= set(frame["object"])
    frame.apply()
    assert [list(kind.objects.order_by("pk").values()) for kind in (found.Child, found.Seat)] == was


def test_a_frame_of_a_plan_is_still_a_frame(shop: Any) -> None:
    with pghistory.context(job="x") as opened:
        shop.Author.objects.create(name="Ann")
    frame = pgmagic.undo_plan(opened)
    assert list(frame.apply(lambda row: row["action"], axis=1)) == ["delete"]
    assert "planned" in repr(frame)
    # A selection keeps the whole plan.
    frame[frame["action"] == "restore"].apply()
    assert not shop.Author.objects.exists()


def test_the_former_row_is_unknown_if_not_every_update_is_recorded(history: History) -> None:
    grown = pghistory.UpdateEvent("grown", condition=pghistory.Q(new__n__gt=10))
    thing = history.declare(
        lambda: pghistory.track(pghistory.InsertEvent(), grown)(model("Thing", n=models.IntegerField()))
    )
    thing.objects.create(n=1)
    thing.objects.update(n=5)
    with pghistory.context(job="x") as opened:
        thing.objects.update(n=20)
    conflict = "not every update is recorded, so that what it was is not known"
    assert shown(pgmagic.undo_plan(opened), "action", "conflict") == [("nothing", conflict)]
    moment = thing.pgh_event_model.objects.get(pgh_label="grown").pgh_created_at
    assert "Not every update is recorded" in pgmagic.as_of(thing, moment).notes[0]
