"""Event tables that become partitioned tables, and plain tables again, with all that they have."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.postgres.fields import ArrayField
from django.db import DatabaseError, models, transaction

import pgmagic
from pgmagic import pghistory
from pgmagic.db.evolution.repartitioning import partition_sql, unpartition_sql
from tests.history_support import History, model

NOW = datetime(2026, 11, 15, tzinfo=UTC)
TABLE = "hist_Thing é event"
QUOTED = f'"{TABLE}"'

# What a table is, apart from how its rows are kept.
SHAPE = """
WITH t AS (SELECT to_regclass(quote_ident(%(table)s)) AS oid)
SELECT json_build_array(
  (SELECT json_agg(json_build_array(attname, atttypid::regtype, attnotnull, attacl::text,
     col_description(attrelid, attnum)) ORDER BY attnum) FROM pg_attribute, t WHERE attrelid = t.oid AND attnum > 0),
  (SELECT json_agg(json_build_array(pg_get_triggerdef(g.oid), tgenabled, obj_description(g.oid, 'pg_trigger'))
     ORDER BY tgname) FROM pg_trigger AS g, t WHERE tgrelid = t.oid AND NOT tgisinternal),
  (SELECT json_agg(replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ') ORDER BY indexrelid::regclass::text)
     FROM pg_index, t WHERE indrelid = t.oid AND NOT indisprimary),
  (SELECT json_agg(json_build_array(conname, pg_get_constraintdef(c.oid)) ORDER BY conname) FROM pg_constraint AS c, t
     WHERE conrelid = t.oid AND contype IN ('f', 'c')),
  (SELECT json_build_array(relowner, relacl::text, obj_description(t.oid, 'pg_class'))
     FROM t JOIN pg_class ON pg_class.oid = t.oid))"""


def shape(history: History) -> Any:
    return history.run(SHAPE, params={"table": TABLE})[0][0]


def keys(history: History) -> Any:
    [found] = history.run(
        "SELECT conname, pg_get_constraintdef(oid), (SELECT relkind FROM pg_class WHERE pg_class.oid = conrelid) "
        "FROM pg_constraint WHERE contype = 'p' AND conrelid = to_regclass(quote_ident(%s))",
        params=[TABLE],
    )
    return found


@pytest.fixture
def thing(history: History) -> Any:
    """A tracked model whose event table has a bit of everything."""

    def declare() -> Any:
        owner = model("Owner", name=models.TextField())
        return pghistory.track(
            pghistory.InsertEvent(),
            pghistory.UpdateEvent(),
            append_only="truncate",
            hash_chain=True,
            obj_field=pghistory.ObjForeignKey(db_constraint=True, on_delete=models.CASCADE),
            attrs={"note": models.TextField(default="", db_default="-", db_comment="what was said")},
            meta={
                "db_table": TABLE,
                "constraints": [models.CheckConstraint(condition=~models.Q(note="x"), name="no_x")],
            },
        )(
            model(
                "Thing",
                n=models.IntegerField(default=0),
                tags=ArrayField(models.TextField(), default=list),
                owner=models.ForeignKey(owner, models.SET_NULL, null=True),
            )
        )

    thing = history.declare(declare)
    [(name,)] = history.run(
        "SELECT tgname FROM pg_trigger WHERE tgname ~ 'append_only_truncate' "
        "AND tgrelid = to_regclass(quote_ident(%s))",
        params=[TABLE],
    )
    history.run(
        f'ALTER TABLE {QUOTED} DISABLE TRIGGER "{name}"',
        f"COMMENT ON TABLE {QUOTED} IS 'o''k'",
        f"GRANT SELECT, INSERT ON {QUOTED} TO PUBLIC",
        f"GRANT UPDATE (note) ON {QUOTED} TO pg_monitor WITH GRANT OPTION",
        f"CREATE INDEX by_hand ON {QUOTED} USING gin (tags) WHERE n > 5",
    )
    thing.objects.bulk_create([thing(n=1), thing(n=2)])
    return thing


def test_table_becomes_partitioned_and_plain_with_all_that_it_has(history: History, thing: Any) -> None:
    was, key, events = shape(history), keys(history), list(thing.pgh_event_model.objects.values())
    assert all(was[1:4])
    assert {enabled for _, enabled, _ in was[1]} == {"O", "D"}
    for _ in range(2):
        history.run(partition_sql(thing.pgh_event_model, datetime.now(UTC)))
        assert shape(history) == was
        assert keys(history) == (key[0], "PRIMARY KEY (pgh_id, pgh_created_at)", "p")
        assert list(thing.pgh_event_model.objects.values()) == events
        # The months have what is theirs; the sequence counts on.
        [(count,)] = history.run(f"SELECT count(*) FROM {QUOTED} WHERE tableoid::regclass::text LIKE '%default%'")
        assert count == 0
        thing.objects.update(n=models.F("n") + 1)
        assert pgmagic.verify(thing).empty
        with pytest.raises(DatabaseError, match="Cannot update or delete rows"), transaction.atomic():
            thing.pgh_event_model.objects.all().delete()
        # Once more is not at all.
        history.run(partition_sql(thing.pgh_event_model, NOW))
        events = list(thing.pgh_event_model.objects.order_by("pgh_id").values())

        history.run(unpartition_sql(thing.pgh_event_model))
        history.run(unpartition_sql(thing.pgh_event_model))
        assert shape(history) == was
        assert keys(history) == (*key[:2], "r")
        assert list(thing.pgh_event_model.objects.order_by("pgh_id").values()) == events
        thing.objects.create(n=9)
        assert pgmagic.verify(thing).empty
        events = list(thing.pgh_event_model.objects.order_by("pgh_id").values())
        assert [event["pgh_id"] for event in events] == list(range(1, len(events) + 1))
    left = history.run("SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
                       "AND relkind IN ('r', 'p', 'S') AND relname ~ 'event'")  # fmt: skip
    assert sorted(name for (name,) in left) == sorted([TABLE, f"{TABLE}_pgh_id_seq"])


OBSTACLES = {
    "the view looking": ("CREATE VIEW looking AS SELECT pgh_id FROM {}", "DROP VIEW looking"),
    "the policy all_of_it": ("CREATE POLICY all_of_it ON {}", "DROP POLICY all_of_it ON {}"),
    "the function newest()": (
        "CREATE FUNCTION newest() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT max(pgh_id) FROM {}; END",
        "DROP FUNCTION newest",
    ),
    "the foreign key led_from": (
        "CREATE TABLE leads_there (id bigint, CONSTRAINT led_from FOREIGN KEY (id) REFERENCES {} (pgh_id))",
        "DROP TABLE leads_there",
    ),
    "the unique index once": ("CREATE UNIQUE INDEX once ON {} (n)", "DROP INDEX once"),
    "the inheritance of offspring": ("CREATE TABLE offspring () INHERITS ({})", "DROP TABLE offspring"),
}


@pytest.mark.parametrize("what", OBSTACLES)
def test_object_that_depends_on_the_table_stops_it_and_is_named(history: History, thing: Any, what: str) -> None:
    make, drop = (statement.format(QUOTED) for statement in OBSTACLES[what])
    history.run(make)
    was = shape(history)
    with pytest.raises(
        DatabaseError,
        match=f"cannot be in partitions, because of {what}".replace("(", r"\(").replace(")", r"\)"),
    ):
        history.run(partition_sql(thing.pgh_event_model, NOW))
    assert (shape(history), keys(history)[2]) == (was, "r")
    history.run(drop)
    history.run(partition_sql(thing.pgh_event_model, NOW))
    if "view" in what or "function" in what:
        history.run(make)
        with pytest.raises(DatabaseError, match="cannot be one table, because of"):
            history.run(unpartition_sql(thing.pgh_event_model))
        history.run(drop)


def test_rights_and_owner_stay(history: History, thing: Any) -> None:
    """Also where rights by default would give more, and where another role runs it."""
    history.run(
        "CREATE ROLE pgmagic_keeper",
        f"GRANT ALL ON SCHEMA {history.schema} TO pgmagic_keeper",
        f"ALTER TABLE {QUOTED} OWNER TO pgmagic_keeper",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {history.schema} GRANT ALL ON TABLES TO pg_read_all_stats",
    )
    try:
        was = shape(history)
        history.run(partition_sql(thing.pgh_event_model, NOW))
        assert shape(history) == was
        thing.objects.create()
        history.run(unpartition_sql(thing.pgh_event_model))
        assert shape(history) == was
    finally:
        history.run(
            "REASSIGN OWNED BY pgmagic_keeper TO CURRENT_USER",
            "DROP OWNED BY pgmagic_keeper",
            "DROP ROLE pgmagic_keeper",
        )


def test_role_that_records_events_may_use_the_sequence(history: History, thing: Any) -> None:
    """An identity column asks for no right to its sequence; the default of a partitioned table's key does."""
    history.run(partition_sql(thing.pgh_event_model, NOW))
    [(may,)] = history.run(
        "SELECT has_sequence_privilege('pg_monitor', pg_get_serial_sequence(quote_ident(%s), 'pgh_id'), 'usage')",
        params=[TABLE],
    )
    assert may
