# ruff: noqa: F811
from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest
from django.db import connection, models, transaction

import pgmagic
from pgmagic import pghistory
from pgmagic.errors import HistoryError
from tests.db.live import conninfo
from tests.history_support import History, history, history_schema, model  # noqa: F401

BOTH = (pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent())


def untracked(history: History, *statements: str) -> None:
    """Write rows as they were before tracking began."""
    history.run("SET session_replication_role = replica", *statements, "SET session_replication_role = origin")


@pytest.fixture
def thing(history: History) -> Any:
    """A tracked model with three rows from before, each with an odd column name."""
    found = history.declare(
        lambda: pghistory.track(*BOTH)(
            model(
                "Thing",
                n=models.IntegerField(db_column="Größe n"),
                data=models.JSONField(null=True),
                changed_at=models.DateTimeField(auto_now=True),
            )
        )
    )
    untracked(
        history,
        'INSERT INTO hist_thing ("Größe n", data, changed_at) SELECT n, \'{"k": 1}\', now() '
        "FROM generate_series(1, 3) AS n",
    )
    return found


def labels(thing: Any) -> list[Any]:
    return list(thing.pgh_event_model.objects.order_by("pgh_id").values_list("pgh_label", "pgh_obj", "n"))


def test_every_row_gets_one_event_by_one_statement(thing: Any) -> None:
    statements: list[str] = []

    def watch(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        statements.append(str(sql))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch), pghistory.context(why="baseline"):
        assert pghistory.backfill(thing) == 3
    assert sum("INSERT INTO" in sql for sql in statements) == 1
    assert labels(thing) == [("backfill", 1, 1), ("backfill", 2, 2), ("backfill", 3, 3)]
    [contexts] = ({event.pgh_context.metadata["why"] for event in thing.pgh_event_model.objects.all()},)
    assert contexts == {"baseline"}
    event = thing.pgh_event_model.objects.get(pgh_obj=2)
    assert (event.data, event.changed_at) == ({"k": 1}, thing.objects.get(pk=2).changed_at)


def test_a_baseline_makes_the_first_change_visible_and_undoable(thing: Any) -> None:
    pghistory.backfill(thing)
    thing.objects.filter(pk=1).update(n=10)
    assert list(pgmagic.diff(thing)["before"]) == [1]
    thing.pgh_event_model.objects.get(pgh_label="backfill", pgh_obj=1).revert()
    assert thing.objects.get(pk=1).n == 1


def test_twice_is_an_error_that_writes_nothing(thing: Any) -> None:
    pghistory.backfill(thing)
    with pytest.raises(HistoryError, match='Thing was backfilled before: ThingEvent has 3 events "backfill"'):
        pghistory.backfill(thing)
    assert len(labels(thing)) == 3
    assert pghistory.backfill(thing, label="another '100%'") == 3


def test_under_a_trackers_label_only_rows_without_such_an_event_are_recorded(thing: Any) -> None:
    thing.objects.create(n=4)
    assert pghistory.backfill(thing, label="insert") == 3
    assert sorted(key for label, key, _ in labels(thing)) == [1, 2, 3, 4]
    with pytest.raises(HistoryError, match="backfilled before"):
        pghistory.backfill(thing, label="insert")
    thing.objects.all().delete()
    assert pghistory.backfill(thing, label="insert") == 0


def test_an_error_leaves_nothing(thing: Any, history: History) -> None:
    history.run("ALTER TABLE hist_thingevent ADD CHECK (pgh_obj_id < 3)")
    with pytest.raises(Exception, match="violates check constraint"):
        pghistory.backfill(thing)
    assert labels(thing) == []


def test_bad_input_names_the_model(thing: Any, history: History) -> None:
    with pytest.raises(HistoryError, match='Thing cannot be backfilled under "delete"'):
        pghistory.backfill(thing, label="delete")
    with pytest.raises(HistoryError, match="backfill of Thing needs a label"):
        pghistory.backfill(thing, label="")
    loose = history.declare(
        lambda: {
            "Plain": model("Plain", n=models.IntegerField()),
            "Loose": pghistory.track(fields=["n"], obj_field=None)(model("Loose", n=models.IntegerField())),
        }
    )
    with pytest.raises(HistoryError, match="Plain is not tracked"):
        pghistory.backfill(loose.Plain)
    with pytest.raises(HistoryError, match="LooseNEvent does not say which object"):
        pghistory.backfill(loose.Loose)
    assert labels(thing) == []


def test_writers_wait_so_that_no_change_comes_between_a_row_and_its_event(thing: Any, history: History) -> None:
    """The backfill waits for a running update; the baseline holds what that wrote, and comes after it."""
    connection.ensure_connection()
    done: list[int] = []
    with psycopg.connect(**conninfo(connection)) as other:
        other.execute(f'SET search_path TO "{history.schema}"')
        other.execute('UPDATE hist_thing SET "Größe n" = 20 WHERE id = 2'.encode())

        def fill() -> None:
            done.append(pghistory.backfill(thing))
            connection.close()

        thread = threading.Thread(target=fill)
        thread.start()
        _wait_for_a_lock(other)
        other.commit()
        thread.join(20)
    assert done == [3]
    found = [(label, n) for label, key, n in labels(thing) if key == 2]
    assert found == [("update", 20), ("backfill", 20)]


def test_two_at_once_write_one_baseline(thing: Any) -> None:
    results: list[Any] = []
    barrier = threading.Barrier(2)

    def fill() -> None:
        barrier.wait()
        try:
            results.append(pghistory.backfill(thing))
        except HistoryError as error:
            results.append(str(error))
        connection.close()

    threads = [threading.Thread(target=fill) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(map(str, results))[0] == "3"
    assert "backfilled before" in sorted(map(str, results))[1]
    assert len(labels(thing)) == 3


def _wait_for_a_lock(other: Any) -> None:
    for _ in range(200):
        [(waiting,)] = other.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchall()
        if waiting:
            return
        other.execute("SELECT pg_sleep(0.05)")
    raise AssertionError("the backfill waited for nothing")


def test_in_a_transaction_of_ones_own_it_is_taken_back_with_it(thing: Any) -> None:
    with transaction.atomic():
        assert pghistory.backfill(thing) == 3
        transaction.set_rollback(True)
    assert labels(thing) == []


def test_composite_keys_and_event_models_by_name(history: History) -> None:
    def declare() -> Any:
        return pghistory.track(*BOTH, obj_field=None)(
            model(
                "Seat",
                pk=models.CompositePrimaryKey("row", "n"),
                row=models.TextField(),
                n=models.IntegerField(),
            )
        )

    seat = history.declare(declare)
    untracked(history, "INSERT INTO hist_seat (\"row\", n) VALUES ('a', 1), ('a', 2)")
    seat.objects.create(row="b", n=1)
    assert pghistory.backfill(seat.pgh_event_model, label="insert") == 2
    assert seat.pgh_event_model.objects.filter(pgh_label="insert").count() == 3


def test_baselines_are_sealed_like_every_event(history: History) -> None:
    sealed = history.declare(
        lambda: pghistory.track(*BOTH, hash_chain=True, append_only=True)(model("Sealed", n=models.IntegerField()))
    )
    untracked(history, "INSERT INTO hist_sealed (n) VALUES (1), (2)")
    pghistory.backfill(sealed)
    with pghistory.context(job="mistake") as opened:
        sealed.objects.update(n=9)
    pgmagic.undo_plan(opened).apply()
    assert sorted(sealed.objects.values_list("n", flat=True)) == [1, 2]
    verified = pgmagic.verify(sealed)
    assert verified.empty
    assert verified.notes == ["6 events are sealed."]
