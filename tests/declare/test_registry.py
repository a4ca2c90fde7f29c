"""The registry: triggers by URI; a block may replace each once, and a block that raises changes nothing."""

from __future__ import annotations

import pytest
from django.db import models

from pgmagic import pgtrigger
from pgmagic.declare import registry
from pgmagic.errors import DeclarationError, UnknownTriggerError
from tests.declare.models import Book, Shelf


def keep(name="keep"):
    return pgtrigger.Protect(name=name, operation=pgtrigger.Delete)


def test_registered_is_found_by_uri():
    one, other = keep("one"), keep("other")
    registry.add(Book, one)
    registry.add(Shelf, other)
    assert registry.registered() == [(Book, one), (Shelf, other)]
    assert registry.registered("rooms.Shelf:other", "rooms.Book:one") == [(Shelf, other), (Book, one)]
    assert registry.find("rooms.Book:other") is None


def test_two_triggers_of_one_name_are_refused():
    trigger = keep()
    registry.add(Book, trigger)
    registry.add(Book, trigger)
    # As upstream: a KeyError. Of ours it is a DeclarationError, too.
    with pytest.raises(KeyError, match='Book has two triggers named "keep": give one of them another name') as raised:
        registry.add(Book, keep())
    assert isinstance(raised.value, DeclarationError)
    assert registry.find("rooms.Book:keep") == (Book, trigger)


@pytest.mark.parametrize("ask", [registry.registered, lambda uri: registry.remove(Book, keep())])
def test_unknown_uri_lists_what_is_known(ask):
    with pytest.raises(UnknownTriggerError) as raised:
        ask("rooms.Book:keep")
    assert str(raised.value) == 'URI "rooms.Book:keep" not found in pgtrigger registry; registered are: none.'
    registry.add(Shelf, keep("b"))
    registry.add(Shelf, keep("a"))
    with pytest.raises(KeyError, match=r"registered are: rooms\.Shelf:a, rooms\.Shelf:b\."):
        ask("rooms.Book:keep")


def test_text_that_is_not_a_uri_is_refused():
    with pytest.raises(ValueError, match="Trigger URI must be in the format"):
        registry.registered("keep")


@pytest.mark.parametrize("short", ["Book:keep", "book:keep", "Book.keep", "rooms.Book.keep", "rooms.book:keep"])
def test_short_name_is_enough_if_it_means_one_trigger(short):
    registry.add(Book, keep())
    registry.add(Shelf, keep())
    [(model, trigger)] = registry.registered(short)
    assert (model, trigger.name) == (Book, "keep")


def test_field_stands_for_its_machine_if_no_trigger_has_its_name():
    flow = pgtrigger.FSM(name="flow", field="title", transitions=[("a", "b")])
    registry.add(Book, flow)
    assert registry.registered("Book.title") == [(Book, flow)]
    second = pgtrigger.FSM(name="second", field="title", transitions=[("a", "c")])
    registry.add(Book, second)
    with pytest.raises(DeclarationError) as raised:
        registry.registered("Book.title")
    assert str(raised.value) == '"Book.title" may mean several triggers: write rooms.Book:flow or rooms.Book:second.'
    registry.add(Book, keep("title"))
    assert [trigger.name for _, trigger in registry.registered("Book.title")] == ["title"]


@pytest.mark.parametrize("short", ["Book:nope", "Nope:keep", "book:Keep"])
def test_unknown_short_name_offers_the_full_uris(short):
    registry.add(Book, keep())
    with pytest.raises(UnknownTriggerError) as raised:
        registry.registered(short)
    assert str(raised.value).endswith("registered are: rooms.Book:keep.")


def test_block_may_register_a_trigger_again_once():
    registry.add(Book, keep())
    with registry.block():
        again = keep()
        registry.add(Book, again)
        assert registry.registered_in_block() == [(Book, again)]
        with pytest.raises(DeclarationError, match="two triggers"):
            registry.add(Book, keep())
    assert registry.registered() == [(Book, again)]
    with pytest.raises(DeclarationError, match="two triggers"):
        registry.add(Book, keep())


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
def test_block_that_raises_leaves_everything_as_before(kind):
    kept, replaced = keep("kept"), keep("replaced")
    for trigger in (kept, replaced):
        registry.add(Book, trigger)
    registry.declare_with_model(kept, Book)
    with pytest.raises(kind), registry.block():  # noqa: PT012
        registry.remove(Book, kept)
        registry.add(Book, keep("replaced"))
        registry.add(Shelf, keep("new"))
        registry.declare_with_model(replaced, Book)
        raise kind
    assert registry.registered() == [(Book, kept), (Book, replaced)]
    assert registry.is_declared_with_model(kept, Book)
    assert not registry.is_declared_with_model(replaced, Book)
    assert registry.registered_in_block() == registry.registered()


def test_removed_trigger_is_no_longer_declared_with_its_model():
    trigger = keep()
    registry.add(Book, trigger)
    registry.declare_with_model(trigger, Book)
    registry.remove(Book, trigger)
    registry.add(Book, trigger)
    assert not registry.is_declared_with_model(trigger, Book)


def test_model_is_removed_with_all_its_triggers():
    for model, name in ((Book, "a"), (Book, "b"), (Shelf, "a")):
        registry.add(model, keep(name))
        registry.declare_with_model(keep(name), model)
    registry.remove_model(Book)
    assert [(model, trigger.name) for model, trigger in registry.registered()] == [(Shelf, "a")]
    assert not registry.is_declared_with_model(keep("a"), Book)


def test_trigger_moves_to_the_class_that_replaced_its_model():
    former = type(
        "Book",
        (Shelf,),
        {"__module__": __name__, "Meta": type("Meta", (), {"proxy": True, "app_label": "rooms_moved"})},
    )
    trigger = keep()
    registry.add(former, trigger)
    successor = type(
        "Book2",
        (Shelf,),
        {"__module__": __name__, "Meta": type("Meta", (), {"proxy": True, "app_label": "rooms_moved"})},
    )
    registry.move(trigger, former, successor)
    assert registry.registered() == [(successor, trigger)]


@pytest.mark.parametrize(
    ("triggers", "sentence"),
    [
        ((3,), "pgtrigger.register on Book holds triggers, but 3 was given."),
        (([],), "pgtrigger.register on Book holds triggers, but [] was given."),
        ((pgtrigger.Protect,), "pgtrigger.register on Book holds triggers, but <class "),
    ],
)
def test_register_takes_triggers_only(triggers, sentence):
    with pytest.raises(DeclarationError) as raised:
        pgtrigger.register(keep(), *triggers)(Book)
    assert str(raised.value).startswith(sentence)
    assert registry.registered() == []


def test_register_returns_the_class():
    assert pgtrigger.register(keep("a"), keep("b"))(Book) is Book
    assert [trigger.name for _, trigger in registry.registered()] == ["a", "b"]


class Base(models.Model):
    """Has no table."""

    class Meta:
        abstract = True
        app_label = "rooms"


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("rooms.Book", "A trigger is registered for a model, but 'rooms.Book' was given."),
        (keep, "A trigger is registered for a model, but <function keep"),
        (
            Base,
            "Base is abstract, so it has no table: name the trigger in its Meta.triggers, which each child has",
        ),
    ],
)
def test_trigger_is_registered_for_models_only(model, sentence):
    for register in (pgtrigger.register(keep()), keep().register):
        with pytest.raises(DeclarationError) as raised:
            register(model)
        assert str(raised.value).startswith(sentence)
    assert registry.registered() == []
