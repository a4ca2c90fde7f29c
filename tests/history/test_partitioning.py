from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import models
from IPython.core.error import UsageError

import pgmagic
from pgmagic import pghistory
from pgmagic.compile.partitions import default_name, following, month_name, months_from
from pgmagic.errors import DeclarationError, HistoryError
from pgmagic.pghistory.models import Events
from tests.history_support import History, declared_here, declaring, model  # noqa: F401


def tracked(history: History, **kwargs: Any) -> Any:
    """Return a model whose events are partitioned."""

    def declare() -> Any:
        thing = model("Thing", n=models.IntegerField(default=0), note=models.TextField(default=""))
        return pghistory.track(
            pghistory.InsertEvent(),
            pghistory.UpdateEvent(),
            pghistory.DeleteEvent(),
            partition_by="month",
            **kwargs,
        )(thing)

    return history.declare(declare)


def partitions(history: History) -> list[str]:
    """Return the names of the partitions."""
    return [
        name
        for (name,) in history.run(
            "SELECT relid::regclass::text FROM pg_partition_tree('hist_thingevent') WHERE level = 1 ORDER BY 1"
        )
    ]


def parts(history: History) -> dict[str, int]:
    """Return how many events lie in each partition."""
    return dict(history.run("SELECT tableoid::regclass::text, count(*) FROM hist_thingevent GROUP BY 1"))


@pytest.mark.parametrize("kwargs", [{}, {"append_only": True}, {"hash_chain": True}], ids=repr)
def test_events_lie_in_their_month(history: History, kwargs: Any) -> None:
    thing = tracked(history, **kwargs)
    event = thing.pgh_event_model
    made = [f"hist_thingevent_{month:%Y_%m}" for month in months_from(datetime.now(UTC))]
    assert partitions(history) == [*made, "hist_thingevent_default"]
    assert pghistory.create_partitions(event) == []
    # As if nobody had made the next months in time.
    history.run(*(f"DROP TABLE {name}" for name in made))
    thing.objects.bulk_create([thing(n=1), thing(n=2)])
    assert parts(history) == {"hist_thingevent_default": 2}
    assert pghistory.create_partitions(thing) == made
    assert parts(history) == {made[0]: 2}
    thing.objects.update(n=5)
    thing.objects.all().delete()
    assert parts(history) == {made[0]: 6}
    # Keys count on, whichever the partition.
    assert [key for (key,) in history.run("SELECT pgh_id FROM hist_thingevent ORDER BY 1")] == [
        1,
        2,
        3,
        4,
        5,
        6,
    ]
    assert Events.objects.across(event).filter(pgh_label="update").count() == 2
    assert list(pgmagic.history(thing)["n"]) == [1, 2, 5, 5, 5, 5]
    if kwargs.get("hash_chain"):
        assert pgmagic.verify(thing).empty
    if kwargs.get("append_only"):
        with pytest.raises(Exception, match="Cannot update or delete rows"):
            event.objects.all().delete()
    assert pghistory.prune_events(thing, keep_last=1).events == 4


def test_an_event_is_taken_in_whatever_its_time(history: History) -> None:
    thing = tracked(history)
    thing.objects.create()
    history.run("UPDATE hist_thingevent SET pgh_created_at = '2001-02-03 12:00+00'")
    assert parts(history) == {"hist_thingevent_default": 1}
    assert "hist_thingevent_2001_02" in pghistory.create_partitions(
        thing, since=datetime(2001, 2, 28, 23, tzinfo=UTC) - timedelta(days=1), months=0
    )
    assert parts(history) == {"hist_thingevent_2001_02": 1}


def test_months_are_recognized_by_their_bounds(history: History) -> None:
    """Whatever their tables are called, and also those that somebody made for longer, or shorter."""
    thing = tracked(history)
    months = months_from(datetime.now(UTC), 9)
    history.run(
        *(
            f"ALTER TABLE hist_thingevent_{month:%Y_%m} RENAME TO part_{place}"
            for place, month in enumerate(months[:4])
        ),
        "ALTER TABLE hist_thingevent_default RENAME TO \"the 'rest'\"",
        f"CREATE TABLE long PARTITION OF hist_thingevent FOR VALUES FROM ('{months[4]}') TO ('{months[6]}')",
        f"CREATE TABLE rest PARTITION OF hist_thingevent FOR VALUES FROM ('{months[8]}') TO (MAXVALUE)",
        "SET timezone = 'Asia/Kolkata'",
    )
    try:
        made = [f"hist_thingevent_{month:%Y_%m}" for month in months[6:8]]
        assert pghistory.create_partitions(thing, months=9) == made
        assert pghistory.create_partitions(thing, months=9) == []
    finally:
        history.run("RESET timezone")


def test_events_by_hand_backfills_and_reverts_work(history: History) -> None:
    thing = tracked(history)
    one = thing.objects.create(n=1)
    thing.objects.update(n=2)
    assert pghistory.create_event(one, label="update").n == 1
    thing.pgh_event_model.objects.order_by("pgh_id")[0].revert()
    assert thing.objects.get().n == 1


def test_primary_key_holds_the_time(history: History) -> None:
    tracked(history)
    [(definition,)] = history.run(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'hist_thingevent'::regclass "
        "AND contype = 'p'"
    )
    assert definition == "PRIMARY KEY (pgh_id, pgh_created_at)"


@pytest.mark.usefixtures("declared_here")
def test_each_month_finds_the_events_of_a_context(history: History) -> None:
    thing = tracked(history)
    with pghistory.context(user=1):
        thing.objects.create(n=1)
    kinds = history.run(
        "SELECT c.relispartition, c.relkind, c.reloptions FROM pg_class AS c JOIN pg_am AS am ON am.oid = c.relam "
        "WHERE am.amname = 'brin' AND c.relnamespace = current_schema()::regnamespace AND EXISTS ("
        "SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'pgh_context_id')"
    )
    options = ["pages_per_range=8"]
    assert (False, "I", options) in kinds
    assert sum(found == (True, "i", options) for found in kinds) == len(partitions(history))
    assert thing.pgh_event_model.objects.filter(pgh_context__metadata__user=1).count() == 1


def test_names_fit_whatever_the_table_is_called() -> None:
    with declaring():
        thing = pghistory.track(meta={"db_table": "ü" * 31}, partition_by="month")(model("Thing"))
    names = [
        default_name(thing.pgh_event_model),
        month_name(thing.pgh_event_model, datetime(2026, 12, 1, tzinfo=UTC)),
    ]
    assert all(len(name.encode()) <= 63 for name in names)
    assert len(set(names)) == 2
    assert following(datetime(2026, 12, 1, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.usefixtures("declared_here")
def test_contradictions_are_refused() -> None:
    with (
        pytest.raises(DeclarationError, match=r"Thing are partitioned by .month. or not at all.*'day'"),
        declaring(),
    ):
        pghistory.track(partition_by="day")(model("Thing"))  # type: ignore[arg-type]
    with declaring():
        plain = pghistory.track()(model("Plain"))
    with pytest.raises(HistoryError, match="No event table of Plain is partitioned"):
        pghistory.create_partitions(plain)


def test_a_plain_table_is_refused(history: History) -> None:
    thing = tracked(history)
    history.run("DROP TABLE hist_thingevent", "CREATE TABLE hist_thingevent (pgh_id bigint)")
    with pytest.raises(HistoryError, match="The table hist_thingevent is not partitioned"):
        pghistory.create_partitions(thing)


CELL = """%%pgtrigger
@pghistory.track(pghistory.InsertEvent(), pghistory.DeleteEvent(), hash_chain=True, partition_by="month")
class Thing(models.Model):
    n = models.IntegerField()
"""


def test_a_cell_makes_the_table_and_changes_nothing_when_it_runs_again(shell: Any) -> None:
    frame = shell.run(CELL)
    assert set(frame["status"]) == {"done"}
    assert set(shell.run(CELL)["action"]) == {"unchanged"}
    shell.run("Thing.objects.bulk_create([Thing(n=1), Thing(n=2)])")
    assert shell.run("pghistory.create_partitions(Thing, months=4)") != []
    shell.run("Thing.objects.all().delete()")
    # A new field reaches every partition.
    shell.run(CELL + "    extra = models.IntegerField(null=True)\n")
    shell.run("Thing.objects.create(n=3, extra=4)")
    assert shell.run("import pgmagic; pgmagic.verify(Thing)").empty
    assert list(shell.run("pgmagic.history(Thing)")["n"]) == [1, 2, 1, 2, 3]


PLAIN = CELL.replace(', partition_by="month"', "")
# Of this test's schema alone: other processes of the suite may work in the same database.
CLASSES = "%%pgsql\nSELECT relname, relkind FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND"


def test_a_cell_that_runs_again_partitions_a_table_and_takes_it_back(shell: Any) -> None:
    shell.run(PLAIN)
    shell.run("Thing.objects.bulk_create([Thing(n=1), Thing(n=2)])")
    for source, kind in ((CELL, "p"), (PLAIN, "r")):
        frame = shell.run(source)
        changed = frame[frame["action"] != "unchanged"]
        assert set(changed["object"]) == {"notebook.ThingEvent"}
        assert set(changed["status"]) == {"done"}
        assert set(shell.run(source)["action"]) == {"unchanged"}
        assert shell.run("%pgtrigger diff").empty
        [found] = shell.run(f"{CLASSES} relname = 'notebook_thingevent'")["relkind"]
        assert found == kind
        shell.run("Thing.objects.create(n=3)")
        assert shell.run("import pgmagic; pgmagic.verify(Thing)").empty
    assert list(shell.run("pgmagic.history(Thing)")["n"]) == [1, 2, 3, 3]
    # With more that changes at once, and a new name.
    shell.run(
        "%%pgtrigger --rename Thing=Other\n"
        + CELL.partition("\n")[2].replace("Thing", "Other")
        + "    m = models.TextField(default='x')\n"
    )
    shell.run("Other.objects.create(n=4)")
    assert list(shell.run("pgmagic.history(Other)")["m"])[-2:] == ["x", "x"]
    assert shell.run("pgmagic.verify(Other)").empty
    names = shell.run(f"{CLASSES} relname ~ 'event'")["relname"]
    assert not [name for name in names if "thing" in name and not name.endswith("pkey")]


def test_a_cell_that_cannot_partition_a_table_changes_nothing(shell: Any) -> None:
    shell.run(PLAIN)
    shell.run("%%pgsql\nCREATE VIEW looking AS SELECT n FROM notebook_thingevent")
    with pytest.raises(UsageError, match="cannot be in partitions, because of the view looking: drop that first"):
        shell.run(CELL)
    assert set(shell.run(PLAIN)["action"]) == {"unchanged"}


@pytest.mark.usefixtures("declared_here")
def test_fields_that_a_partitioned_table_cannot_have_are_refused_at_declaration() -> None:
    with (
        pytest.raises(DeclarationError, match=r"ThingEvent is partitioned by month.*'slug' is unique"),
        declaring(),
    ):
        pghistory.track(partition_by="month", attrs={"slug": models.TextField(unique=True)})(model("Thing"))
