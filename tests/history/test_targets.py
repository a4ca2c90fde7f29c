"""Which model and which object a function of history is asked about."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from django.db import models

import pgmagic
from pgmagic import pghistory
from pgmagic.errors import HistoryError
from tests.history_support import History, model

FUNCTIONS = {
    "history": pgmagic.history,
    "diff": pgmagic.diff,
    "timeline": pgmagic.timeline,
    "as_of": lambda target: pgmagic.as_of(target, date(2099, 1, 1)),
    "verify": pgmagic.verify,
}
NO_KEY = (
    "This Thing has no primary key, because it was never saved or was deleted: give an object that has one, as "
    "Thing(pk=3) has, or the model Thing for all objects."
)


@pytest.fixture
def thing(history: History) -> Any:
    """A tracked model with two objects."""
    found = history.declare(
        lambda: pghistory.track(hash_chain=True)(model("Thing", name=models.CharField(max_length=9)))
    )
    found.objects.bulk_create([found(name="a"), found(name="b")])
    return found


@pytest.mark.parametrize("function", FUNCTIONS)
def test_object_that_was_never_saved_has_no_history(thing: Any, function: str) -> None:
    with pytest.raises(HistoryError) as raised:
        FUNCTIONS[function](thing(name="new"))
    assert str(raised.value) == NO_KEY


@pytest.mark.parametrize("function", FUNCTIONS)
def test_object_that_was_deleted_by_itself_is_not_every_object(thing: Any, function: str) -> None:
    gone = thing.objects.get(name="a")
    gone.delete()
    with pytest.raises(HistoryError, match="never saved or was deleted"):
        FUNCTIONS[function](gone)
    # Its history is still there.
    assert len(pgmagic.history(thing(pk=1))) == 1


def test_half_of_a_composite_key_is_none(history: History) -> None:
    def declare() -> Any:
        pair = model(
            "Thing",
            pk=models.CompositePrimaryKey("left", "right"),
            left=models.IntegerField(),
            right=models.IntegerField(),
        )
        return pghistory.track(obj_field=None)(pair)

    pair = history.declare(declare)
    with pytest.raises(HistoryError, match="This Thing has no primary key"):
        pgmagic.history(pair(left=1))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_saved_object_and_model_are_as_before(thing: Any, function: str) -> None:
    one = thing.objects.get(name="a")
    found = {"history": (1, 2), "diff": (0, 0), "timeline": (1, 2), "as_of": (1, 2), "verify": (0, 0)}
    assert (len(FUNCTIONS[function](one)), len(FUNCTIONS[function](thing))) == found[function]
