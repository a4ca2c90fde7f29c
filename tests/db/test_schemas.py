"""A schema for each notebook: its name, its mark, and that no other schema is reset."""

from __future__ import annotations

import threading

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmagic.db import schemas
from pgmagic.errors import SchemaError
from tests.db.live import conninfo


@pytest.mark.parametrize(
    ("name", "path", "made"),
    [
        ("01 Protecting rows", "", "01_protecting_rows"),
        ("notebook", "", "notebook"),
        ("Ünï -- code", "", "n_code"),
        ("日本", "", "notebook"),
        ("", "", "notebook"),
        ("'; DROP", "", "drop"),
    ],
)
def test_schema_is_named_after_the_notebook(name, path, made):
    assert schemas.schema_name(name, path) == made


@given(st.text(), st.text(max_size=200))
def test_schema_name_fits_and_needs_no_quotes_but_for_digits(name, path):
    made = schemas.schema_name(name, path)
    assert 0 < len(made.encode()) <= 63
    assert made.replace("_", "").isalnum()
    assert made == made.lower()
    assert made == schemas.schema_name(name, path)


def test_equal_names_in_two_folders_stay_apart():
    one, other = (schemas.schema_name("x" * 80, f"/{folder}/x.ipynb") for folder in "ab")
    assert one != other
    assert one.startswith("x" * 50)


@pytest.fixture
def name(live):
    made = f"{live.schema}_It's 1"
    yield made
    live.sql(f'DROP SCHEMA IF EXISTS "{made}" CASCADE')


def comment(live, name):
    return live.sql("SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s", [name])


def test_entered_schema_is_made_marked_and_first(live, name):
    schemas.enter(live.connection, name)
    assert comment(live, name) == [(schemas.MARK,)]
    assert live.sql("SELECT current_schemas(false)::text[]") == [([name, "public"],)]
    assert name in schemas.own_schemas(live.connection)
    schemas.enter(live.connection, name)
    schemas.enter(live.connection, live.schema)


def test_schema_of_somebody_else_is_entered_but_never_marked_or_reset(live, name):
    live.sql(f'CREATE SCHEMA "{name}"; CREATE TABLE "{name}".t (a int)')
    schemas.enter(live.connection, name)
    assert comment(live, name) == [(None,)]
    assert name not in schemas.own_schemas(live.connection)
    with pytest.raises(SchemaError, match="was not created by pgmagic, so it is not reset"):
        schemas.reset(live.connection, name)
    assert live.sql(f'SELECT count(*) FROM "{name}".t') == [(0,)]


@pytest.mark.parametrize("other", ["public", "pg_catalog", "no such schema"])
def test_nothing_but_our_own_is_reset(live, other):
    with pytest.raises(SchemaError, match="was not created by pgmagic"):
        schemas.reset(live.connection, other)


def test_reset_schema_is_empty_marked_and_still_first(live, name):
    schemas.enter(live.connection, name)
    live.sql("CREATE TABLE t (a int)")
    schemas.reset(live.connection, name)
    assert live.sql("SELECT to_regclass('t')") == [(None,)]
    assert comment(live, name) == [(schemas.MARK,)]
    live.sql("CREATE TABLE t (a int)")
    assert live.sql("SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = 't'::regclass") == [
        (f'"{name}"',)
    ]


def test_reset_that_fails_leaves_everything(live, name):
    schemas.enter(live.connection, name)
    live.sql("CREATE TABLE t (a int)")
    other = live.other(lock_timeout="0")
    other.autocommit = False
    other.execute(f'LOCK "{name}".t')
    live.sql("SET lock_timeout = '50ms'")
    with pytest.raises(Exception, match="lock timeout"):
        schemas.reset(live.connection, name)
    other.rollback()
    live.sql("RESET lock_timeout")
    assert comment(live, name) == [(schemas.MARK,)]
    assert live.sql("SELECT count(*) FROM t") == [(0,)]


def test_two_kernels_enter_a_new_schema_at_once(live, name):
    errors, gate = [], threading.Barrier(6)

    def kernel():
        class Wrapper:
            connection = psycopg.connect(**parameters, autocommit=True)

        gate.wait(10)
        try:
            schemas.enter(Wrapper, name)
        except Exception as error:  # noqa: BLE001
            errors.append(error)
        finally:
            Wrapper.connection.close()

    parameters = conninfo(live.connection)
    for _ in range(8):
        threads = [threading.Thread(target=kernel) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert comment(live, name) == [(schemas.MARK,)]
        live.sql(f'DROP SCHEMA "{name}"')
