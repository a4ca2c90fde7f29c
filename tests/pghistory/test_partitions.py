from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import models
from django.utils import timezone

import pgmagic
from pgmagic import pghistory
from pgmagic.compile.partitions import default_name, following, month_name
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


def parts(history: History) -> dict[str, int]:
    """Return how many events lie in each partition."""
    return dict(history.run("SELECT tableoid::regclass::text, count(*) FROM hist_thingevent GROUP BY 1"))


@pytest.mark.parametrize("kwargs", [{}, {"append_only": True}, {"hash_chain": True}], ids=repr)
def test_events_lie_in_their_month(history: History, kwargs: Any) -> None:
    thing = tracked(history, **kwargs)
    event = thing.pgh_event_model
    thing.objects.bulk_create([thing(n=1), thing(n=2)])
    assert parts(history) == {"hist_thingevent_default": 2}
    now = timezone.now().astimezone(UTC)
    made = pghistory.create_partitions(thing)
    assert made[0] == f"hist_thingevent_{now:%Y_%m}"
    assert len(made) == 4
    assert pghistory.create_partitions(event) == []
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
    pghistory.create_partitions(thing, months=0)
    thing.objects.create()
    history.run("UPDATE hist_thingevent SET pgh_created_at = '2001-02-03 12:00+00'")
    assert parts(history) == {"hist_thingevent_default": 1}
    assert "hist_thingevent_2001_02" in pghistory.create_partitions(
        thing, since=datetime(2001, 2, 28, 23, tzinfo=UTC) - timedelta(days=1), months=0
    )
    assert parts(history) == {"hist_thingevent_2001_02": 1}


def test_events_by_hand_backfills_and_reverts_work(history: History) -> None:
    thing = tracked(history)
    pghistory.create_partitions(thing)
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
    shell.run("Thing.objects.bulk_create([Thing(n=1), Thing(n=2)]); pghistory.create_partitions(Thing)")
    shell.run("Thing.objects.all().delete()")
    # A new field reaches every partition.
    shell.run(CELL + "    extra = models.IntegerField(null=True)\n")
    shell.run("Thing.objects.create(n=3, extra=4)")
    assert shell.run("import pgmagic; pgmagic.verify(Thing)").empty
    assert list(shell.run("pgmagic.history(Thing)")["n"]) == [1, 2, 1, 2, 3]
