"""One side of `history.py`: the same tracked table with pgmagic, with upstream, by hand, or with simple-history."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Any

import child
from child import SIDE, case, timed
from django.core.management import call_command
from django.db import connection, models

LEVEL = os.environ.get("BENCH_LEVEL", "")
APP = "tracked.apps.TrackedConfig"
COLUMNS = "id, title, body, n, price, done, at, code"
_found: dict[str, Any] = {}


def execute(*statements: str) -> None:
    """Execute SQL through Django."""
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def thing(**attributes: Any) -> Any:
    """Return a model of eight columns."""
    return type(
        "Thing",
        (models.Model,),
        {
            "__module__": "tracked.models",
            "Meta": type("Meta", (), {"app_label": "bench"}),
            "title": models.CharField(max_length=50),
            "body": models.TextField(),
            "n": models.IntegerField(),
            "price": models.DecimalField(max_digits=8, decimal_places=2),
            "done": models.BooleanField(),
            "at": models.DateTimeField(),
            "code": models.CharField(max_length=20),
            **attributes,
        },
    )


def rows(count: int) -> str:
    """Return a query of rows for the table."""
    return (
        f"SELECT i, 'title ' || i, repeat('x', 100), i, i * 0.25, i % 2 = 0, now(), 'code ' || i "
        f"FROM generate_series(1, {count}) AS i"
    )


def empty() -> None:
    """Empty the table and its events; nothing is recorded of it."""
    tables = ", ".join(
        name for name in ("bench_thing", _found["events"], "pghistory_context") if name in _found["tables"]
    )
    execute("SET session_replication_role = replica", f"TRUNCATE {tables}", "RESET session_replication_role")


def fill(count: int) -> None:
    """Fill the table anew, without events."""
    empty()
    execute(
        "SET session_replication_role = replica",
        f"INSERT INTO bench_thing ({COLUMNS}) {rows(count)}",
        "RESET session_replication_role",
        "VACUUM ANALYZE bench_thing",
    )


def around(context: bool) -> Any:
    """Return an open context, or nothing."""
    return child.package("pghistory").context(user=1, url="/bench/") if context else nullcontext()


def check(count: int) -> None:
    """Check that every row left its event."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {_found['events']}")
        [recorded] = cursor.fetchone()
    assert recorded == count, f"{SIDE}: {recorded} events of {count}"


@case
def insert(count: int, context: bool = False) -> float:
    """Insert rows in one statement."""
    empty()
    with around(context), timed() as timer:
        execute(f"INSERT INTO bench_thing ({COLUMNS}) {rows(count)}")
    check(count)
    return timer.seconds


@case
def update(count: int, context: bool = False) -> float:
    """Update every row in one statement."""
    fill(count)
    with around(context), timed() as timer:
        execute("UPDATE bench_thing SET n = n + 1, done = NOT done")
    check(count)
    return timer.seconds


@case
def saves(count: int, context: bool = False) -> float:
    """Save rows one by one."""
    fill(count)
    found = list(_found["Thing"].objects.all())
    with around(context), timed() as timer:
        for one in found:
            one.n += 1
            one.save()
    check(count)
    return timer.seconds


@case
def bulk(count: int, what: str) -> float:
    """Insert or update through the ORM's bulk calls, by which simple-history records."""
    from simple_history.utils import bulk_create_with_history, bulk_update_with_history

    model = _found["Thing"]
    if what == "insert":
        empty()
        with connection.cursor() as cursor:
            cursor.execute(rows(count))
            made = [model(**dict(zip(COLUMNS.split(", "), row, strict=True))) for row in cursor.fetchall()]
        with timed() as timer:
            bulk_create_with_history(made, model, batch_size=1000)
    else:
        fill(count)
        made = list(model.objects.all())
        for one in made:
            one.n += 1
            one.done = not one.done
        with timed() as timer:
            bulk_update_with_history(made, model, ["n", "done"], batch_size=1000)
    check(count)
    return timer.seconds


def create(*created: Any) -> None:
    """Create the tables of models."""
    with connection.schema_editor() as editor:
        for model in created:
            editor.create_model(model)


def declare_with_package() -> None:
    """Track the model by a package's default trackers."""
    prefix = "" if SIDE == "upstream" else "pgmagic."
    child.configure_apps(f"{prefix}pgtrigger", f"{prefix}pghistory", APP)
    pghistory = child.package("pghistory")
    level = {"level": getattr(pghistory, LEVEL)} if LEVEL else {}
    model = pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent(), **level)(thing())
    call_command("migrate", verbosity=0)
    create(model, model.pgh_event_model)
    for owner, trigger in child.package("pgtrigger").registered():
        if owner is model:
            trigger.install(owner)
    _found.update(Thing=model, events="bench_thingevent")


def declare_by_hand() -> None:
    """Write the triggers as one would who knows that keys never change: the limit."""
    child.configure_apps(APP)
    model = thing()
    create(model)
    columns = COLUMNS.split(", ")
    target = ", ".join(["pgh_created_at", "pgh_label", "pgh_obj_id", *columns])
    values = ", ".join(f"after.{column}" for column in columns)
    differs = " OR ".join(f"before.{column} IS DISTINCT FROM after.{column}" for column in columns)
    execute(
        "CREATE TABLE bench_event (pgh_id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, "
        "pgh_created_at timestamptz NOT NULL, pgh_label text NOT NULL, id bigint NOT NULL, "
        "title varchar(50) NOT NULL, body text NOT NULL, n int NOT NULL, price numeric(8, 2) NOT NULL, "
        "done bool NOT NULL, at timestamptz NOT NULL, code varchar(20) NOT NULL, pgh_obj_id bigint NOT NULL, "
        "pgh_context_id uuid)",
        "CREATE INDEX ON bench_event (pgh_obj_id, pgh_id)",
        "CREATE INDEX ON bench_event USING brin (pgh_created_at) WITH (pages_per_range = 128, autosummarize)",
        "CREATE INDEX ON bench_event USING brin (pgh_context_id uuid_bloom_ops(n_distinct_per_range=400)) "
        "WITH (pages_per_range=8) WHERE pgh_context_id IS NOT NULL",
        f"CREATE FUNCTION record_insert() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"INSERT INTO bench_event ({target}) SELECT now(), 'insert', after.id, {values} FROM after; "
        f"RETURN NULL; END $$",
        f"CREATE FUNCTION record_update() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"INSERT INTO bench_event ({target}) SELECT now(), 'update', after.id, {values} "
        f"FROM before JOIN after ON before.id = after.id WHERE {differs}; RETURN NULL; END $$",
        "CREATE TRIGGER record_insert AFTER INSERT ON bench_thing REFERENCING NEW TABLE AS after "
        "FOR EACH STATEMENT EXECUTE FUNCTION record_insert()",
        "CREATE TRIGGER record_update AFTER UPDATE ON bench_thing REFERENCING OLD TABLE AS before "
        "NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION record_update()",
    )
    _found.update(Thing=model, events="bench_event")


def declare_simple_history() -> None:
    """Track the model by django-simple-history."""
    child.configure_apps("simple_history", APP)
    from simple_history.models import HistoricalRecords

    # It refers to whoever made a change.
    call_command("migrate", verbosity=0)
    model = thing(history=HistoricalRecords())
    create(model, model.history.model)
    _found.update(Thing=model, events=model.history.model._meta.db_table)


DECLARE = {"plain": declare_by_hand, "simple": declare_simple_history}

DECLARE.get(SIDE, declare_with_package)()
_found["tables"] = set(connection.introspection.table_names())
child.serve()
