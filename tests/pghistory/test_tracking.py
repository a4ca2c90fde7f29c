from __future__ import annotations

from typing import Any

import pytest
from django.db import connection, models, transaction

from pgmagic import pghistory, pgtrigger
from pgmagic.pghistory.models import Context
from tests.history_support import History, model


def changes(history: History, *trackers: Any, **kwargs: Any) -> Any:
    """Return a model tracked by the given trackers, and its event model."""

    def declare() -> dict[str, Any]:
        thing = model("Thing", n=models.IntegerField(default=0), note=models.TextField(default=""))
        tracked = pghistory.track(*trackers, **kwargs)(thing)
        return {"Thing": tracked, "Event": tracked.pgh_event_model}

    return history.declare(declare)


def do_everything(thing: Any, history: History) -> None:
    """Insert, update, change nothing, and delete: by the ORM, in bulk, and with raw SQL."""
    one = thing.objects.create(n=1)
    one.n = 2
    one.save()
    one.save()
    thing.objects.bulk_create([thing(n=10), thing(n=11)])
    thing.objects.filter(n__gte=10).update(n=models.F("n") + 10)
    history.run("UPDATE hist_thing SET n = n WHERE n >= 10", "INSERT INTO hist_thing (n, note) VALUES (30, '')")
    one.delete()
    thing.objects.filter(n=20).delete()
    history.run("DELETE FROM hist_thing WHERE n = 21")


INSERTED = [1, 10, 11, 30]
REALLY_UPDATED = [2, 20, 21]
EVERY_UPDATE = [2, 2, 20, 21, 20, 21]
BEFORE_EVERY_UPDATE = [1, 2, 10, 11, 20, 21]
DELETED = [2, 20, 21]


@pytest.mark.parametrize(
    ("tracker", "expected"),
    [
        (pghistory.InsertEvent(), [("insert", INSERTED)]),
        (pghistory.UpdateEvent(), [("update", REALLY_UPDATED)]),
        (pghistory.UpdateEvent("was", row=pghistory.Old), [("was", [1, 10, 11])]),
        (pghistory.UpdateEvent(condition=None), [("update", EVERY_UPDATE)]),
        (pghistory.UpdateEvent(condition=pghistory.Q(new__n__gt=20)), [("update", [21, 21])]),
        (pghistory.DeleteEvent(), [("delete", DELETED)]),
        (pghistory.RowEvent("row", operation=pghistory.Update, row=pghistory.New), [("row", REALLY_UPDATED)]),
        (pghistory.Snapshot(), [("snapshot", [1, 2, 10, 11, 20, 21, 30])]),
        (pghistory.Snapshot("s", condition=pghistory.Q(new__n__gt=20)), [("s", [21, 21, 30])]),
        (pghistory.AfterInsert("a"), [("a", INSERTED)]),
        (pghistory.AfterUpdate("a"), [("a", EVERY_UPDATE)]),
        (pghistory.AfterUpdate("a", condition=pghistory.AnyChange("n")), [("a", REALLY_UPDATED)]),
        (pghistory.AfterInsertOrUpdate("a"), [("a", [1, 2, 2, 10, 11, 20, 21, 20, 21, 30])]),
        (pghistory.BeforeUpdate("b"), [("b", BEFORE_EVERY_UPDATE)]),
        (pghistory.BeforeDelete("b"), [("b", DELETED)]),
        (pghistory.BeforeUpdateOrDelete("b"), [("b", [*BEFORE_EVERY_UPDATE, *DELETED])]),
        (pghistory.ManualEvent("m"), []),
    ],
    ids=repr,
)
def test_tracker_records_its_operations(history: History, tracker: Any, expected: list[Any]) -> None:
    found = changes(history, tracker)
    do_everything(found.Thing, history)
    labels = dict(expected)
    assert history.events(found.Event, "n") == [(label, n) for label, values in labels.items() for n in values]


@pytest.mark.parametrize("level", [pghistory.Statement, pghistory.Row])
def test_change_of_an_untracked_field_alone_is_no_event_of_any_change(history: History, level: Any) -> None:
    # As projects count views: three of them were three full events.
    any_change = pghistory.AnyChange()
    found = changes(history, pghistory.UpdateEvent(condition=any_change), exclude=["n"], level=level)
    thing = found.Thing.objects.create(note="a")
    for _ in range(3):
        found.Thing.objects.filter(pk=thing.pk).update(n=models.F("n") + 1)
    assert history.events(found.Event, "note") == []
    found.Thing.objects.update(note="b", n=9)
    assert history.events(found.Event, "note") == [("update", "b")]


def test_defaults_are_inserts_and_real_updates(history: History) -> None:
    found = changes(history)
    do_everything(found.Thing, history)
    assert sorted(history.events(found.Event, "n")) == sorted(
        [("insert", n) for n in INSERTED] + [("update", n) for n in REALLY_UPDATED]
    )


def test_condition_of_updates_follows_the_tracked_fields(history: History) -> None:
    found = changes(history, pghistory.UpdateEvent(), fields=["n"])
    thing = found.Thing.objects.create(n=1)
    found.Thing.objects.update(note="changed")
    found.Thing.objects.update(n=2)
    assert history.events(found.Event, "n", "pgh_obj") == [("update", 2, thing.pk)]
    assert not hasattr(found.Event, "note")


def test_without_tracked_fields_every_real_update_is_recorded(history: History) -> None:
    found = changes(history, pghistory.UpdateEvent(), fields=[])
    found.Thing.objects.create(n=1)
    found.Thing.objects.update(note="changed")
    found.Thing.objects.update(note="changed")
    assert history.events(found.Event) == [("update",)]


def test_events_of_copy_are_recorded(history: History) -> None:
    found = changes(history, pghistory.InsertEvent())
    with connection.cursor() as cursor, cursor.copy("COPY hist_thing (n, note) FROM STDIN") as copy:
        copy.write_row((7, "copied"))
    assert history.events(found.Event, "n", "note") == [("insert", 7, "copied")]


def test_event_of_a_changed_primary_key_refers_to_the_recorded_key(history: History) -> None:
    found = changes(history, pghistory.UpdateEvent("old", row=pghistory.Old), pghistory.UpdateEvent("new"))
    thing = found.Thing.objects.create()
    found.Thing.objects.update(id=thing.pk + 100)
    assert history.events(found.Event, "id", "pgh_obj_id") == [
        ("new", thing.pk + 100, thing.pk + 100),
        ("old", thing.pk, thing.pk),
    ]


def test_events_work_whatever_the_search_path(history: History) -> None:
    found = changes(history)
    history.run(f"SET search_path TO pg_catalog; INSERT INTO \"{history.schema}\".hist_thing (n, note) VALUES (5, '')")
    history.run(f'SET search_path TO "{history.schema}"')
    assert history.events(found.Event, "n") == [("insert", 5)]


def test_ignored_trackers_record_nothing(history: History) -> None:
    found = changes(history)
    with pgtrigger.ignore("hist.Thing:insert_insert"):
        found.Thing.objects.create(n=1)
    found.Thing.objects.create(n=2)
    assert history.events(found.Event, "n") == [("insert", 2)]


HOSTILE_LABELS = [
    "it's", 'a "quoted" one', "{meta.db_table}", "{", "100%", "%s %%", "a.b.c", "ü" * 80, "x" * 300, "$body$", "\\",
    "two\nlines  \n\n end", "\u2028 separated", " ", "a;DROP TABLE hist_thing", "a:b",
]  # fmt: skip


def test_labels_may_hold_any_text_and_never_collide(history: History) -> None:
    trackers = [pghistory.InsertEvent(label) for label in [*HOSTILE_LABELS, "x" * 301]]
    found = changes(history, *trackers)
    found.Thing.objects.create(n=3)
    labels = sorted(label for (label,) in history.events(found.Event))
    assert labels == sorted(str(tracker.label) for tracker in trackers)
    for label in HOSTILE_LABELS:
        assert found.Event.objects.filter(pgh_label=label).count() == 1
        assert pghistory.create_event(found.Thing.objects.get(), label=label).pgh_label == label


def test_hostile_values_are_recorded_as_they_are(history: History, post: Any) -> None:
    values = ["it's", '"', "%s", "{}", "\\", "ü\u2028", "$$"]
    for value in values:
        post.Post.objects.create(title=value, body=value, data={value: value})
    assert history.events(post.Event, "title", "data") == [("insert", v, {v: v}) for v in values]


def test_append_only_events_cannot_be_changed_or_deleted(history: History) -> None:
    found = changes(history, append_only=True)
    found.Thing.objects.create(n=1)
    message = "pgtrigger: Cannot update or delete rows from hist_thingevent table"
    for attempt in (
        lambda: found.Event.objects.update(n=2),
        lambda: found.Event.objects.all().delete(),
        lambda: history.run("DELETE FROM hist_thingevent"),
    ):
        with pytest.raises(Exception, match=message), transaction.atomic():
            attempt()
    assert history.events(found.Event, "n") == [("insert", 1)]
    # As upstream: or `flush` would fail, and every TransactionTestCase with it.
    history.run("TRUNCATE hist_thingevent")
    assert history.events(found.Event, "n") == []


def test_append_only_events_cannot_be_truncated_where_that_is_chosen(history: History) -> None:
    found = changes(history, append_only="truncate")
    found.Thing.objects.create(n=1)
    for statement in ("DELETE FROM hist_thingevent", "TRUNCATE hist_thingevent"):
        with pytest.raises(Exception, match="rows from hist_thingevent"), transaction.atomic():
            history.run(statement)
    assert history.events(found.Event, "n") == [("insert", 1)]


def test_created_at_function_is_a_setting(history: History, settings_with: Any) -> None:
    with settings_with(PGHISTORY_CREATED_AT_FUNCTION="'2001-02-03 04:05:06+00'::timestamptz"):
        found = changes(history)
    found.Thing.objects.create()
    [(_, created_at)] = history.events(found.Event, "pgh_created_at")
    assert created_at.isoformat() == "2001-02-03T04:05:06+00:00"


def test_one_transaction_has_one_time(history: History) -> None:
    found = changes(history)
    with transaction.atomic():
        found.Thing.objects.create()
        history.run("SELECT pg_sleep(0.01)")
        found.Thing.objects.update(n=1)
    times = {created_at for _, created_at in history.events(found.Event, "pgh_created_at")}
    assert len(times) == 1


def test_related_names_reach_events_for_older_trackers(history: History) -> None:
    found = changes(history, pghistory.Snapshot(), pghistory.BeforeDelete("gone"))
    thing, _other = found.Thing.objects.create(n=1), found.Thing.objects.create(n=2)
    thing.n = 5
    thing.save()
    for name in ("event", "events"):
        assert [event.n for event in getattr(thing, name).order_by("pgh_id")] == [1, 5]
        assert found.Thing.objects.filter(**{f"{name}__n": 5}).get() == thing
        assert list(found.Thing.objects.prefetch_related(name).get(n=5).__getattribute__(name).values_list("n"))


def test_related_name_of_a_field_subset_reaches_events_as_events_too(history: History) -> None:
    found = changes(history, fields=["n"])
    thing = found.Thing.objects.create(n=1)
    assert found.Event.__name__ == "ThingNEvent"
    assert [event.n for event in thing.n_events.all()] == [event.n for event in thing.events.all()] == [1]


def test_event_model_without_object_and_context(history: History) -> None:
    found = changes(history, obj_field=None, context_field=None)
    with pghistory.context(user=1):
        found.Thing.objects.create(n=1)
    assert history.events(found.Event, "n") == [("insert", 1)]
    assert {field.name for field in found.Event._meta.fields if field.name.startswith("pgh_")} == {
        "pgh_id", "pgh_created_at", "pgh_label",
    }  # fmt: skip


def test_settings_can_leave_object_and_context_out(history: History, settings_with: Any) -> None:
    with settings_with(PGHISTORY_OBJ_FIELD=None, PGHISTORY_CONTEXT_FIELD=None):
        thing = history.declare(
            lambda: pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent())(
                model("Thing", n=models.IntegerField())
            )
        )
    event = thing.pgh_event_model
    assert {"pgh_obj", "pgh_context"}.isdisjoint(field.name for field in event._meta.get_fields())
    with pghistory.context(user=1):
        thing.objects.create(n=1)
        thing.objects.update(n=2)
    assert history.events(event, "n") == [("insert", 1), ("update", 2)]
    assert not Context.objects.exists()


def test_context_can_be_stored_in_each_event(history: History) -> None:
    found = changes(history, context_field=pghistory.ContextJSONField())
    with pghistory.context(user=1, url="/%s'") as opened:
        found.Thing.objects.create(n=1)
    found.Thing.objects.create(n=2)
    assert history.events(found.Event, "pgh_context", "pgh_context_id") == [
        ("insert", {"user": 1, "url": "/%s'"}, opened.id),
        ("insert", None, None),
    ]
    assert history.run("SELECT count(*) FROM pghistory_context") == [(0,)]


def test_extra_fields_and_subclasses_of_event_models(history: History) -> None:
    def declare() -> dict[str, Any]:
        thing = model("Thing", n=models.IntegerField())
        base = pghistory.create_event_model(thing, pghistory.InsertEvent("made"))
        event = model(
            "ThingHistory",
            bases=(base,),
            seen=models.BooleanField(null=True),
            user=pghistory.ProxyField("pgh_context__metadata__user", models.IntegerField(null=True)),
        )
        return {"Thing": thing, "Event": event}

    found = history.declare(declare)
    assert found.Thing.pgh_event_model is found.Event
    for user in (7, "odd", None):
        with pghistory.context(user=user):
            found.Thing.objects.create(n=1)
    assert [(event.user, event.seen) for event in found.Event.objects.order_by("pgh_id")] == [
        (7, None),
        *[(None, None)] * 2,
    ]
    assert list(found.Event.objects.order_by("pgh_id").values_list("user", flat=True)) == [7, None, None]
    assert found.Event.objects.filter(user=7).count() == 1
    assert found.Event.objects.filter(user__gt=100).count() == 0
    assert list(found.Event.objects.order_by("-user", "pgh_id").values_list("user", flat=True)) == [
        None,
        None,
        7,
    ]


def test_generated_columns_are_recorded_as_they_were(history: History) -> None:
    def declare() -> dict[str, Any]:
        upper = models.GeneratedField(
            expression=models.functions.Upper("title"), output_field=models.TextField(), db_persist=True
        )
        tracked = pghistory.track()(model("Doc", title=models.TextField(), upper=upper))
        return {"Doc": tracked, "Event": tracked.pgh_event_model}

    found = history.declare(declare)
    found.Doc.objects.create(title="a")
    found.Doc.objects.update(title="b")
    assert history.events(found.Event, "upper") == [("insert", "A"), ("update", "B")]
    assert found.Event.objects.order_by("pgh_id").first().revert().upper == "A"


def test_proxies_of_other_apps_models_can_be_tracked(history: History) -> None:
    from django.contrib.contenttypes.models import ContentType

    def declare() -> dict[str, Any]:
        proxy = model("Kind", bases=(ContentType,), meta={"proxy": True})
        tracked = pghistory.track(fields=["model"])(proxy)
        return {"Kind": tracked, "Event": tracked.pgh_event_model}

    from pgmagic.compile.model_tables import compile_table

    history.run(*compile_table(ContentType).create)
    found = history.declare(declare)
    ContentType.objects.create(app_label="a", model="b")
    assert history.events(found.Event, "model") == [("insert", "b")]
    ContentType.objects.clear_cache()


def test_declaring_a_model_again_replaces_the_class_everywhere(history: History) -> None:
    former = changes(history)
    thing = former.Thing.objects.create(n=1)
    from tests.history_support import declaring

    with declaring():
        again = pghistory.track()(model("Thing", n=models.IntegerField(default=0), note=models.TextField(default="")))
    assert again.pgh_event_model is not former.Event
    assert [event.n for event in again.objects.get(pk=thing.pk).events.all()] == [1]
    found = pghistory_events().tracks(thing)
    assert [event.pgh_data["n"] for event in found] == [1]


def pghistory_events() -> Any:
    from pgmagic.pghistory.models import Events

    return Events.objects
