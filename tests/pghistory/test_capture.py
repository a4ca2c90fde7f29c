"""Which events a statement records, where joining the rows before and after by their key would be wrong."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.contrib.postgres.fields import ArrayField
from django.db import connection, models, transaction

import pgmagic
from pgmagic import pghistory, pgtrigger
from tests.history_support import History, declaring, model

LEVELS = [pghistory.Statement, pghistory.Row]
EVERYTHING = [pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent()]


def tracked(history: History, *trackers: Any, **kwargs: Any) -> Any:
    """Return a model `Thing` with a number and a note, tracked, and its event model."""

    def declare() -> dict[str, Any]:
        thing = model("Thing", n=models.IntegerField(default=0), note=models.TextField(default=""))
        found = pghistory.track(*(trackers or EVERYTHING), **kwargs)(thing)
        return {"Thing": found, "Event": found.pgh_event_model}

    return history.declare(declare)


@pytest.mark.parametrize("level", LEVELS)
def test_rows_that_swap_their_keys_are_recorded_with_their_new_keys(history: History, level: Any) -> None:
    found = tracked(history, pghistory.UpdateEvent(), pghistory.UpdateEvent("was", row=pghistory.Old), level=level)
    history.run(
        "ALTER TABLE hist_thing DROP CONSTRAINT hist_thing_pkey, ADD PRIMARY KEY (id) DEFERRABLE INITIALLY IMMEDIATE",
        "INSERT INTO hist_thing (id, n, note) VALUES (1, 10, 'a'), (2, 20, 'b')",
        "UPDATE hist_thing SET id = 3 - id, note = upper(note)",
    )
    assert sorted(history.events(found.Event, "pgh_obj", "n", "note")) == [
        ("update", 1, 20, "B"), ("update", 2, 10, "A"), ("was", 1, 10, "a"), ("was", 2, 20, "b"),
    ]  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
def test_a_change_of_keys_alone_is_a_change(history: History, level: Any) -> None:
    found = tracked(history, pghistory.UpdateEvent(), level=level)
    history.run(
        "INSERT INTO hist_thing (id, n, note) SELECT i, i, '' FROM generate_series(1, 40) AS i",
        "UPDATE hist_thing SET id = id + 1000",
    )
    assert history.events(found.Event, "pgh_obj", "n") == [("update", i + 1000, i) for i in range(1, 41)]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "key",
    ["", ", ADD PRIMARY KEY (id) DEFERRABLE INITIALLY DEFERRED"],
    ids=["no key", "a key that is checked at COMMIT"],
)
def test_rows_with_the_same_key_are_recorded_separately(history: History, level: Any, key: str) -> None:
    """Both sides of the update list the same keys in the same order, but the keys do not identify the rows."""
    found = tracked(history, pghistory.UpdateEvent(), level=level)
    history.run(f"ALTER TABLE hist_thing DROP CONSTRAINT hist_thing_pkey{key}")
    with transaction.atomic():
        history.run(
            "INSERT INTO hist_thing (id, n, note) VALUES (1, 1, 'a'), (1, 2, 'b'), (2, 3, 'c')",
            "UPDATE hist_thing SET note = upper(note)",
        )
        events = history.events(found.Event, "pgh_obj", "n", "note")
        history.run("DELETE FROM hist_thing WHERE n = 2")
    assert sorted(events) == [("update", 1, 1, "A"), ("update", 1, 2, "B"), ("update", 2, 3, "C")]


@pytest.mark.parametrize("level", LEVELS)
def test_unchanged_rows_of_a_bulk_update_leave_no_event(history: History, level: Any) -> None:
    found = tracked(history, pghistory.UpdateEvent(), level=level)
    history.run(
        "INSERT INTO hist_thing (id, n, note) SELECT i, i, 'a' FROM generate_series(1, 40) AS i",
        "UPDATE hist_thing SET note = CASE WHEN n % 2 = 0 THEN 'b' ELSE note END",
    )
    assert sorted(history.events(found.Event, "pgh_obj", "note")) == [("update", i, "b") for i in range(2, 41, 2)]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("rows", [1, 2, 100])
def test_a_row_that_two_cascades_change_has_two_events(history: History, level: Any, rows: int) -> None:
    def declare() -> Any:
        person = model("Person", name=models.TextField())
        thing = model(
            "Thing",
            author=models.ForeignKey(person, models.DO_NOTHING, null=True, related_name="+"),
            editor=models.ForeignKey(person, models.DO_NOTHING, null=True, related_name="+"),
        )
        return pghistory.track(pghistory.UpdateEvent(), level=level)(thing)

    found = history.declare(declare)
    for column in ("author_id", "editor_id"):
        [(name,)] = history.run(
            f"SELECT conname FROM pg_constraint WHERE conrelid = 'hist_thing'::regclass "
            f"AND conkey = (SELECT array_agg(attnum) FROM pg_attribute WHERE attrelid = 'hist_thing'::regclass "
            f"AND attname = '{column}')"
        )
        history.run(
            f'ALTER TABLE hist_thing DROP CONSTRAINT "{name}", '
            f"ADD FOREIGN KEY ({column}) REFERENCES hist_person ON DELETE SET NULL"
        )
    history.run(
        "INSERT INTO hist_person (id, name) VALUES (1, 'a')",
        f"INSERT INTO hist_thing (id, author_id, editor_id) SELECT i, 1, 1 FROM generate_series(1, {rows}) AS i",
        "DELETE FROM hist_person",
    )
    events = history.events(found.pgh_event_model, "pgh_obj", "author_id", "editor_id")
    for thing in range(1, rows + 1):
        states = [(author, editor) for _, key, author, editor in events if key == thing]
        assert states in ([(None, 1), (None, None)], [(1, None), (None, None)])


@pytest.mark.slow
def test_large_update_after_a_small_one_is_not_quadratic(history: History) -> None:
    found = tracked(history, pghistory.UpdateEvent())
    # After DDL of other sessions Postgres may plan again, for many rows; on Postgres 15 that plan sorts by key.
    history.run("SET enable_mergejoin = off")
    history.run("INSERT INTO hist_thing (id, n, note) SELECT i, i, '' FROM generate_series(1, 30000) AS i")
    # PL/pgSQL keeps the plan of the first execution, which knows of two rows.
    history.run("UPDATE hist_thing SET n = n + 1 WHERE id <= 2")
    start = time.perf_counter()
    history.run("UPDATE hist_thing SET n = n + 1")
    assert time.perf_counter() - start < 10
    assert found.Event.objects.count() == 30002
    # And in the order in which the rows were changed.
    keys = [key for _, key in history.events(found.Event, "pgh_obj")]
    assert keys[2:] == [key for (key,) in history.run("SELECT id FROM hist_thing ORDER BY ctid")]
    history.run("RESET enable_mergejoin")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "tracker",
    [
        pghistory.DeleteEvent("gone"),
        pghistory.BeforeDelete("gone"),
        pghistory.BeforeUpdateOrDelete("gone"),
        pghistory.DeleteEvent("gone", condition=pghistory.Q(old__n__gt=0)),
        pghistory.DeleteEvent("gone", condition=pghistory.Condition("OLD.n > 0 OR OLD.n < -5")),
    ],
)
def test_truncate_records_a_delete_event_for_each_row(history: History, level: Any, tracker: Any) -> None:
    found = tracked(history, tracker, level=level)
    with pghistory.context(user=5) as opened:
        found.Thing.objects.bulk_create([found.Thing(n=1), found.Thing(n=2)])
        history.run("TRUNCATE hist_thing")
    assert history.events(found.Event, "n", "pgh_context") == [("gone", 1, opened.id), ("gone", 2, opened.id)]
    with transaction.atomic():
        found.Thing.objects.create(n=3)
        savepoint = transaction.savepoint()
        history.run("TRUNCATE hist_thing")
        transaction.savepoint_rollback(savepoint)
    assert found.Event.objects.count() == 2
    assert found.Thing.objects.get().n == 3


def test_truncate_is_not_recorded_where_deletes_are_not(history: History) -> None:
    found = tracked(history, pghistory.InsertEvent(), pghistory.UpdateEvent())
    found.Thing.objects.create()
    history.run("TRUNCATE hist_thing")
    assert history.events(found.Event) == [("insert",)]


@pytest.mark.parametrize("level", LEVELS)
def test_upserts_and_merges_are_recorded_by_their_effect_on_each_row(history: History, level: Any) -> None:
    found = tracked(history, level=level)
    history.run(
        "INSERT INTO hist_thing (id, n, note) VALUES (1, 1, ''), (2, 2, ''), (3, 3, '')",
        "INSERT INTO hist_thing (id, n, note) VALUES (2, 20, ''), (3, 3, ''), (4, 40, '') "
        "ON CONFLICT (id) DO UPDATE SET n = excluded.n",
    )
    events = history.events(found.Event, "pgh_obj", "n")
    assert events[:3] == [("insert", 1, 1), ("insert", 2, 2), ("insert", 3, 3)]
    # A row that keeps its values is no event.
    assert sorted(events[3:]) == [("insert", 4, 40), ("update", 2, 20)]
    history.run(
        "MERGE INTO hist_thing AS t USING (VALUES (1, 100), (2, 0), (9, 900)) AS s(id, n) ON t.id = s.id "
        "WHEN MATCHED AND s.n = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET n = s.n "
        "WHEN NOT MATCHED THEN INSERT (id, n, note) VALUES (s.id, s.n, '')"
    )
    assert sorted(history.events(found.Event, "pgh_obj", "n")[5:]) == [
        ("delete", 2, 20), ("insert", 9, 900), ("update", 1, 100),
    ]  # fmt: skip


def test_several_statements_in_one_count_each_row_once(history: History) -> None:
    found = tracked(history)
    history.run(
        "WITH made AS (INSERT INTO hist_thing (n, note) VALUES (1, ''), (2, '') RETURNING id), "
        "more AS (INSERT INTO hist_thing (n, note) VALUES (3, '') RETURNING id) SELECT * FROM made, more",
        "WITH a AS (UPDATE hist_thing SET n = 10 WHERE n = 1), b AS (UPDATE hist_thing SET n = 20 WHERE n = 2) "
        "DELETE FROM hist_thing WHERE n = 3",
    )
    assert sorted(history.events(found.Event, "n")) == [
        ("delete", 3), ("insert", 1), ("insert", 2), ("insert", 3), ("update", 10), ("update", 20),
    ]  # fmt: skip


def test_a_trigger_that_writes_to_its_own_table_does_not_disturb_the_statement_around_it(
    history: History,
) -> None:
    found = tracked(history)
    history.run(
        "CREATE FUNCTION echo() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "UPDATE hist_thing SET n = n + 100 WHERE id = NEW.id; RETURN NULL; END $$",
        "CREATE TRIGGER echo AFTER UPDATE ON hist_thing FOR EACH ROW WHEN (NEW.n < 100) EXECUTE FUNCTION echo()",
        "INSERT INTO hist_thing (id, n, note) VALUES (1, 0, ''), (2, 0, '')",
        "UPDATE hist_thing SET n = id",
    )
    assert sorted(history.events(found.Event, "pgh_obj", "n")) == [
        ("insert", 1, 0), ("insert", 2, 0),
        ("update", 1, 1), ("update", 1, 101), ("update", 2, 2), ("update", 2, 102),
    ]  # fmt: skip


def test_context_is_attached_once_for_a_statement_and_not_without_an_event(history: History) -> None:
    found = tracked(history, pghistory.UpdateEvent())
    found.Thing.objects.bulk_create([found.Thing(n=n) for n in range(50)])
    with pghistory.context(user=1) as opened, transaction.atomic():
        found.Thing.objects.update(n=models.F("n"))
        assert history.run("SELECT count(*) FROM pghistory_context") == [(0,)]
        savepoint = transaction.savepoint()
        found.Thing.objects.update(n=models.F("n") + 1)
        transaction.savepoint_rollback(savepoint)
        found.Thing.objects.update(n=models.F("n") + 1)
    assert set(history.events(found.Event, "pgh_context")) == {("update", opened.id)}
    assert history.run("SELECT count(*) FROM pghistory_context") == [(1,)]


def test_conditions_in_sql_hold_at_either_level(history: History) -> None:
    condition = pghistory.Condition("NEW.n > OLD.n AND NEW.note <> 'OLD.n' -- only growth")
    found = tracked(
        history,
        pghistory.UpdateEvent("by_row", condition=condition),
        pghistory.UpdateEvent("by_statement", condition=condition, level=pghistory.Statement),
    )
    found.Thing.objects.bulk_create([found.Thing(n=n) for n in range(4)])
    found.Thing.objects.update(n=3 - models.F("n"))
    found.Thing.objects.filter(n=3).update(n=4)
    found.Thing.objects.filter(n=4).update(note="OLD.n")
    for label in ("by_row", "by_statement"):
        assert [n for name, n in history.events(found.Event, "n") if name == label] == [3, 2, 4]


def test_generated_columns_are_recorded_as_they_are(history: History) -> None:
    def declare() -> Any:
        double = models.GeneratedField(
            expression=models.F("n") * 2, output_field=models.IntegerField(), db_persist=True
        )
        return pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent())(
            model("Thing", n=models.IntegerField(), double=double)
        )

    thing = history.declare(declare)
    thing.objects.bulk_create([thing(n=1), thing(n=2)])
    thing.objects.update(n=models.F("n") + 10)
    assert history.events(thing.pgh_event_model, "n", "double") == [
        ("insert", 1, 2), ("insert", 2, 4), ("update", 11, 22), ("update", 12, 24),
    ]  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
def test_columns_that_are_computed_when_read_are_recorded(history: History, level: Any) -> None:
    if connection.pg_version < 180000:  # type: ignore[attr-defined]
        pytest.skip("Postgres has virtual columns since 18")

    def declare() -> Any:
        double = models.GeneratedField(
            expression=models.F("n") * 2, output_field=models.IntegerField(), db_persist=False
        )
        return pghistory.track(
            pghistory.InsertEvent(),
            pghistory.UpdateEvent(),
            pghistory.DeleteEvent(),
            fields=["double"],
            level=level,
        )(model("Thing", n=models.IntegerField(), note=models.TextField(default=""), double=double))

    thing = history.declare(declare)
    thing.objects.bulk_create([thing(n=1), thing(n=2)])
    thing.objects.update(note="not tracked")
    thing.objects.update(n=models.F("n") + 10)
    history.run("DELETE FROM hist_thing WHERE n = 11", "TRUNCATE hist_thing")
    assert history.events(thing.pgh_event_model, "double") == [
        ("insert", 2), ("insert", 4), ("update", 22), ("update", 24), ("delete", 22), ("delete", 24),
    ]  # fmt: skip


def test_composite_keys_are_recorded(history: History) -> None:
    def declare() -> Any:
        thing = model(
            "Thing", pk=models.CompositePrimaryKey("a", "b"), a=models.IntegerField(), b=models.TextField(),
            n=models.IntegerField(default=0),
        )  # fmt: skip
        return pghistory.track(*EVERYTHING, obj_field=None)(thing)

    thing = history.declare(declare)
    thing.objects.bulk_create([thing(a=1, b="x"), thing(a=1, b="y")])
    history.run("UPDATE hist_thing SET a = 2, n = 5", "UPDATE hist_thing SET n = 5", "TRUNCATE hist_thing")
    assert history.events(thing.pgh_event_model, "a", "b", "n") == [
        ("insert", 1, "x", 0), ("insert", 1, "y", 0), ("update", 2, "x", 5), ("update", 2, "y", 5),
        ("delete", 2, "x", 5), ("delete", 2, "y", 5),
    ]  # fmt: skip


def test_many_to_many_relations_are_tracked_on_their_through_table(history: History) -> None:
    def declare() -> dict[str, Any]:
        tag = model("Tag", name=models.TextField())
        post = model("Post", tags=models.ManyToManyField(tag))
        pghistory.track(pghistory.InsertEvent("add"), pghistory.DeleteEvent("remove"))(post.tags.through)
        return {"Tag": tag, "Post": post}

    found = history.declare(declare)
    through = found.Post.tags.through
    post = found.Post.objects.create()
    red, blue = found.Tag.objects.bulk_create([found.Tag(name="red"), found.Tag(name="blue")])
    post.tags.add(red, blue)
    post.tags.remove(red)
    post.tags.set([red])
    post.tags.clear()
    events = history.events(through.pgh_event_model, "post", "tag")
    assert [event for event in events if event[0] == "add"] == [
        ("add", post.pk, red.pk), ("add", post.pk, blue.pk), ("add", post.pk, red.pk),
    ]  # fmt: skip
    assert sorted(event for event in events if event[0] == "remove") == [
        ("remove", post.pk, red.pk), ("remove", post.pk, red.pk), ("remove", post.pk, blue.pk),
    ]  # fmt: skip


def test_many_to_many_relations_are_tracked_through_a_proxy(history: History) -> None:
    def declare() -> Any:
        tag = model("Tag", name=models.TextField())
        post = model("Post", tags=models.ManyToManyField(tag))
        proxy = model("PostTag", bases=(post.tags.through,), meta={"proxy": True})
        pghistory.track(pghistory.InsertEvent("add"), pghistory.DeleteEvent("remove"), obj_field=None)(proxy)
        return {"Tag": tag, "Post": post, "PostTag": proxy}

    found = history.declare(declare)
    post, red = found.Post.objects.create(), found.Tag.objects.create(name="red")
    post.tags.add(red)
    post.tags.remove(red)
    assert history.events(found.PostTag.pgh_event_model, "post", "tag") == [
        ("add", post.pk, red.pk), ("remove", post.pk, red.pk),
    ]  # fmt: skip


def test_tables_of_multi_table_inheritance_have_events_of_their_own(history: History) -> None:
    def declare() -> dict[str, Any]:
        place = pghistory.track(*EVERYTHING)(model("Place", name=models.TextField()))
        cafe = pghistory.track(*EVERYTHING)(model("Cafe", bases=(place,), stars=models.IntegerField()))
        return {
            "Place": place,
            "Cafe": cafe,
            "P": place.pgh_event_models["insert"],
            "C": cafe.pgh_event_models["insert"],
        }

    found = history.declare(declare)
    cafe = found.Cafe.objects.create(name="a", stars=1)
    found.Cafe.objects.update(stars=2)
    found.Cafe.objects.update(name="b")
    cafe.delete()
    assert history.events(found.P, "name") == [("insert", "a"), ("update", "b"), ("delete", "b")]
    assert history.events(found.C, "stars") == [("insert", 1), ("update", 2), ("delete", 2)]


def test_types_without_a_common_equality_are_compared(history: History) -> None:
    def declare() -> Any:
        return pghistory.track(pghistory.UpdateEvent())(
            model("Thing", data=models.JSONField(null=True), tags=ArrayField(models.TextField(), null=True))
        )

    thing = history.declare(declare)
    thing.objects.bulk_create([thing(data={"a": 1}, tags=["x"]), thing()])
    thing.objects.update(data={"a": 1}, tags=["x"])
    assert history.events(thing.pgh_event_model, "data", "tags") == [("update", {"a": 1}, ["x"])]


def install(declared: list[Any], history: History) -> None:
    """Install the triggers of models by a plan, which looks at the tables as they are."""
    events = [found for found in declared if hasattr(found, "pgh_tracked_model")]
    history.install(events)
    install_triggers()


def install_triggers() -> None:
    """Install every trigger of these tests, or install it again."""
    for owner, trigger in pgtrigger.registered():
        if owner._meta.app_label == "hist":
            trigger.install(owner)


def external(history: History, *trackers: Any) -> Any:
    """Track a table that is there already."""
    with declaring() as declared:
        thing = model(
            "Thing",
            n=models.IntegerField(),
            note=models.TextField(),
            meta={"managed": False, "db_table": "hist_thing"},
        )
        pghistory.track(*(trackers or EVERYTHING))(thing)
    install(declared, history)
    return thing


def test_partitioned_tables_record_writes_to_their_partitions(history: History) -> None:
    history.run(
        "CREATE TABLE hist_thing (id bigint GENERATED BY DEFAULT AS IDENTITY, n int, note text, PRIMARY KEY (id, n)) "
        "PARTITION BY RANGE (n)",
        "CREATE TABLE hist_thing_low PARTITION OF hist_thing FOR VALUES FROM (0) TO (100)",
        "CREATE TABLE hist_thing_high PARTITION OF hist_thing FOR VALUES FROM (100) TO (1000)",
    )
    thing = external(history)
    history.run(
        "INSERT INTO hist_thing (id, n, note) VALUES (1, 1, ''), (2, 200, '')",
        "INSERT INTO hist_thing_low (id, n, note) VALUES (3, 3, '')",
        "UPDATE hist_thing SET note = 'x'",
        "UPDATE hist_thing_high SET note = 'y'",
        "DELETE FROM hist_thing_low WHERE id = 3",
    )
    event = thing.pgh_event_model
    assert sorted(history.events(event, "pgh_obj", "note")) == [
        ("delete", 3, "x"), ("insert", 1, ""), ("insert", 2, ""), ("insert", 3, ""),
        ("update", 1, "x"), ("update", 2, "x"), ("update", 2, "y"), ("update", 3, "x"),
    ]  # fmt: skip
    assert set(pgtrigger_states()) == {"INSTALLED"}
    history.run("TRUNCATE hist_thing")
    assert sorted(history.events(event, "pgh_obj")[-2:]) == [("delete", 1), ("delete", 2)]


PARTITIONED = (
    "CREATE TABLE hist_thing (id bigint GENERATED BY DEFAULT AS IDENTITY, n int, note text, PRIMARY KEY (id, n)) "
    "PARTITION BY RANGE (n)",
    "CREATE TABLE hist_thing_low PARTITION OF hist_thing FOR VALUES FROM (0) TO (100)",
    "CREATE TABLE hist_thing_high PARTITION OF hist_thing FOR VALUES FROM (100) TO (1000)",
)


def test_a_row_that_moves_to_another_partition_is_a_delete_and_an_insert(history: History) -> None:
    """The row triggers that Postgres fires do not show that a row moved.

    Postgres fires the DELETE triggers of one partition and the INSERT triggers of the other, and nothing else. Only a
    statement trigger of the table itself sees which of these belong to an UPDATE, and it does not see statements
    straight on a partition, which may be parts of the same query.
    """
    history.run(*PARTITIONED)
    thing = external(history)
    event = thing.pgh_event_model
    history.run(
        "INSERT INTO hist_thing (id, n, note) VALUES (1, 1, 'a'), (2, 200, 'b')",
        "UPDATE hist_thing SET n = n + 100 WHERE id = 1",
    )
    assert history.events(event, "pgh_obj", "n")[2:] == [("delete", 1, 1), ("insert", 1, 101)]
    # Taken for an UPDATE, these two would look just like it.
    history.run(
        "WITH gone AS (DELETE FROM hist_thing_high WHERE id = 2 RETURNING *) "
        "INSERT INTO hist_thing_low SELECT id, 2, note FROM gone"
    )
    assert history.events(event, "pgh_obj", "n")[4:] == [("delete", 2, 200), ("insert", 2, 2)]
    # It is the same object: the row before and the row after are events, one after the other.
    frame = pgmagic.history(event)
    assert list(frame[frame["pgh_obj_id"] == 1]["n"]) == [1, 1, 101]


@pytest.mark.parametrize("trackers", [EVERYTHING, (pghistory.InsertEvent(), pghistory.UpdateEvent())])
def test_undo_of_a_row_that_moved(history: History, trackers: Any) -> None:
    history.run(*PARTITIONED)
    thing = external(history, *trackers)
    history.run("INSERT INTO hist_thing (id, n, note) VALUES (1, 1, 'a')")
    with pghistory.context(job="x") as opened:
        thing.objects.update(n=101)
    frame = pgmagic.undo_plan(opened)
    if trackers is EVERYTHING:
        frame.apply()
        assert list(thing.objects.values_list("n", flat=True)) == [1]
    else:
        assert list(frame["conflict"]) == [
            "it existed before, and no event shows whether it was deleted since or moved to another partition: a "
            "DeleteEvent does"
        ]


def pgtrigger_states() -> list[str]:
    """Return the installation state of every registered trigger of these tests."""
    return [
        trigger.get_installation_status(owner)[0]
        for owner, trigger in pgtrigger.registered()
        if owner._meta.app_label == "hist"
    ]


def test_inherited_tables_record_their_own_rows(history: History) -> None:
    history.run(
        "CREATE TABLE hist_thing (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, n int, note text)",
        "CREATE TABLE child () INHERITS (hist_thing)",
    )
    thing = external(history)
    history.run(
        "INSERT INTO hist_thing (id, n, note) VALUES (1, 1, '')",
        "INSERT INTO child (id, n, note) VALUES (1, 1, '')",
        "UPDATE hist_thing SET note = 'x'",
        "TRUNCATE hist_thing",
    )
    # A trigger for each row belongs to its own table, whichever table a statement names.
    assert history.events(thing.pgh_event_model, "pgh_obj", "note") == [
        ("insert", 1, ""), ("update", 1, "x"), ("delete", 1, "x"),
    ]  # fmt: skip


def test_plain_tables_keep_statements(history: History) -> None:
    history.run("CREATE TABLE hist_thing (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, n int, note text)")
    external(history)
    assert history.run("SELECT DISTINCT tgtype & 1 FROM pg_trigger WHERE tgrelid = 'hist_thing'::regclass") == [(0,)]
    history.run("CREATE TABLE child () INHERITS (hist_thing)")
    assert set(pgtrigger_states()) == {"OUTDATED"}
    install_triggers()
    assert set(pgtrigger_states()) == {"INSTALLED"}
    assert history.run(
        "SELECT DISTINCT tgtype & 1 FROM pg_trigger WHERE tgrelid = 'hist_thing'::regclass AND tgtype & 32 = 0"
    ) == [(1,)]


CELL = """%%pgtrigger
class Tag(models.Model):
    name = models.TextField()

class Post(models.Model):
    tags = models.ManyToManyField(Tag)

pghistory.track(pghistory.InsertEvent("add"), pghistory.DeleteEvent("remove"))(Post.tags.through)
"""


def test_a_cell_tracks_many_to_many_relations(shell: Any) -> None:
    shell.run(CELL)
    assert set(shell.run(CELL)["action"]) == {"unchanged"}
    shell.run("post, tag = Post.objects.create(), Tag.objects.create(name='a'); post.tags.add(tag); post.tags.clear()")
    assert shell.run("list(Post.tags.through.pgh_event_model.objects.values_list('pgh_label', 'tag'))") == [
        ("add", 1), ("remove", 1),
    ]  # fmt: skip


EVOLVING = """%%pgtrigger
@pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent())
class Thing(models.Model):
    {field}
"""


def test_a_cell_renames_and_drops_fields_of_a_history(shell: Any) -> None:
    shell.run(EVOLVING.format(field="n = models.IntegerField(default=0)"))
    shell.run("Thing.objects.create(n=1)")
    shell.run(
        EVOLVING.format(field="number = models.IntegerField(default=0)").replace(
            "%%pgtrigger", "%%pgtrigger --rename Thing.n=number"
        )
    )
    shell.run("Thing.objects.update(number=2)")
    assert shell.run("list(ThingEvent.objects.order_by('pgh_id').values_list('pgh_label', 'number'))") == [
        ("insert", 1), ("update", 2),
    ]  # fmt: skip
    shell.run(
        EVOLVING.format(field="other = models.TextField(default='x')").replace(
            "%%pgtrigger", "%%pgtrigger --allow-data-loss"
        )
    )
    shell.run("Thing.objects.update(other='y'); Thing.objects.all().delete()")
    assert shell.run("list(ThingEvent.objects.order_by('pgh_id').values_list('pgh_label', 'other'))")[2:] == [
        ("update", "y"), ("delete", "y"),
    ]  # fmt: skip
