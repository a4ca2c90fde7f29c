from __future__ import annotations

import datetime
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.postgres.fields import ArrayField, DateTimeRangeField
from django.db import connection, models, transaction

import pgmagic
from pgmagic import pghistory
from pgmagic.errors import DeclarationError, HistoryError
from tests.history_support import History, declared_here, declaring, model  # noqa: F401

TRACKERS = [
    pghistory.InsertEvent(),
    pghistory.UpdateEvent(),
    pghistory.UpdateEvent("was", row=pghistory.Old),
    pghistory.DeleteEvent(),
    pghistory.ManualEvent("note"),
]


def tracked(history: History, **kwargs: Any) -> Any:
    """Return a model whose events are chains: two rows, each of which was changed twice."""

    def declare() -> Any:
        thing = model("Thing", n=models.IntegerField(default=0), note=models.TextField(default="", db_column="a note"))
        return pghistory.track(*TRACKERS, hash_chain=True, **kwargs)(thing)

    thing = history.declare(declare)
    thing.objects.bulk_create([thing(id=1), thing(id=2)])
    thing.objects.update(n=1)
    thing.objects.update(n=2, note="it's")
    return thing


def tamper(history: History, *statements: str) -> None:
    """Execute statements past every trigger, as a superuser can."""
    history.run("SET session_replication_role = replica", *statements, "RESET session_replication_role")


def problems(thing: Any) -> list[tuple[Any, int, str]]:
    """Return object, event and problem of each broken chain."""
    found = pgmagic.verify(thing)
    return [(row.pgh_obj_id, row.pgh_id, row.problem) for row in found.itertuples()]


def test_an_untouched_chain_is_intact(history: History) -> None:
    thing = tracked(history)
    pghistory.create_event(thing.objects.get(id=1), label="note")
    with pghistory.context(user=1):
        thing.objects.filter(id=1).delete()
    history.run("TRUNCATE hist_thing")
    found = pgmagic.verify(thing)
    assert found.empty
    assert dict(found.dtypes.astype(str)) == dict(found.columns_contract)
    assert found.notes == ["13 events are sealed."]
    hashes = history.run("SELECT pgh_hash, pgh_previous_hash FROM hist_thingevent WHERE pgh_obj_id = 1 ORDER BY pgh_id")
    assert [bytes(before) for _, before in hashes[1:]] == [bytes(own) for own, _ in hashes[:-1]]
    assert all(len(own) == 32 for own, _ in hashes)


TAMPERED: dict[str, tuple[str, int, str]] = {
    "content": ("UPDATE hist_thingevent SET n = 9 WHERE pgh_id = 4", 4, "the event is not as it was recorded"),
    "label": ("UPDATE hist_thingevent SET pgh_label = 'x' WHERE pgh_id = 4", 4, "the event is not as it was recorded"),
    "time": (
        "UPDATE hist_thingevent SET pgh_created_at = pgh_created_at + interval '1 microsecond' WHERE pgh_id = 4",
        4, "the event is not as it was recorded",
    ),
    "gone": ("DELETE FROM hist_thingevent WHERE pgh_id = 4", 6, "the event before it is gone"),
    "first gone": ("DELETE FROM hist_thingevent WHERE pgh_id = 2", 4, "the events before it are gone"),
    "no hash": ("UPDATE hist_thingevent SET pgh_hash = NULL WHERE pgh_id = 4", 4, "the event has no hash"),
    "put in": (
        "INSERT INTO hist_thingevent (pgh_id, pgh_created_at, pgh_label, pgh_obj_id, id, n, \"a note\") "
        "VALUES (99, now(), 'update', 2, 2, 5, '')", 99, "the event has no hash",
    ),
    "moved": ("UPDATE hist_thingevent SET pgh_id = 98 WHERE pgh_id = 4", 6, "the event before it is gone"),
    "covers less": (
        "UPDATE hist_thingevent SET pgh_hashed_fields = array_remove(pgh_hashed_fields, 'n') WHERE pgh_id = 4",
        4, "the event is not as it was recorded",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERED)
def test_the_first_broken_link_is_named(history: History, what: str) -> None:
    statement, event, problem = TAMPERED[what]
    thing = tracked(history)
    # Updates leave their new rows first: of object 2, the events are 2, 4, 6, 8 and 10.
    assert [key for (_, key) in history.events(thing.pgh_event_model, "pgh_obj")] == [1, 2] * 5
    tamper(history, statement)
    [(obj, broken, words)] = problems(thing)
    assert (obj, broken) == (2, event)
    assert words.startswith(problem)


SETTINGS = [
    "SET datestyle = 'SQL, DMY'", "SET intervalstyle = 'sql_standard'", "SET timezone = 'Asia/Kathmandu'",
    "SET extra_float_digits = -5", "SET bytea_output = 'escape'",
]  # fmt: skip


def test_a_hash_does_not_depend_on_the_settings_of_sessions(history: History) -> None:
    def declare() -> Any:
        return pghistory.track(hash_chain=True)(
            model(
                "Thing",
                real=models.FloatField(), span=models.DurationField(), day=models.DateField(),
                hour=models.TimeField(), at=models.DateTimeField(), raw=models.BinaryField(),
                price=models.DecimalField(max_digits=9, decimal_places=3), data=models.JSONField(),
                tags=ArrayField(models.DateField()), period=DateTimeRangeField(null=True), flag=models.BooleanField(),
            )
        )  # fmt: skip

    thing = history.declare(declare)

    def make() -> None:
        now = datetime.datetime(2026, 7, 1, 12, tzinfo=datetime.UTC)
        thing.objects.create(
            real=0.1 + 0.2, span=datetime.timedelta(days=40, seconds=3), day=now.date(), hour=now.time(), at=now,
            raw=b"\x00\xff\\", price=Decimal("1.500"), data={"b": 1.50, "a": [None]}, tags=[now.date()],
            period=(now, now + datetime.timedelta(days=1)), flag=True,
        )  # fmt: skip

    make()
    history.run(*SETTINGS)
    make()
    assert pgmagic.verify(thing).empty
    history.run("RESET ALL", f'SET search_path TO "{history.schema}"')
    assert pgmagic.verify(thing).empty
    assert history.run("SHOW datestyle")[0][0].startswith("ISO")


def test_verifying_leaves_the_settings_of_a_transaction_alone(history: History) -> None:
    thing = tracked(history)
    with transaction.atomic():
        history.run("SET LOCAL timezone = 'Asia/Kathmandu'")
        pgmagic.verify(thing)
        assert history.run("SHOW timezone") == [("Asia/Kathmandu",)]
        thing.objects.create(id=3)
    assert thing.objects.count() == 3


def test_chains_survive_fields_that_are_added_or_renamed(history: History) -> None:
    thing = tracked(history)

    def declare() -> Any:
        later = model(
            "Thing", extra=models.IntegerField(default=7), number=models.IntegerField(default=0),
            note=models.TextField(default="", db_column="a note"),
        )  # fmt: skip
        return pghistory.track(*TRACKERS, hash_chain=True)(later)

    for table in ("hist_thing", "hist_thingevent"):
        history.run(
            f"ALTER TABLE {table} RENAME COLUMN n TO number",
            f"ALTER TABLE {table} ADD COLUMN extra int NOT NULL DEFAULT 7",
        )
    with declaring():
        later = declare()
    for owner, trigger in pgtriggers(later):
        trigger.install(owner)
    later.objects.update(extra=8)
    found = pgmagic.verify(later)
    assert found.empty
    assert found.notes == ["14 events are sealed.", "The field n is called number by now."]
    tamper(history, "UPDATE hist_thingevent SET number = 9 WHERE pgh_id = 4")
    assert [broken[:2] for broken in problems(later)] == [(2, 4)]
    assert thing is not later


def pgtriggers(tracked_model: Any) -> list[Any]:
    """Return the triggers of a model and of its events."""
    from pgmagic import pgtrigger

    return [
        (owner, trigger)
        for owner, trigger in pgtrigger.registered()
        if owner in (tracked_model, tracked_model.pgh_event_model)
    ]


@pytest.mark.parametrize("append_only", [False, True])
@pytest.mark.parametrize("batch_size", [1, 10_000])
def test_pruning_leaves_an_anchor(history: History, append_only: bool, batch_size: int) -> None:
    thing = tracked(history, append_only=append_only)
    assert pghistory.prune_events(thing, keep_last=2, batch_size=batch_size).events == 6
    assert problems(thing) == []
    thing.objects.update(n=5)
    assert pghistory.prune_events(thing, keep_last=1, batch_size=batch_size).events == 6
    assert problems(thing) == []
    tamper(history, "UPDATE pgmagic_anchor SET hash = '\\x00' WHERE obj = '[\"1\"]'")
    [(obj, _, words)] = problems(thing)
    assert (obj, words) == (1, "the events before it are gone, and were not pruned")


def test_pruning_by_age_leaves_no_hole(history: History) -> None:
    thing = tracked(history)
    cutoff = datetime.datetime.now(datetime.UTC)
    tamper(history, "UPDATE hist_thingevent SET pgh_created_at = 'infinity' WHERE pgh_id = 4")
    # The events of object 2 after the young event stay with it.
    pghistory.prune_events(thing, older_than=cutoff)
    left = history.run("SELECT pgh_id FROM hist_thingevent WHERE pgh_obj_id = 2 ORDER BY 1")
    assert left == [(4,), (6,), (8,), (10,)]


@pytest.mark.slow
def test_events_by_hand_wait_for_whoever_changes_the_row(history: History) -> None:
    thing = tracked(history)
    failures: list[BaseException] = []

    def work(function: Callable[[], Any]) -> None:
        try:
            for _ in range(30):
                function()
        except BaseException as error:  # noqa: BLE001 - reported by the test
            failures.append(error)
        finally:
            connection.close()

    def change() -> None:
        with transaction.atomic():
            thing.objects.filter(id=1).update(n=models.F("n") + 1)

    def note() -> None:
        with transaction.atomic():
            pghistory.create_event(thing(id=1, n=0), label="note")
            # Of an object that is not there.
            pghistory.create_event(thing(id=77, n=0), label="note")

    workers = [threading.Thread(target=work, args=(function,)) for function in (change, note, note, change)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures
    assert problems(thing) == []
    assert thing.pgh_event_model.objects.filter(pgh_label="note").count() == 120


def test_events_from_before_the_chain_prove_nothing(history: History) -> None:
    thing = tracked(history)
    tamper(
        history,
        "UPDATE hist_thingevent SET pgh_hash = NULL, pgh_previous_hash = NULL, pgh_hashed_fields = NULL",
    )
    thing.objects.update(n=7)
    found = pgmagic.verify(thing)
    assert found.empty
    assert found.notes == ["4 events are sealed.", "10 events carry no hash: nothing proves them."]


def test_composite_keys_have_chains(history: History) -> None:
    def declare() -> Any:
        thing = model(
            "Thing", pk=models.CompositePrimaryKey("a", "b"), a=models.IntegerField(), b=models.TextField(),
            n=models.IntegerField(default=0),
        )  # fmt: skip
        return pghistory.track(*TRACKERS, obj_field=None, hash_chain=True)(thing)

    thing = history.declare(declare)
    thing.objects.bulk_create([thing(a=1, b="x"), thing(a=1, b="y")])
    thing.objects.update(n=2)
    assert problems(thing) == []
    tamper(history, "UPDATE hist_thingevent SET n = 9 WHERE pgh_id = 3")
    assert [broken[:2] for broken in problems(thing)] == [((1, "x"), 3)]
    pghistory.prune_events(thing, keep_last=1)
    assert problems(thing) == []


@pytest.mark.usefixtures("declared_here")
def test_contradictions_are_refused() -> None:
    with declaring():
        plain = pghistory.track()(model("Plain", n=models.IntegerField()))
        blind = pghistory.track(hash_chain=True, obj_field=None, fields=["n"])(model("Blind", n=models.IntegerField()))
    with pytest.raises(HistoryError, match="events in PlainEvent carry no hashes"):
        pgmagic.verify(plain)
    with pytest.raises(DeclarationError, match="BlindNEvent does not identify the object"):
        [trigger.compile(owner) for owner, trigger in pgtriggers(blind)]
    with pytest.raises(DeclarationError, match="The field 'pgh_hash' of Own has the name of a field"), declaring():
        pghistory.track(hash_chain=True)(model("Own", pgh_hash=models.IntegerField()))
    with declaring():
        pghistory.track()(model("Own", pgh_hash=models.IntegerField()))
