from __future__ import annotations

import asyncio
import datetime
import threading
import time
import uuid
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.serializers.json import DjangoJSONEncoder
from django.db import IntegrityError, connection, connections, models, transaction

from pgmagic import pghistory
from pgmagic.db.runtime.context import open_context
from pgmagic.errors import ContextError
from pgmagic.pghistory.models import Context
from tests.history_support import History, history, history_schema, model, settings_with  # noqa: F401


@pytest.fixture
def thing(history: History) -> Any:  # noqa: F811
    """A tracked model with one field, and a table that counts how often the table of contexts is written."""

    def declare() -> Any:
        return pghistory.track(pghistory.InsertEvent())(model("Thing", n=models.IntegerField(unique=True)))

    tracked = history.declare(declare)
    history.run(
        "CREATE TABLE writes (operation text)",
        "CREATE FUNCTION count_write() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO writes VALUES (TG_OP); RETURN NULL; END $$",
        "CREATE TRIGGER count_write AFTER INSERT OR UPDATE ON pghistory_context "
        "FOR EACH ROW EXECUTE FUNCTION count_write()",
    )
    return tracked


def test_ids_are_ordered_by_time() -> None:
    before = time.time_ns()
    ids = []
    for _ in range(100):
        with pghistory.context() as opened:
            ids.append(opened.id)
        time.sleep(0.00001)
    behind = time.time_ns()
    assert {(found.version, found.variant) for found in ids} == {(7, uuid.RFC_4122)}
    assert ids == sorted(set(ids))
    for found in ids:
        milliseconds, fraction = found.int >> 80, (found.int >> 64) & 0xFFF
        assert before - 1000 <= (milliseconds + fraction / 4096) * 1_000_000 <= behind + 1000


def contexts(thing: Any) -> list[Any]:
    """Return the number of each event's object and the metadata of its context."""
    events = thing.pgh_event_model.objects.order_by("n")
    return [(event.n, event.pgh_context and event.pgh_context.metadata) for event in events]


@contextmanager
def rolled_back() -> Iterator[None]:
    """A savepoint that is rolled back."""
    with suppress(ZeroDivisionError), transaction.atomic():
        yield
        raise ZeroDivisionError


def writes() -> list[str]:
    """Return what was done to the table of contexts."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT operation FROM writes")
        return [operation for (operation,) in cursor.fetchall()]


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run async code, whose database thread starts and ends without a connection."""

    async def with_connections_closed() -> None:
        try:
            await main
        finally:
            await sync_to_async(connections.close_all)()

    asyncio.run(with_connections_closed())


def test_events_in_a_block_share_its_context(thing: Any) -> None:
    thing.objects.create(n=0)
    with pghistory.context(user=7, at=datetime.date(2020, 1, 2), price=Decimal("1.50")) as opened:
        thing.objects.create(n=1)
        thing.objects.bulk_create([thing(n=2)])
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO hist_thing (n) VALUES (3)")
    thing.objects.create(n=4)
    metadata = {"user": 7, "at": "2020-01-02", "price": "1.50"}
    assert contexts(thing) == [(0, None), (1, metadata), (2, metadata), (3, metadata), (4, None)]
    assert Context.objects.get().id == opened.id
    assert open_context() is None


@pytest.mark.parametrize("in_transaction", [True, False], ids=["transaction", "autocommit"])
def test_context_is_written_once_for_a_hundred_events(thing: Any, in_transaction: bool) -> None:
    block: Any = transaction.atomic() if in_transaction else pghistory.context()
    with block, pghistory.context(user=1):
        for n in range(100):
            thing.objects.create(n=n)
    assert writes() == ["INSERT"]
    assert contexts(thing) == [(n, {"user": 1}) for n in range(100)]


def test_context_without_events_is_never_written(thing: Any) -> None:
    with transaction.atomic(), pghistory.context(user=1):
        thing.objects.count()
    assert writes() == []


def test_nested_contexts_merge_into_one(thing: Any) -> None:
    with transaction.atomic(), pghistory.context(a=1, b=1) as outer:
        thing.objects.create(n=1)
        with pghistory.context(b=2) as inner:
            assert inner.id == outer.id
            thing.objects.create(n=2)
            thing.objects.create(n=3)
        pghistory.context(c=3)
        thing.objects.create(n=4)
        assert outer.metadata == {"a": 1, "b": 2, "c": 3}
    assert Context.objects.get().metadata == {"a": 1, "b": 2, "c": 3}
    assert writes() == ["INSERT", "UPDATE", "UPDATE"]


def test_plain_call_outside_any_context_adds_nothing(thing: Any) -> None:
    pghistory.context(user=1)
    thing.objects.create(n=1)
    assert contexts(thing) == [(1, None)]


def test_context_ends_with_its_block_inside_a_transaction(thing: Any) -> None:
    with transaction.atomic():
        with pghistory.context(user=1):
            thing.objects.create(n=1)
        thing.objects.create(n=2)
        with pghistory.context(user=3):
            thing.objects.create(n=3)
    assert contexts(thing) == [(1, {"user": 1}), (2, None), (3, {"user": 3})]


def test_context_ends_with_an_exception(thing: Any) -> None:
    with pytest.raises(ZeroDivisionError), pghistory.context(user=1):
        raise ZeroDivisionError
    thing.objects.create(n=1)
    assert contexts(thing) == [(1, None)]


def test_decorator_opens_a_context_for_each_call(thing: Any) -> None:
    @pghistory.context(job="import")
    def create(n: int, left: int = 0) -> uuid.UUID:
        thing.objects.create(n=n)
        if left:
            create(n + 1, left - 1)
        opened = open_context()
        assert opened is not None
        return opened.id

    ids = {create(1), create(2)}
    assert len(ids) == 2
    create(10, left=2)
    thing.objects.create(n=20)
    with pghistory.context(user=1):
        create(30)
        thing.objects.create(n=31)
    job = {"job": "import"}
    assert contexts(thing) == [
        (1, job), (2, job), (10, job), (11, job), (12, job), (20, None),
        (30, {**job, "user": 1}), (31, {**job, "user": 1}),
    ]  # fmt: skip
    assert Context.objects.count() == 4


def test_decorator_never_changes_its_metadata(thing: Any) -> None:
    tags = ["a"]
    decorator = pghistory.context(tags=tags)

    @decorator
    def create(n: int) -> None:
        pghistory.context(n=n)
        thing.objects.create(n=n)

    create(1)
    create(2)
    assert contexts(thing) == [(1, {"tags": ["a"], "n": 1}), (2, {"tags": ["a"], "n": 2})]
    assert decorator.metadata == {"tags": ["a"]}


def test_decorator_refuses_generators() -> None:
    with pytest.raises(ContextError, match="produce is a generator"):

        @pghistory.context(a=1)
        def produce() -> Any:
            yield 1


def test_savepoint_rollback_takes_the_context_back_and_the_next_event_writes_it_again(thing: Any) -> None:
    with transaction.atomic(), pghistory.context(user=1):
        with rolled_back():
            thing.objects.create(n=1)
        assert not Context.objects.exists()
        thing.objects.create(n=2)
        with rolled_back():
            pghistory.context(extra=1)
            thing.objects.create(n=3)
        assert contexts(thing) == [(2, {"user": 1})]
        thing.objects.create(n=4)
    assert contexts(thing) == [(2, {"user": 1, "extra": 1}), (4, {"user": 1, "extra": 1})]


def test_context_entered_in_a_savepoint_that_is_rolled_back_leaks_nothing(thing: Any) -> None:
    with transaction.atomic():
        with rolled_back(), pghistory.context(user=1):
            thing.objects.create(n=1)
        thing.objects.create(n=2)
    thing.objects.create(n=3)
    assert contexts(thing) == [(2, None), (3, None)]


def test_context_survives_a_transaction_in_error(thing: Any) -> None:
    thing.objects.create(n=1)
    with pghistory.context(user=1):
        with pytest.raises(IntegrityError), transaction.atomic():
            thing.objects.create(n=1)
        thing.objects.create(n=2)
        with transaction.atomic():
            with pytest.raises(IntegrityError), transaction.atomic():
                thing.objects.create(n=1)
            thing.objects.create(n=3)
    thing.objects.create(n=4)
    assert contexts(thing) == [(1, None), (2, {"user": 1}), (3, {"user": 1}), (4, None)]


def test_context_left_in_a_transaction_in_error_is_sent_after_its_rollback(thing: Any) -> None:
    thing.objects.create(n=1)
    with pytest.raises(IntegrityError), transaction.atomic(), pghistory.context(user=1):
        thing.objects.create(n=1)
    thing.objects.create(n=2)
    assert contexts(thing) == [(1, None), (2, None)]


def test_removed_context_is_written_again(thing: Any) -> None:
    with pghistory.context(user=1):
        thing.objects.create(n=1)
        Context.objects.all().delete()
        thing.objects.create(n=2)
    assert contexts(thing) == [(1, {"user": 1}), (2, {"user": 1})]


def test_settings_are_sent_on_entering_and_on_leaving(thing: Any) -> None:
    def told() -> Any:
        # psycopg's own cursor, of which Django, and what it would tell before a statement, knows nothing.
        return connection.connection.execute("SELECT current_setting('pgmagic.context_id', true)").fetchone()[0]

    with pghistory.context(user=1) as opened:
        assert told() == str(opened.id)
    assert told() == ""


def test_what_a_transaction_has_written_is_forgotten_with_it(thing: Any) -> None:
    def written() -> Any:
        return connection.connection.execute("SELECT current_setting('pgmagic.context_written', true)").fetchone()[0]

    with pghistory.context(user=1), transaction.atomic():
        thing.objects.create(n=1)
        assert '"user": 1' in written()
        with rolled_back():
            pghistory.context(extra=1)
            thing.objects.create(n=2)
            assert "extra" in written()
        assert "extra" not in written()
    assert not written()


def test_context_is_right_after_a_raw_rollback(thing: Any) -> None:
    with pghistory.context(user=1), connection.cursor() as cursor:
        cursor.execute("BEGIN")
        with pghistory.context(step=2):
            thing.objects.create(n=1)
        cursor.execute("ROLLBACK")
        thing.objects.create(n=2)
        cursor.execute("RESET ALL")
        cursor.execute(f'SET search_path TO "{history_path(cursor)}"')
        thing.objects.create(n=3)
    assert contexts(thing) == [(2, {"user": 1, "step": 2}), (3, {"user": 1, "step": 2})]


def history_path(cursor: Any) -> str:
    """Return the schema of the test's tables, which a RESET takes out of the path."""
    cursor.execute("SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = 'hist_thing'")
    return str(cursor.fetchall()[-1][0]).strip('"')


def test_select_that_calls_a_writing_function_is_covered(thing: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION make(i int) RETURNS void LANGUAGE sql AS 'INSERT INTO hist_thing (n) VALUES (i)'"
        )
        with pghistory.context(user=1):
            cursor.execute("SELECT make(%s)", [5])
            cursor.executemany("INSERT INTO hist_thing (n) VALUES (%(n)s)", [{"n": 6}, {"n": 7}])
    assert contexts(thing) == [(5, {"user": 1}), (6, {"user": 1}), (7, {"user": 1})]


def test_threads_have_contexts_of_their_own(thing: Any) -> None:
    seen: list[Any] = []
    with pghistory.context(user=1):
        other = threading.Thread(target=lambda: seen.append(open_context()))
        other.start()
        other.join()
    assert seen == [None]


def test_async_tasks_never_share_a_context(thing: Any) -> None:
    create = sync_to_async(lambda n: thing.objects.create(n=n), thread_sensitive=True)

    async def work(user: int) -> None:
        async with pghistory.context(user=user) as opened:
            for step in range(5):
                await create(user * 10 + step)
                await asyncio.sleep(0.001)
                pghistory.context(**{f"step{step}": step})
            assert opened.metadata["user"] == user
        assert open_context() is None

    async def main() -> None:
        await asyncio.gather(work(1), work(2), work(3))
        await create(100)

    run(main())
    found = contexts(thing)
    assert [metadata and metadata["user"] for _, metadata in found] == [1] * 5 + [2] * 5 + [3] * 5 + [None]
    assert Context.objects.count() == 3


def test_tasks_started_in_a_context_inherit_it_and_add_to_their_own(thing: Any) -> None:
    create = sync_to_async(lambda n: thing.objects.create(n=n), thread_sensitive=True)

    async def work(user: int) -> None:
        await create(user * 10)
        with pghistory.context(user=user):
            await asyncio.sleep(0.001)
            await create(user * 10 + 1)
        await create(user * 10 + 2)

    async def main() -> None:
        async with pghistory.context(job="j"):
            await asyncio.gather(work(1), work(2))
            await create(99)

    run(main())
    job = {"job": "j"}
    assert contexts(thing) == [
        (10, job), (11, {**job, "user": 1}), (12, job), (20, job), (21, {**job, "user": 2}), (22, job), (99, job),
    ]  # fmt: skip


def test_async_functions_can_be_decorated(thing: Any) -> None:
    @pghistory.context(job="async")
    async def work() -> None:
        await sync_to_async(thing.objects.create)(n=1)

    run(work())
    assert contexts(thing) == [(1, {"job": "async"})]


@pytest.mark.parametrize(
    "odd",
    [object(), float("nan"), "nul \x00", "\ud800", {1, 2}, {"deep": [b"bytes"]}],
    ids=lambda odd: type(odd).__name__,
)
def test_metadata_without_json_changes_nothing(thing: Any, odd: Any) -> None:
    with pghistory.context(user=1) as opened:
        with pytest.raises(ContextError, match='"odd"') as raised, pghistory.context(fine=1, odd=odd):
            raise AssertionError
        assert isinstance(raised.value, TypeError)
        thing.objects.create(n=1)
    assert contexts(thing) == [(1, {"user": 1})]
    assert opened.metadata == {"user": 1}


@pytest.mark.parametrize("text", ["it's", "%s %% %(x)s", "\\u0000", '"', "$$", "ü\u2028\n", "\\", ""])
def test_metadata_may_hold_any_text(thing: Any, text: str) -> None:
    with pghistory.context(**{text or "empty": text}):
        thing.objects.create(n=1)
    assert contexts(thing) == [(1, {text or "empty": text})]


def test_encoder_is_a_setting(thing: Any, settings_with: Any) -> None:  # noqa: F811
    with (
        settings_with(PGHISTORY_JSON_ENCODER="tests.db.test_context.SetEncoder"),
        pghistory.context(tags={1}),
    ):
        thing.objects.create(n=1)
    assert contexts(thing) == [(1, {"tags": [1]})]


class SetEncoder(DjangoJSONEncoder):
    def default(self, o: Any) -> Any:
        return sorted(o) if isinstance(o, set) else super().default(o)


def test_another_service_can_open_a_context_by_the_settings(thing: Any) -> None:
    key = uuid.uuid4()
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('pgmagic.context_id', %s, false)", [str(key)])
        cursor.execute("INSERT INTO hist_thing (n) VALUES (1)")
        assert Context.objects.get().metadata == {}
        cursor.execute("""SELECT set_config('pgmagic.context_metadata', '{"a": 1, "b": 1}', false)""")
        cursor.execute("INSERT INTO hist_thing (n) VALUES (2)")
        cursor.execute("""SELECT set_config('pgmagic.context_metadata', '{"b": 2}', false)""")
        cursor.execute("INSERT INTO hist_thing (n) VALUES (3)")
    assert Context.objects.get().id == key
    merged = {"a": 1, "b": 2}
    assert contexts(thing) == [(1, merged), (2, merged), (3, merged)]
