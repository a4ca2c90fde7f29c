from __future__ import annotations

from typing import Any

import pytest
from django.db import models, transaction

from pgmagic import pghistory
from pgmagic.errors import DeclarationError, HistoryError
from tests.history_support import History, model


def test_revert_restores_a_changed_row(post: Any) -> None:
    one = post.Post.objects.create(title="a", price="1.50", data={"k": [1, None]})
    was = post.Post.objects.values().get()
    post.Post.objects.update(title="b", price=None, data=None, body="text")
    one.save()
    event = post.Event.objects.order_by("pgh_id").first()
    found = event.revert()
    assert post.Post.objects.values().get() == was
    assert type(found) is post.Post
    assert (found.pk, found.title, found.changed_at) == (one.pk, "a", was["changed_at"])


def test_revert_restores_a_deleted_row_with_its_key(post: Any) -> None:
    one = post.Post.objects.create(title="a")
    was = post.Post.objects.values().get()
    one.delete()
    post.Event.objects.get(pgh_label="delete").revert()
    assert post.Post.objects.values().get() == was
    labels = list(post.Event.objects.order_by("pgh_id").values_list("pgh_label", flat=True))
    assert labels == ["insert", "delete", "insert"]


def test_revert_of_a_partial_event_names_what_would_be_lost(history: History) -> None:
    def declare() -> Any:
        return pghistory.track(fields=["n"])(model("Thing", n=models.IntegerField(), note=models.TextField()))

    thing = history.declare(declare)
    thing.objects.create(n=1, note="x")
    event = thing.pgh_event_model.objects.get()
    assert not event.can_revert
    assert not thing.pgh_event_model.can_revert
    with pytest.raises(HistoryError, match=r"ThingNEvent cannot revert Thing, .* id, note would be lost") as raised:
        event.revert()
    assert isinstance(raised.value, RuntimeError)


def test_revert_names_the_foreign_key_without_a_target(post: Any) -> None:
    author = post.Author.objects.create(name="A")
    post.Post.objects.create(title="a", author=author)
    key = author.pk
    author.delete()
    event = post.Event.objects.get(pgh_label="delete")
    with pytest.raises(HistoryError, match=rf"its author is the Author {key}, which does not exist any more"):
        event.revert()
    assert not post.Post.objects.exists()
    post.Author.objects.create(pk=key, name="A")
    assert event.revert().author_id == key


def test_revert_of_a_row_that_refers_to_itself(history: History) -> None:
    def declare() -> Any:
        parent = models.ForeignKey("self", models.CASCADE, null=True)
        return pghistory.track(pghistory.DeleteEvent())(model("Node", parent=parent))

    node = history.declare(declare)
    one = node.objects.create()
    one.parent = one
    one.save()
    one.delete()
    assert node.pgh_event_model.objects.get().revert().parent_id == one.parent_id


def test_a_refused_revert_leaves_the_transaction_usable(post: Any) -> None:
    post.Post.objects.create(title="a").delete()
    post.Post.objects.create(title="a")
    with transaction.atomic():
        with pytest.raises(Exception, match="duplicate key"):
            post.Event.objects.get(pgh_label="delete").revert()
        assert post.Post.objects.count() == 1


def test_events_by_hand_record_the_object_and_the_context(post: Any) -> None:
    one = post.Post.objects.create(title="a", price="1.50", data={"k": 1})
    one.title = "not saved"
    with pghistory.context(why="review"):
        event = pghistory.create_event(one, label="note")
    assert (event.pgh_label, event.pgh_obj, event.title, event.data) == ("note", one, "not saved", {"k": 1})
    assert event.pgh_context.metadata == {"why": "review"}
    assert event.changed_at == post.Post.objects.get().changed_at
    assert pghistory.create_event(one, label="note").pgh_context is None


def test_events_by_hand_need_a_known_label_and_a_saved_object(post: Any) -> None:
    with pytest.raises(DeclarationError, match='"nope" is not a registered tracker label for model Post'):
        pghistory.create_event(post.Post.objects.create(title="a"), label="nope")
    with pytest.raises(DeclarationError, match="not a registered tracker label for model Author"):
        pghistory.create_event(post.Author(name="A"), label="note")
    with pytest.raises(DeclarationError, match="This Post was never saved"):
        pghistory.create_event(post.Post(title="b"), label="note")


def test_a_whole_context_is_undone_by_reverting_to_the_events_before(history: History) -> None:
    def declare() -> dict[str, Any]:
        author = pghistory.track(pghistory.Snapshot(), pghistory.BeforeUpdateOrDelete("before"))(
            model("Author", name=models.TextField())
        )
        book = pghistory.track(pghistory.Snapshot(), pghistory.BeforeUpdateOrDelete("before"))(
            model("Book", title=models.TextField(), author=models.ForeignKey(author, models.CASCADE))
        )
        return {"Author": author, "Book": book}

    found = history.declare(declare)
    author = found.Author.objects.create(name="Ann")
    found.Book.objects.bulk_create([found.Book(title=str(n), author=author) for n in range(3)])
    was = list(found.Book.objects.order_by("pk").values()), list(found.Author.objects.values())
    with pghistory.context(job="mistake") as opened:
        found.Book.objects.update(title="gone wrong")
        found.Book.objects.filter(pk=1).update(title="and again")
        author.delete()
    assert not found.Book.objects.exists()
    # Parents first: the rows that others refer to were the last to be deleted.
    for event_model in (found.Author.pgh_event_model, found.Book.pgh_event_model):
        for event in event_model.objects.filter(pgh_context=opened.id, pgh_label="before").order_by("-pgh_id"):
            event.revert()
    assert (list(found.Book.objects.order_by("pk").values()), list(found.Author.objects.values())) == was


def test_revert_of_composite_keys(history: History) -> None:
    def declare() -> Any:
        return pghistory.track(
            pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent(), obj_field=None
        )(
            model(
                "Seat",
                pk=models.CompositePrimaryKey("row", "number"),
                row=models.TextField(),
                number=models.IntegerField(),
                taken=models.BooleanField(default=False),
            )
        )

    seat = history.declare(declare)
    seat.objects.create(row="a", number=1)
    seat.objects.create(row="a", number=2)
    seat.objects.filter(number=1).update(taken=True)
    seat.objects.filter(number=2).delete()
    for event in seat.pgh_event_model.objects.filter(pgh_label="insert"):
        event.revert()
    assert list(seat.objects.order_by("pk").values_list("pk", "taken")) == [
        (("a", 1), False),
        (("a", 2), False),
    ]


def test_revert_of_multi_table_children_puts_back_their_own_rows(history: History) -> None:
    """A child's events hold the child's table; its parent's row is for the parent's events to put back."""

    def declare() -> dict[str, Any]:
        both = (pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent())
        parent = pghistory.track(*both)(model("Parent", name=models.TextField()))
        return {
            "Parent": parent,
            "Child": pghistory.track(*both)(model("Child", bases=(parent,), n=models.IntegerField())),
        }

    found = history.declare(declare)
    one = found.Child.objects.create(name="a", n=1)
    found.Child.objects.update(n=2)
    event = found.Child.pgh_event_model.objects.get(pgh_label="insert")
    assert event.revert().n == 1
    assert found.Child.objects.get().name == "a"
    key = one.pk
    one.delete()
    with pytest.raises(HistoryError, match=f"its parent_ptr is the Parent {key}, which does not exist any more"):
        event.revert()
    assert not found.Child.objects.exists()
    assert not found.Parent.objects.exists()
    found.Parent.pgh_event_model.objects.get(pgh_label="delete").revert()
    assert (event.revert().pk, found.Child.objects.get().name) == (key, "a")


def test_revert_of_a_generated_column_leaves_it_to_the_database(history: History) -> None:
    def declare() -> Any:
        double = models.GeneratedField(
            expression=models.F("n") * 2, output_field=models.IntegerField(), db_persist=True
        )
        return pghistory.track()(model("Thing", n=models.IntegerField(), double=double))

    thing = history.declare(declare)
    one = thing.objects.create(n=1)
    thing.objects.update(n=5)
    one.delete()
    assert thing.pgh_event_model.objects.first().revert().double == 2
