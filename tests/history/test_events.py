from __future__ import annotations

import datetime
import time
import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, models, transaction

from pgmagic import pghistory
from pgmagic.errors import HistoryError
from pgmagic.history import events
from pgmagic.history.events import read_events
from pgmagic.pghistory.models import Context
from tests.history_support import History, history, history_schema, model, post  # noqa: F401

UTC = datetime.UTC
EVERY_KIND: dict[str, tuple[models.Field[Any, Any], Any, str]] = {
    "an_integer": (models.IntegerField(null=True), 2**31 - 1, "integer"),
    "a_boolean": (models.BooleanField(null=True), True, "boolean"),
    "a_time": (models.DateTimeField(null=True), datetime.datetime(2020, 1, 2, 3, 4, 5, 6, UTC), "timestamp"),
    "a_date": (models.DateField(null=True), datetime.date(2020, 1, 2), "date"),
    "a_text": (models.TextField(null=True), "it's %s ü", "text"),
    "a_char": (models.CharField(max_length=9, null=True), "c", "text"),
    "a_file": (models.FileField(null=True), "a/b.txt", "text"),
    "an_address": (models.GenericIPAddressField(null=True), "10.0.0.1", "text"),
    "a_decimal": (
        models.DecimalField(max_digits=9, decimal_places=3, null=True),
        Decimal("1.500"),
        "decimal",
    ),
    "a_float": (models.FloatField(null=True), 1.5, "float"),
    "a_json": (models.JSONField(null=True), {"a": [1, None, "x"]}, "json"),
    "a_uuid": (models.UUIDField(null=True), uuid.UUID(int=7), "uuid"),
    "bytes_": (models.BinaryField(null=True), b"\x00\xff", "other"),
    "a_duration": (models.DurationField(null=True), datetime.timedelta(days=1, microseconds=5), "other"),
}


@pytest.fixture
def every(history: History) -> Any:  # noqa: F811
    """A tracked model with a field of every kind."""
    fields = {name: field.clone() for name, (field, _, _) in EVERY_KIND.items()}
    return history.declare(lambda: pghistory.track(pghistory.InsertEvent())(model("Every", **fields)))


def test_columns_hold_python_values_of_every_kind(every: Any) -> None:
    full = every.objects.create(**{name: value for name, (_, value, _) in EVERY_KIND.items()})
    empty = every.objects.create(an_address=None)
    found = read_events(every.pgh_event_model)
    assert list(found.columns)[:7] == [
        "pgh_id", "pgh_created_at", "pgh_label", "pgh_obj_id", "pgh_context_id", "context", "id",
    ]  # fmt: skip
    assert found.columns["pgh_obj_id"] == found.columns["id"] == [full.pk, empty.pk]
    for name, (_, value, kind) in EVERY_KIND.items():
        nothing = "" if name == "a_file" else None
        assert found.columns[name] == [value, nothing], name
        assert type(found.columns[name][0]) is type(value), name
        assert found.kinds[name] == kind
    assert found.columns["pgh_created_at"][0].tzinfo is UTC
    assert found.total == 2


def test_frames_accept_the_columns(every: Any) -> None:
    from pgmagic.history.reading import history_frame

    every.objects.create(**{name: value for name, (_, value, _) in EVERY_KIND.items()})
    found = read_events(every.pgh_event_model)
    frame = history_frame(found.columns, found.kinds, sides=found.sides)
    assert str(frame.dtypes["an_integer"]) == "Int64"
    assert frame.loc[0, "a_decimal"] == Decimal("1.500")


def test_times_are_in_utc_whatever_the_session_says(every: Any) -> None:
    moment = datetime.datetime(2020, 6, 1, 12, tzinfo=UTC)
    every.objects.create(a_time=moment)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL TimeZone TO 'America/New_York'")
        found = read_events(every.pgh_event_model)
    assert found.columns["a_time"] == [moment]
    assert found.columns["a_time"][0].utcoffset() == datetime.timedelta(0)


def test_uncommitted_events_are_seen(post: Any) -> None:  # noqa: F811
    with transaction.atomic():
        post.Post.objects.create(title="a")
        assert read_events(post.Event).columns["title"] == ["a"]
        transaction.set_rollback(True)
    assert read_events(post.Event).columns["title"] == []


def titles(event_model: Any, **filters: Any) -> list[str]:
    return read_events(event_model, **filters).columns["title"]  # type: ignore[no-any-return]


def test_filters_narrow_what_is_read(post: Any) -> None:  # noqa: F811
    author = post.Author.objects.create(name="A")
    with pghistory.context(user=1, tag="it's 100%"):
        one = post.Post.objects.create(title="one", author=author)
        with pghistory.context(deep={"a": 1, "b": 2}):
            post.Post.objects.filter(title="one").update(title="two")
    other = post.Post.objects.create(title="other")
    times = [datetime.datetime(2020, 1, day, tzinfo=UTC) for day in (1, 2, 3)]
    for event, moment in zip(post.Event.objects.order_by("pgh_id"), times, strict=True):
        post.Event.objects.filter(pk=event.pk).update(pgh_created_at=moment)
    event = post.Event
    assert titles(event) == ["one", "two", "other"]
    assert titles(event, label="insert") == titles(event, label=["insert", "%"]) == ["one", "other"]
    assert titles(event, since=times[1]) == titles(event, since=datetime.date(2020, 1, 2)) == ["two", "other"]
    assert titles(event, until=times[1]) == titles(event, until=datetime.datetime(2020, 1, 2)) == ["one"]  # noqa: DTZ001
    assert titles(event, context={"user": 1}) == titles(event, context={"tag": "it's 100%"}) == ["one", "two"]
    assert titles(event, context={"user": 2}) == titles(event, context={"user": "1"}) == []
    assert titles(event, obj_ids=[one.pk]) == titles(event, obj_ids=[str(one.pk)]) == ["one", "two"]
    assert titles(event, obj_ids=[one.pk, other.pk], label="insert") == ["one", "other"]
    assert titles(event, obj_ids=[]) == []
    assert read_events(event).columns["author"] == [author.pk, author.pk, None]


def test_limit_keeps_the_latest_in_order_and_the_total_is_known(post: Any) -> None:  # noqa: F811
    for title in "abcd":
        post.Post.objects.create(title=title)
    found = read_events(post.Event, limit=2)
    assert (found.columns["title"], found.total) == (["c", "d"], 4)
    found = read_events(post.Event, limit=9)
    assert (found.columns["title"], found.total) == (["a", "b", "c", "d"], 4)
    assert read_events(post.Event, limit=0).columns["title"] == []


def test_events_have_their_context(post: Any) -> None:  # noqa: F811
    with pghistory.context(user=1) as opened:
        post.Post.objects.create(title="a")
    post.Post.objects.create(title="b")
    found = read_events(post.Event).columns
    assert found["context"] == [{"user": 1}, None]
    assert found["pgh_context_id"] == [opened.id, None]


def test_sides_say_which_labels_hold_old_rows(post: Any) -> None:  # noqa: F811
    assert read_events(post.Event).sides == {"insert": "NEW", "update": "NEW", "delete": "OLD", "note": "NEW"}


def test_a_field_with_the_name_of_a_column_of_events_is_kept(history: History) -> None:  # noqa: F811
    tracked = history.declare(lambda: pghistory.track()(model("Note", context=models.TextField())))
    with pghistory.context(user=1):
        tracked.objects.create(context="mine")
    found = read_events(tracked.pgh_event_model).columns
    assert (found["context"], found["context_"]) == ([{"user": 1}], ["mine"])


def test_events_without_object_and_context(history: History) -> None:  # noqa: F811
    tracked = history.declare(
        lambda: pghistory.track(obj_field=None, context_field=None)(model("Loose", n=models.IntegerField()))
    )
    one = tracked.objects.create(n=1)
    found = read_events(tracked.pgh_event_model, obj_ids=[one.pk])
    assert (found.columns["pgh_obj_id"], found.columns["context"], found.columns["n"]) == (
        [one.pk],
        [None],
        [1],
    )
    with pytest.raises(HistoryError, match="LooseEvent stores no context"):
        read_events(tracked.pgh_event_model, context={"user": 1})


def test_a_key_of_the_wrong_type_is_named(post: Any) -> None:  # noqa: F811
    with pytest.raises(HistoryError, match="'x' is not a primary key of Post"):
        read_events(post.Event, obj_ids=["x"])


@pytest.mark.slow
def test_two_hundred_thousand_events_are_read_quickly(post: Any) -> None:  # noqa: F811
    contexts = [Context(metadata={"user": n, "url": f"/{n}/"}) for n in range(1000)]
    Context.objects.bulk_create(contexts)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO hist_postevent (pgh_created_at, pgh_label, pgh_obj_id, pgh_context_id, id, title, body, "
            "price, data, changed_at) SELECT now(), 'update', n, c.id, n, 'title ' || n, 'body', n, NULL, now() "
            "FROM generate_series(1, 200000) AS n JOIN (SELECT id, row_number() OVER () AS r FROM pghistory_context) c "
            "ON c.r = n % 1000 + 1"
        )
    # This process's own time: what else runs on the machine says nothing about the code. Measured: 0.5 s.
    started = time.process_time()
    found = read_events(post.Event)
    elapsed = time.process_time() - started
    assert len(found.columns["title"]) == 200_000
    assert elapsed < 1.5, f"{elapsed:.2f} s"


def test_many_events_arrive_in_parts_and_say_how_far(post: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(events, "_MANY", 10)
    monkeypatch.setattr(events, "_CHUNK", 4)
    for n in range(30):
        post.Post.objects.create(title=f"t{n}", data={"n": n})
    connection.cursor().execute("ANALYZE hist_postevent")
    reported: list[tuple[int, int]] = []
    found = read_events(post.Event, progress=lambda done, total: reported.append((done, total)))
    assert reported == [(n, 30) for n in range(0, 30, 4)]
    assert found == read_events(post.Event)


def test_interrupted_reading_leaves_the_connection_usable(
    post: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "_MANY", 10)
    monkeypatch.setattr(events, "_CHUNK", 4)
    for n in range(30):
        post.Post.objects.create(title=f"t{n}")
    connection.cursor().execute("ANALYZE hist_postevent")

    def interrupt(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_events(post.Event, progress=interrupt)
    assert post.Event.objects.count() == 30
