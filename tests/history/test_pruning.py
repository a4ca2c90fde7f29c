from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from django.db import models, transaction
from django.utils import timezone

from pgmagic import pghistory
from pgmagic.errors import HistoryError
from pgmagic.history.pruning import prune_events
from tests.history_support import History, model

YEAR = timedelta(days=365)


def tracked(history: History, **kwargs: Any) -> Any:
    """Return a tracked model with two rows that were changed thrice, the second of which is gone."""

    def declare() -> Any:
        thing = model("Thing", n=models.IntegerField(default=0))
        return pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent(), **kwargs)(
            thing
        )

    thing = history.declare(declare)
    thing.objects.bulk_create([thing(id=1), thing(id=2)])
    for n in (1, 2, 3):
        thing.objects.update(n=n)
    thing.objects.filter(id=2).delete()
    return thing


def age(history: History, days: int) -> None:
    """Make all events older than they are, whatever protects them."""
    history.run(
        "SET session_replication_role = replica",
        f"UPDATE hist_thingevent SET pgh_created_at = pgh_created_at - interval '{days} days'",
        "RESET session_replication_role",
    )


def left(history: History, thing: Any) -> list[Any]:
    """Return label, object and value of each event that is left."""
    return history.events(thing.pgh_event_model, "pgh_obj", "n")


@pytest.mark.parametrize("append_only", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, 10_000])
def test_old_events_are_removed_but_the_last_event_of_an_existing_row_stays(
    history: History, append_only: bool, batch_size: int
) -> None:
    thing = tracked(history, append_only=append_only)
    assert prune_events(thing, older_than=YEAR).events == 0
    age(history, 366)
    pruned = prune_events(thing, older_than=YEAR, batch_size=batch_size)
    assert left(history, thing) == [("update", 1, 3)]
    assert (pruned.events, pruned.by_event_model) == (8, {"hist.ThingEvent": 8})
    assert pruned.batches == -(-8 // batch_size)
    if append_only:
        with pytest.raises(Exception, match="Cannot update or delete rows"), transaction.atomic():
            thing.pgh_event_model.objects.all().delete()
    assert prune_events(thing, older_than=YEAR, with_last=True).events == 1
    assert left(history, thing) == []


def test_last_events_of_each_object_stay(history: History) -> None:
    thing = tracked(history)
    assert prune_events(thing, keep_last=2, older_than=YEAR).events == 0
    assert prune_events(thing.pgh_event_model, keep_last=2, batch_size=2).events == 5
    assert left(history, thing) == [("update", 1, 2), ("update", 1, 3), ("update", 2, 3), ("delete", 2, 3)]
    age(history, 366)
    assert prune_events(thing, keep_last=1, older_than=timezone.now() - YEAR).events == 2


def test_only_events_before_an_instant_are_removed(history: History) -> None:
    thing = tracked(history)
    assert prune_events(thing, older_than=date(2020, 1, 1)).events == 0
    assert prune_events(thing, older_than=timezone.now() + YEAR).events == 8


def test_pruning_is_rolled_back_with_the_transaction_around_it(history: History) -> None:
    thing = tracked(history)
    before = left(history, thing)
    with transaction.atomic():
        assert prune_events(thing, older_than=timedelta(0), batch_size=2).events == 8
        transaction.set_rollback(True)
    assert left(history, thing) == before


def test_events_without_an_object_are_pruned_by_age_alone(history: History) -> None:
    thing = tracked(history, obj_field=None, fields=["n"], model_name="ThingEvent")
    with pytest.raises(HistoryError, match="ThingEvent does not say which object an event belongs to"):
        prune_events(thing, older_than=timedelta(0))
    with pytest.raises(HistoryError, match="ThingEvent does not say"):
        prune_events(thing, keep_last=1, with_last=True)
    assert prune_events(thing, older_than=timedelta(0), with_last=True).events == 9


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({}, "Which events of Thing are to go"),
        ({"keep_last": 0}, "keep_last= is a number of events from 1 on, but 0 was given for Thing"),
        ({"keep_last": True}, "keep_last="),
        ({"older_than": timedelta(-1)}, "older_than= of Thing is an age"),
        ({"older_than": YEAR, "batch_size": 0}, "batch_size=0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(history: History, kwargs: Any, message: str) -> None:
    thing = tracked(history)
    with pytest.raises(HistoryError, match=message):
        prune_events(thing, **kwargs)
    assert thing.pgh_event_model.objects.count() == 9


def test_a_model_that_is_not_tracked_is_refused() -> None:
    with pytest.raises(HistoryError, match="Context is not tracked"):
        prune_events(pghistory.models.Context, keep_last=1)
