from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, models
from django.db.models import Max

from pgmagic import pghistory
from pgmagic.errors import HistoryError
from pgmagic.history.events_sql import COLUMNS
from pgmagic.pghistory.models import AggregateEvent, Events, MiddlewareEvents
from tests.history_support import History, model


def diffs(events: Any) -> list[Any]:
    """Return the label and the diff, without the time of the change, of each event in order."""
    found = []
    for event in events.order_by("pgh_id"):
        diff = event.pgh_diff
        if diff is not None:
            diff.pop("changed_at", None)
        found.append((event.pgh_label, diff))
    return found


def test_an_event_has_every_column(post: Any) -> None:
    author = post.Author.objects.create(name="A")
    with pghistory.context(user=3) as opened:
        created = post.Post.objects.create(title="a", author=author, price="1.50", data={"k": [1]})
    [event] = Events.objects.values(*COLUMNS)
    assert event.pop("pgh_created_at") == post.Event.objects.get().pgh_created_at
    assert event.pop("pgh_data").pop("changed_at")
    assert event == {
        "pgh_slug": f"hist.PostEvent:{event['pgh_id']}",
        "pgh_model": "hist.PostEvent",
        "pgh_id": post.Event.objects.get().pgh_id,
        "pgh_label": "insert",
        "pgh_diff": None,
        "pgh_context_id": opened.id,
        "pgh_context": {"user": 3},
        "pgh_obj_model": "hist.Post",
        "pgh_obj_id": str(created.pk),
    }
    assert Events.objects.get(pgh_slug=event["pgh_slug"]).pgh_data["author_id"] == author.pk


def test_diff_is_against_the_event_before(post: Any) -> None:
    one = post.Post.objects.create(title="a")
    other = post.Post.objects.create(title="x")
    one.title = "b"
    one.save()
    other.body = "text"
    other.save()
    one.data = {"k": 1}
    one.price = "2.50"
    one.save()
    one.refresh_from_db()
    pghistory.create_event(one, label="note")
    assert diffs(Events.objects.tracks(one)) == [
        ("insert", None),
        ("update", {"title": ["a", "b"]}),
        ("update", {"data": [None, {"k": 1}], "price": [None, 2.5]}),
        ("note", None),
    ]
    assert diffs(Events.objects.tracks(other)) == [("insert", None), ("update", {"body": ["", "text"]})]


def test_diff_does_not_depend_on_filters(post: Any) -> None:
    one = post.Post.objects.create(title="a")
    for title in "bc":
        one.title = title
        one.save()
    last = post.Event.objects.order_by("pgh_id").last()
    assert diffs(Events.objects.filter(pgh_id=last.pgh_id)) == [("update", {"title": ["b", "c"]})]
    assert diffs(Events.objects.filter(pgh_diff__title__1="b")) == [("update", {"title": ["a", "b"]})]
    assert Events.objects.filter(pgh_diff__isnull=True).count() == 1


def test_diff_pairs_events_of_the_same_side(history: History) -> None:
    def declare() -> Any:
        trackers = (
            pghistory.UpdateEvent("was", row=pghistory.Old),
            pghistory.UpdateEvent("is"),
            pghistory.DeleteEvent(),
        )
        return pghistory.track(*trackers)(model("Thing", n=models.IntegerField()))

    thing = history.declare(declare)
    one = thing.objects.create(n=1)
    for n in (2, 3):
        thing.objects.update(n=n)
    one.delete()
    found = Events.objects.filter(pgh_label="is").order_by("pgh_id")
    assert [event.pgh_diff for event in found] == [None, {"n": [2, 3]}]
    found = Events.objects.exclude(pgh_label="is").order_by("pgh_id")
    assert [(event.pgh_label, event.pgh_diff) for event in found] == [
        ("was", None), ("was", {"n": [1, 2]}), ("delete", {"n": [2, 3]}),
    ]  # fmt: skip


def test_scopes_narrow_and_combine(post: Any) -> None:
    ann, ben = (post.Author.objects.create(name=name) for name in ("Ann", "Ben"))
    one = post.Post.objects.create(title="one", author=ann)
    two = post.Post.objects.create(title="two", author=ben)
    two.author = ann
    two.save()

    def ids(events: Any) -> list[Any]:
        return [(event.pgh_obj_id, event.pgh_label) for event in events.order_by("pgh_id")]

    first, second, third = (str(one.pk), "insert"), (str(two.pk), "insert"), (str(two.pk), "update")
    assert ids(Events.objects.all()) == [first, second, third]
    assert ids(Events.objects.tracks(two)) == ids(Events.objects.target(two)) == [second, third]
    assert ids(Events.objects.tracks(one, two)) == ids(Events.objects.tracks([one, two])) == [first, second, third]
    assert ids(Events.objects.tracks(post.Post.objects.filter(title="one"))) == [first]
    assert ids(Events.objects.references(ann)) == [first, third]
    assert ids(Events.objects.references(one)) == [first]
    assert ids(Events.objects.references(ann).tracks(two)) == [third]
    assert ids(Events.objects.references(ann).references(one)) == [first]
    assert ids(Events.objects.across(post.Event)) == [first, second, third]
    assert ids(Events.objects.across("hist.PostEvent").filter(pgh_label="update")) == [third]
    assert ids(Events.objects.tracks(ann)) == []
    assert AggregateEvent is Events


@pytest.mark.parametrize("scope", ["tracks", "references", "target", "across"])
def test_empty_scopes_find_no_events(post: Any, scope: str) -> None:
    post.Post.objects.create(title="a")
    assert not getattr(Events.objects, scope)().exists()
    if scope != "across":
        assert not getattr(Events.objects, scope)([]).exists()
        assert not getattr(Events.objects, scope)(post.Post.objects.none()).exists()


def test_query_set_methods_work(post: Any) -> None:
    for title in "abc":
        post.Post.objects.create(title=title)
    events = Events.objects.filter(pgh_data__title__gt="a")
    assert events.count() == 2
    assert events.exists()
    assert events.aggregate(Max("pgh_id"))["pgh_id__max"] == post.Event.objects.order_by("pgh_id").last().pgh_id
    assert list(events.order_by("-pgh_id").values_list("pgh_data__title", flat=True)) == ["c", "b"]
    assert [event.pgh_data["title"] for event in events.order_by("pgh_id")[1:2]] == ["c"]
    assert events.filter(pgh_obj_id__in=Events.objects.filter(pgh_data__title="b").values("pgh_obj_id")).count() == 1
    assert events.union(Events.objects.filter(pgh_data__title="a")).count() == 3
    assert list(
        Events.objects.values("pgh_label").annotate(n=models.Count("pgh_slug")).values_list("pgh_label", "n")
    ) == [("insert", 3)]
    assert not Events.no_objects.exists()


def test_events_of_several_models_are_queried_together(history: History) -> None:
    def declare() -> dict[str, Any]:
        things = [
            pghistory.track(pghistory.InsertEvent())(model("Number", value=models.IntegerField())),
            pghistory.track(pghistory.InsertEvent(), context_field=pghistory.ContextJSONField())(
                model(
                    "Text",
                    key=models.CharField(max_length=99, primary_key=True),
                    value=models.TextField(db_column="v"),
                )
            ),
            pghistory.track(pghistory.InsertEvent(), obj_field=None, context_field=None)(
                model("Loose", id=models.UUIDField(primary_key=True), pghost=models.TextField(default="h"))
            ),
        ]
        return {found.__name__: found for found in things}

    found = history.declare(declare)
    key = "00000000-0000-0000-0000-000000000001"
    with pghistory.context(user=1):
        found.Number.objects.create(value=1)
        found.Text.objects.create(key="100% 'it''s' %s", value="t")
        loose = found.Loose.objects.create(id=key)
    rows = Events.objects.order_by("pgh_model").values_list("pgh_model", "pgh_obj_id", "pgh_data", "pgh_context")
    assert list(rows) == [
        ("hist.LooseEvent", key, {"id": key, "pghost": "h"}, None),
        ("hist.NumberEvent", "1", {"id": 1, "value": 1}, {"user": 1}),
        ("hist.TextEvent", "100% 'it''s' %s", {"key": "100% 'it''s' %s", "value": "t"}, {"user": 1}),
    ]
    assert Events.objects.tracks(found.Text.objects.get()).count() == 1
    # As upstream: events without an object are nobody's.
    assert Events.objects.tracks(found.Text.objects.get(), loose).count() == 1
    assert Events.objects.tracks(loose).count() == 0
    assert Events.objects.tracks(found.Text(key="100%")).count() == 0


@pytest.mark.parametrize("user", ["abc", 10**30, "99999999999999999999", {"id": 1}, [1], True, 1.5, None, ""])
def test_one_odd_context_never_breaks_a_query(post: Any, user: Any) -> None:
    with pghistory.context(user=user):
        post.Post.objects.create(title="odd")
    with pghistory.context(user=5, url="/fine/"):
        post.Post.objects.create(title="fine")
    assert list(MiddlewareEvents.objects.filter(user=5).values_list("pgh_data__title", "user", "url")) == [
        ("fine", 5, "/fine/")
    ]
    assert [event.user_id for event in MiddlewareEvents.objects.order_by("-pgh_id")][:1] == [5]
    assert MiddlewareEvents.objects.filter(user__isnull=True).count() == 1


def test_events_are_read_only() -> None:
    with pytest.raises(HistoryError, match="only read"):
        Events.objects.all().delete()
    with pytest.raises(HistoryError, match="only read"):
        Events.objects.update(pgh_label="x")


def test_across_takes_event_models_only(post: Any) -> None:
    with pytest.raises(HistoryError, match="Author was given"):
        Events.objects.across(post.Author)
    with pytest.raises(HistoryError, match="objects of models, but 5 was given"):
        Events.objects.tracks(5)


def test_a_look_up_of_one_object_reads_an_index(post: Any) -> None:
    one = post.Post.objects.create(title="a")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO hist_postevent (pgh_created_at, pgh_label, pgh_obj_id, id, title, body, changed_at) "
            "SELECT now(), 'update', n % 5000 + 10, n, '', '', now() FROM generate_series(1, 20000) AS n"
        )
        cursor.execute("ANALYZE hist_postevent")
    plan = Events.objects.tracks(one).order_by("pgh_id").explain()
    assert "pgh_hist_postevent_obj" in plan
    assert "Seq Scan on hist_postevent" not in plan


def test_counting_computes_no_diffs(post: Any) -> None:
    post.Post.objects.create(title="a")
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (VERBOSE) " + str(Events.objects.filter(pgh_id__gt=0).values("pgh_id").query))
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "jsonb_object_agg" not in plan


def plan_of(events: Any) -> str:
    return str(events.explain())


@pytest.fixture
def many(history: History) -> Any:
    """Two tracked models, one of them with 20,000 events in 2,000 contexts, which many are looked up by."""

    def declare() -> dict[str, Any]:
        post = pghistory.track(context_field=pghistory.ContextForeignKey(db_index=True))(
            model("Post", title=models.TextField(), n=models.IntegerField(null=True))
        )
        return {"Post": post, "Other": pghistory.track()(model("Other", n=models.IntegerField()))}

    found = history.declare(declare)
    history.run(
        "INSERT INTO pghistory_context (id, created_at, updated_at, metadata) "
        "SELECT md5(n::text)::uuid, now(), now(), jsonb_build_object('user', n) FROM generate_series(0, 1999) AS n",
        "INSERT INTO hist_postevent (pgh_created_at, pgh_label, pgh_obj_id, pgh_context_id, id, title, n) "
        "SELECT now() - n * interval '1 hour', 'update', n % 5000, md5((n % 2000)::text)::uuid, n % 5000, 't', n "
        "FROM generate_series(1, 20000) AS n",
        "ANALYZE hist_postevent",
        "ANALYZE hist_otherevent",
        "ANALYZE pghistory_context",
    )
    return found


def test_latest_events_of_all_models_read_the_primary_keys(many: Any) -> None:
    many.Other.objects.create(n=1)
    events = Events.objects.order_by("-pgh_id")[:50]
    assert "Index Scan Backward using hist_postevent_pkey" in plan_of(events)
    assert "Seq Scan on hist_postevent" not in plan_of(events)
    assert len(events) == 50


def test_a_slice_computes_columns_for_its_own_events_only(many: Any) -> None:
    events = Events.objects.filter(pgh_label="update").order_by("pgh_created_at")
    [first, second] = events.all()[:2]
    assert (first.pgh_data["n"], second.pgh_data["n"]) == (20000, 19999)
    assert first.pgh_context == {"user": 0}
    assert second.pgh_diff == {"n": [14999, 19999]}
    # The same as without the slice, and in every other form of selecting it.
    whole = {event.pgh_slug: event for event in events}
    for event in events.all()[:20]:
        same = whole[event.pgh_slug]
        assert (event.pgh_data, event.pgh_diff, event.pgh_context) == (
            same.pgh_data, same.pgh_diff, same.pgh_context,
        )  # fmt: skip
    assert list(events.values_list("pgh_data__n", "pgh_data")[:1]) == [(20000, first.pgh_data)]
    assert events.values_list("pgh_diff", flat=True).distinct()[:3].count() == 3
    assert events.values("pgh_context").annotate(n=models.Count("pgh_slug")).order_by()[:2].count() == 2
    plan = events.all()[:2].explain(analyze=True, timing=False)
    calls = [line for line in plan.splitlines() if "jsonb_each" in line]
    assert calls
    assert all("loops=2" in line or "never executed" in line for line in calls)


def test_an_index_on_the_time_is_used_by_the_latest_events(many: Any, history: History) -> None:
    """One of a project's own, which takes the place of the one that every event table has."""
    history.run(
        *(
            f'DROP INDEX "{index.name}"'
            for kind in (many.Post, many.Other)
            for index in kind.pgh_event_model._meta.indexes
            if index.fields == ["pgh_created_at"]
        ),
        "CREATE INDEX ON hist_postevent (pgh_created_at)",
        "CREATE INDEX ON hist_otherevent (pgh_created_at)",
    )
    plan = plan_of(Events.objects.order_by("-pgh_created_at")[:50])
    assert "Index Cond: (pgh_created_at >= " in plan
    assert "hist_postevent_pgh_created_at_idx" in plan
    assert "Seq Scan on hist_postevent" not in plan


def test_latest_events_by_time_read_the_index_of_the_times(many: Any, history: History) -> None:
    """Also where the times are in another order than the events, as those of long transactions are."""
    many.Other.objects.bulk_create([many.Other(n=n) for n in range(3)])
    history.run(
        "UPDATE hist_postevent SET pgh_created_at = now() + (pgh_id * 7919 % 20011) * interval '1 second' "
        "WHERE pgh_id > 19000"
    )
    every = sorted(
        [
            (event.pgh_created_at, event.pgh_id)
            for kind in (many.Post, many.Other)
            for event in kind.pgh_event_model.objects.all()
        ],
        reverse=True,
    )
    events = Events.objects.order_by("-pgh_created_at", "-pgh_id")
    for start, stop in ((0, 1), (0, 50), (7, 30), (0, 30000)):
        found = [(event.pgh_created_at, event.pgh_id) for event in events.all()[start:stop]]
        assert found == every[start:stop]
    assert Events.objects.latest("pgh_created_at").pgh_created_at == every[0][0]
    assert Events.objects.order_by("pgh_created_at", "pgh_id").reverse()[0].pgh_id == every[0][1]
    assert Events.objects.order_by("pgh_created_at")[0].pgh_created_at == every[-1][0]
    few = events.filter(pgh_label="insert")
    assert [event.pgh_obj_model for event in few.all()[:5]] == ["hist.Other"] * 3


def test_a_filter_on_the_time_reads_the_pages_of_that_time(many: Any, history: History) -> None:
    [(name,)] = history.run(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'hist_postevent'::regclass "
        "AND indexrelid::regclass::text ~ 'time'"
    )
    history.run(f"SELECT brin_summarize_new_values('{name}')")
    newest = many.Post.pgh_event_model.objects.latest("pgh_created_at").pgh_created_at
    events = Events.objects.filter(pgh_created_at__gt=newest - timedelta(minutes=1))
    assert f"Bitmap Index Scan on {name}" in plan_of(events)
    assert events.count() == 1


def test_a_filter_on_the_context_begins_with_the_contexts(many: Any) -> None:
    for events in (Events.objects.filter(pgh_context__user=7), MiddlewareEvents.objects.filter(user=7)):
        assert events.count() == 10
        assert re.search(r"Index Scan \w+ hist_postevent_pgh_context_id_", plan_of(events))
        assert "Seq Scan on hist_postevent" not in plan_of(events)


@pytest.mark.parametrize("id_sql", ["lpad(to_hex(n / 10), 32, '0')", "md5((n / 10)::text)"], ids=["ordered", "random"])
def test_events_of_a_context_are_found_without_reading_all(history: History, id_sql: str) -> None:
    post = history.declare(lambda: pghistory.track()(model("Post", title=models.TextField())))
    history.run(
        "INSERT INTO hist_postevent (pgh_created_at, pgh_label, pgh_obj_id, pgh_context_id, id, title) "
        f"SELECT now(), 'update', n, CASE WHEN n % 3 > 0 THEN ({id_sql})::uuid END, n, repeat('t', 100) "
        "FROM generate_series(1, 40000) AS n",
        "VACUUM ANALYZE hist_postevent",
    )
    [(searched,)] = history.run(f"SELECT {id_sql} FROM (VALUES (20000)) AS of (n)")
    events = post.pgh_event_model.objects.filter(pgh_context_id=searched)
    assert sorted(events.values_list("id", flat=True)) == [n for n in range(20000, 20010) if n % 3]
    # Of 900 pages, 8 are those of the context, and few others seem so.
    history.run("SET enable_seqscan = off")
    try:
        plan = events.explain(analyze=True, timing=False)
    finally:
        history.run("RESET enable_seqscan")
    [pages] = [line for line in plan.splitlines() if "Heap Blocks" in line]
    assert int(pages.partition("lossy=")[2]) <= 40


def test_a_filter_on_labels_and_times_reaches_each_table(many: Any) -> None:
    plan = plan_of(Events.objects.filter(pgh_label="insert", pgh_id__lt=5))
    assert "hist_postevent_pkey" in plan
    assert plan.count("pgh_label") == 2


def test_proxy_fields_leave_other_fields_alone(history: History) -> None:
    """A proxied field called like a part of other names, and keys inside keys."""

    class Meta:
        proxy = True
        app_label = "hist"

    def declare() -> dict[str, Any]:
        thing = pghistory.track(pghistory.InsertEvent())(model("Thing", title=models.TextField()))
        fields = {
            "id": pghistory.ProxyField("pgh_context__id", models.IntegerField(null=True)),
            "label": pghistory.ProxyField("pgh_context__request__user__name", models.TextField(null=True)),
            "roles": pghistory.ProxyField("pgh_context__request__roles", models.JSONField(null=True)),
        }
        return {
            "Thing": thing,
            "Named": type("Named", (Events,), {"__module__": "cell", "Meta": Meta, **fields}),
        }

    found = history.declare(declare)
    with pghistory.context(id=7, request={"user": {"name": "Ann"}, "roles": ["a", 1]}):
        found.Thing.objects.create(title="pgh_label of id")
    found.Thing.objects.create(title="other")
    [event] = found.Named.objects.filter(label="Ann", id=7)
    assert (event.id, event.label, event.roles, event.pgh_label) == (7, "Ann", ["a", 1], "insert")
    assert event.pgh_data["title"] == "pgh_label of id"
    assert event.pgh_context_id is not None
    values = found.Named.objects.order_by("-pgh_id").values_list("id", "label", "roles", "pgh_label", "pgh_obj_id")
    assert list(values) == [
        (None, None, None, "insert", str(found.Thing.objects.last().pk)),
        (7, "Ann", ["a", 1], "insert", event.pgh_obj_id),
    ]
    assert list(found.Named.objects.filter(label__startswith="A").order_by("label")) == [event]
    assert found.Named.objects.filter(label__isnull=True).count() == 1


def test_slices_work_within_other_queries(many: Any) -> None:
    many.Other.objects.create(n=1)
    events = Events.objects.filter(pgh_label="update").order_by("pgh_created_at")
    first = events.all()[0]
    assert events.annotate(again=models.F("pgh_diff")).values_list("again", flat=True)[0] == first.pgh_diff
    assert events.defer("pgh_diff")[0].pgh_data == first.pgh_data
    assert events.only("pgh_slug")[0].pgh_diff == first.pgh_diff
    assert events.all()[:5].aggregate(n=models.Count("pgh_data"))["n"] == 5
    inner = Events.objects.filter(pgh_obj_id=models.OuterRef("pgh_obj_id")).order_by("-pgh_id").values("pgh_data")[:1]
    found = events.annotate(latest=models.Subquery(inner)).values_list("latest", flat=True)[:1]
    assert next(iter(found))["n"] == 20000
    assert events.filter(models.Exists(inner)).first().pgh_slug == first.pgh_slug
    assert events.first().pgh_diff == first.pgh_diff
    assert events.all()[:2].union(events.all()[2:4]).count() == 4
