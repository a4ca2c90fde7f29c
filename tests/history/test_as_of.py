"""`pgmagic.as_of`: tables as they stood, out of events of every kind of tracking."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from django.db import connection, models, transaction

import pgmagic
from pgmagic import pghistory
from pgmagic.errors import HistoryError
from tests.history_support import History, history, history_schema, model, post  # noqa: F401


class Clock:
    """Gives each step of a test the instant after it."""

    def __init__(self) -> None:
        self.instants: list[datetime.datetime] = []

    def tick(self) -> datetime.datetime:
        """Return the server's time, later than all that happened before."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.002), clock_timestamp()")
            [(_, moment)] = cursor.fetchall()
        self.instants.append(moment)
        return moment  # type: ignore[no-any-return]


@pytest.fixture
def clock() -> Clock:
    return Clock()


def rows(frame: Any, *fields: str) -> dict[Any, Any]:
    return {key: tuple(row[field] for field in fields) for key, row in frame.iterrows()}


def test_the_table_is_shown_as_it_stood(post: Any, clock: Clock) -> None:  # noqa: F811
    before = clock.tick()
    one = post.Post.objects.create(title="a", price="1.50", data={"k": [1]})
    two = post.Post.objects.create(title="b")
    start = clock.tick()
    post.Post.objects.filter(pk=one.pk).update(title="c", price=None)
    post.Post.objects.filter(pk=two.pk).delete()
    changed = clock.tick()
    assert pgmagic.as_of(post.Post, before).empty
    found = pgmagic.as_of(post.Post, start)
    assert rows(found, "title", "price", "data") == {
        one.pk: ("a", Decimal("1.50"), {"k": [1]}), two.pk: ("b", None, None),
    }  # fmt: skip
    assert rows(pgmagic.as_of("Post", changed), "title", "price") == {one.pk: ("c", None)}
    assert rows(pgmagic.as_of(two, start), "title") == {two.pk: ("b",)}
    assert found.index.name == "id"
    assert str(found.index.dtype) == "Int64"
    assert {name: str(dtype).replace("[python]", "") for name, dtype in found.dtypes.items()} == {
        "title": "string", "body": "string", "author": "Int64", "price": "object", "data": "object",
        "changed_at": "datetime64[us, UTC]",
    }  # fmt: skip
    assert found.caption == f"Post as of {start.isoformat(sep=' ')}"


def test_changes_at_the_instant_count_and_an_instant_may_be_a_day(post: Any) -> None:  # noqa: F811
    one = post.Post.objects.create(title="a")
    moment = post.Event.objects.get().pgh_created_at
    assert list(pgmagic.as_of(post.Post, moment).index) == [one.pk]
    assert pgmagic.as_of(post.Post, moment - datetime.timedelta(microseconds=1)).empty
    assert pgmagic.as_of(post.Post, moment.date()).empty
    assert len(pgmagic.as_of(post.Post, moment.date() + datetime.timedelta(days=2))) == 1


def test_the_last_change_of_a_transaction_counts_and_hand_made_events_do_not(post: Any) -> None:  # noqa: F811
    with transaction.atomic():
        one = post.Post.objects.create(title="a")
        post.Post.objects.update(title="b")
        one.title = "never saved"
        pghistory.create_event(one, label="note")
        found = pgmagic.as_of(post.Post, post.Event.objects.first().pgh_created_at)
    assert rows(found, "title") == {one.pk: ("b",)}


def test_columns_of_related_rows_are_added(history: History, clock: Clock) -> None:  # noqa: F811
    def declare() -> dict[str, Any]:
        both = (pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent())
        country = pghistory.track(*both)(model("Country", name=models.TextField()))
        author = pghistory.track(*both)(
            model("Author", name=models.TextField(), country=models.ForeignKey(country, models.CASCADE))
        )
        book = pghistory.track(*both)(
            model("Book", title=models.TextField(), author=models.ForeignKey(author, models.CASCADE, null=True))
        )
        return {"Country": country, "Author": author, "Book": book}

    found = history.declare(declare)
    country = found.Country.objects.create(name="here")
    author = found.Author.objects.create(name="Ann", country=country)
    book = found.Book.objects.create(title="t", author=author)
    loose = found.Book.objects.create(title="u")
    then = clock.tick()
    found.Author.objects.update(name="Anna")
    found.Country.objects.update(name="there")
    now = clock.tick()
    country.delete()
    frame = pgmagic.as_of(found.Book, then, related=["author", "author__country"])
    assert rows(frame, "title", "author", "author__name", "author__country__name")[book.pk] == (
        "t", author.pk, "Ann", "here",
    )  # fmt: skip
    assert frame.loc[loose.pk, "author__name"] is pd.NA
    later = pgmagic.as_of(found.Book, now, related=["author", "author__country"])
    assert later.loc[book.pk, "author__country__name"] == "there"
    assert list(pgmagic.as_of(found.Book, clock.tick(), related=["author"]).index) == [loose.pk]
    with pytest.raises(HistoryError, match="Book has no foreign key 'title'"):
        pgmagic.as_of(found.Book, now, related=["title"])
    with pytest.raises(HistoryError, match="name the foreign key before it first"):
        pgmagic.as_of(found.Book, now, related=["author__country"])


TRACKINGS: dict[str, list[Any]] = {
    "new rows": [pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent()],
    "snapshots": [pghistory.Snapshot(), pghistory.BeforeDelete("gone")],
    "every image": [
        pghistory.InsertEvent(), pghistory.UpdateEvent("is"), pghistory.UpdateEvent("was", row=pghistory.Old),
        pghistory.DeleteEvent(),
    ],
    "every image, the old one first": [
        pghistory.InsertEvent(), pghistory.UpdateEvent("b"), pghistory.UpdateEvent("a", row=pghistory.Old),
        pghistory.DeleteEvent(),
    ],
    "old rows": [pghistory.InsertEvent(), pghistory.BeforeUpdate("was"), pghistory.DeleteEvent()],
    "old rows under one label": [pghistory.InsertEvent(), pghistory.BeforeUpdateOrDelete("was")],
    "snapshots and old rows under one label": [pghistory.Snapshot(), pghistory.BeforeUpdateOrDelete("before")],
}  # fmt: skip


@pytest.mark.parametrize("trackers", TRACKINGS.values(), ids=TRACKINGS)
def test_every_way_of_tracking_gives_the_same_table(
    history: History,  # noqa: F811
    clock: Clock,
    trackers: list[Any],
) -> None:
    thing = history.declare(
        lambda: pghistory.track(*trackers)(model("Thing", n=models.IntegerField(), note=models.TextField(null=True)))
    )
    expected = []

    def step(change: Any) -> None:
        change()
        expected.append((clock.tick(), dict(thing.objects.values_list("pk", "n"))))

    step(lambda: thing.objects.bulk_create([thing(n=n) for n in (1, 2, 3)]))
    step(lambda: thing.objects.filter(pk=1).update(n=10))
    step(lambda: thing.objects.filter(pk=2).delete())
    step(lambda: thing.objects.filter(pk=1).update(n=11))
    step(lambda: thing.objects.create(pk=2, n=20))
    step(lambda: thing.objects.filter(pk__in=[2, 3]).update(n=models.F("n") + 1))
    step(lambda: thing.objects.filter(pk=1).delete())
    for moment, values in expected:
        found = pgmagic.as_of(thing, moment)
        assert {key: row for key, (row,) in rows(found, "n").items()} == values
        assert found.notes == []
    timeline = pgmagic.timeline(thing)
    for moment, values in expected:
        valid = timeline[
            (timeline["valid_from"].isna() | (timeline["valid_from"] <= moment))
            & (timeline["valid_to"].isna() | (timeline["valid_to"] > moment))
        ]
        shown = dict(zip(valid["pgh_obj_id"], valid["n"], strict=True))
        if any(isinstance(tracker, pghistory.UpdateEvent | pghistory.Snapshot) for tracker in trackers):
            assert shown == values
        else:
            # What is valid now is in the table alone.
            assert shown.items() <= values.items()
            assert "how they are now is in the table" in timeline.notes[0]


def test_rows_whose_state_no_event_holds_are_counted(history: History, clock: Clock) -> None:  # noqa: F811
    thing = history.declare(
        lambda: pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent())(
            model("Thing", n=models.IntegerField())
        )
    )
    history.run(
        "SET session_replication_role = replica",
        "INSERT INTO hist_thing (n) SELECT generate_series(1, 4)",
        "SET session_replication_role = origin",
    )
    start = clock.tick()
    thing.objects.filter(n=1).update(n=10)
    thing.objects.filter(n=2).delete()
    found = pgmagic.as_of(thing, start)
    # The deleted row's event says how it was until then.
    assert rows(found, "n") == {2: (2,)}
    assert found.notes == [
        "1 more existed, in a state that no event holds: their first event is a later change.",
        "2 rows of today have no event at all, and are left out: pghistory.backfill(Thing) records rows as they are.",
    ]


def test_composite_keys_are_an_index_of_several_levels(history: History, clock: Clock) -> None:  # noqa: F811
    def declare() -> Any:
        return pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent(), obj_field=None)(
            model(
                "Seat",
                pk=models.CompositePrimaryKey("row", "number"),
                row=models.TextField(),
                number=models.IntegerField(),
                taken=models.BooleanField(default=False),
            )
        )

    seat = history.declare(declare)
    seat.objects.create(row="a", number=2)
    seat.objects.create(row="a", number=1)
    then = clock.tick()
    seat.objects.filter(number=2).update(taken=True)
    found = pgmagic.as_of(seat, then)
    assert list(found.index) == [("a", 1), ("a", 2)]
    assert list(found.index.names) == ["row", "number"]
    assert list(found["taken"]) == [False, False]
    assert list(pgmagic.as_of(seat, clock.tick())["taken"]) == [False, True]


def test_events_without_an_object_are_refused(history: History) -> None:  # noqa: F811
    def declare() -> Any:
        return pghistory.track(fields=["n"], obj_field=None)(model("Thing", n=models.IntegerField()))

    thing = history.declare(declare)
    with pytest.raises(HistoryError, match="ThingNEvent does not say which object an event belongs to"):
        pgmagic.as_of(thing, datetime.date(2020, 1, 1))


def test_a_table_whose_columns_were_added_later(history: History, clock: Clock) -> None:  # noqa: F811
    trackers = TRACKINGS["old rows"]
    thing = history.declare(lambda: pghistory.track(*trackers)(model("Thing", n=models.IntegerField())))
    # The physical order of the columns differs from the model's.
    history.run(
        "ALTER TABLE hist_thingevent RENAME COLUMN n TO former",
        "ALTER TABLE hist_thingevent ADD COLUMN n integer",
        "ALTER TABLE hist_thingevent ALTER COLUMN former DROP NOT NULL",
    )
    thing.objects.create(n=1)
    then = clock.tick()
    thing.objects.update(n=2)
    assert list(pgmagic.as_of(thing, then)["n"]) == [1]
    assert list(pgmagic.as_of(thing, clock.tick())["n"]) == [2]
