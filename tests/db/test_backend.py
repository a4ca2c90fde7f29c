"""The backend for notebooks: it finds its database at the first connection, or says in one line why it cannot."""

from __future__ import annotations

import pytest
from django.db import connection as default

from pgmagic.db import backend
from pgmagic.db.connect import Choice
from pgmagic.errors import DatabaseUnavailableError
from tests.db.live import conninfo

SECRET = "s3cr3t"


@pytest.fixture
def choose(live, monkeypatch):
    """Choose another database for the rest of the test."""

    def choose(url, schema=None):
        default.close()
        monkeypatch.setattr(backend, "choice", Choice(url=url, schema=schema))

    yield choose
    default.close()


def test_connection_works_in_the_chosen_schema(live):
    assert live.sql("SELECT current_schema()") == [(live.schema,)]
    default.close()
    assert live.sql("SELECT current_schema()") == [(live.schema,)]


def test_connection_without_a_schema_keeps_the_servers_path(live, choose):
    [[path]] = live.other().execute("SHOW search_path").fetchall()
    info = conninfo(live.connection)
    choose(f"postgresql://{info['user']}@/{info['dbname']}?host={info['host']}&port={info['port']}")
    assert live.sql("SHOW search_path") == [(path,)]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://ann:s3cr3t@127.0.0.1:1/shop", "Cannot connect to postgresql://ann:***@127.0.0.1:1/shop: "),
        ("postgresql://ann:s3cr3t@/shop?host=/no/such/folder", "Cannot connect to postgresql://ann:***@/shop?host=/no/such/"),
        ("postgresql://ann:s3cr3t@no-such-host.invalid/shop", "Cannot connect to postgresql://ann:***@no-such-host.invalid/"),
        ("postgresql://ann:s3cr3t@127.0.0.1:99999/shop", "Cannot connect to postgresql://ann:***@127.0.0.1:99999/s"),
        ("mysql://ann:s3cr3t@host/shop", "This is not a database URL: "),
    ],
)  # fmt: skip
def test_unreachable_database_is_reported_in_one_line(choose, url, words):
    choose(url)
    with pytest.raises(DatabaseUnavailableError) as raised:
        default.ensure_connection()
    assert str(raised.value).startswith(words)
    assert "\n" not in str(raised.value)
    assert SECRET not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_missing_database_is_reported_in_one_line(live, choose):
    info = conninfo(live.connection)
    choose(f"postgresql://{info['user']}:s3cr3t@/no_such_db?host={info['host']}&port={info['port']}")
    with pytest.raises(DatabaseUnavailableError, match='database "no_such_db" does not exist') as raised:
        default.ensure_connection()
    assert "Check that the server runs and the database exists, or choose another database with %pgconnect." in str(
        raised.value
    )
    assert SECRET not in str(raised.value)
