"""Which database and schema a kernel works on: `%pgconnect`, `%pgreset`, and a connection that was lost."""

from __future__ import annotations

import re

import psycopg
import pytest
from django.apps import apps
from django.db import connection as default
from IPython.core.error import UsageError

from pgmagic.db import backend
from pgmagic.db.schemas import schema_name
from pgmagic.declare import registry
from pgmagic.notebook import session
from tests.conftest import TEST_URL
from tests.db.live import conninfo

POST = """%%pgtrigger
class Post(models.Model):
    title = models.TextField()
    class Meta:
        triggers = [pgtrigger.Protect(name="keep", operation=pgtrigger.Delete)]
"""


def query(statement, params=None):
    with default.cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchall()


def said(capsys):
    shown = capsys.readouterr()
    return re.sub(r"\x1b\[[\d;]*m", "", shown.out), re.sub(r"\x1b\[[\d;]*m", "", shown.err)


@pytest.fixture
def another(shell, schema):
    """The name of a second schema, dropped afterwards."""
    name = f"{schema}_two"
    yield name
    query_statement = f'DROP SCHEMA IF EXISTS "{name}" CASCADE'
    with psycopg.connect(**conninfo(_open()), autocommit=True) as connection:
        connection.execute(query_statement)


def _open():
    default.ensure_connection()
    return default


@pytest.fixture
def url(shell):
    """The URL of the database under test, with a password that it does not ask for."""
    info = conninfo(_open())
    return f"postgresql://{info['user']}:s3cr3t@/{info['dbname']}?host={info['host']}&port={info['port']}"


def test_pgconnect_shows_database_and_schema(shell, schema, capsys):
    shell.run("%pgconnect")
    out, _ = said(capsys)
    where = re.escape("postgresql://" if TEST_URL else "the embedded Postgres")
    assert re.fullmatch(rf'Connected to Postgres \d+(\.\d+)?: {where}.*, schema "{schema}"\.\n', out)


def test_pgconnect_to_another_schema(shell, schema, another, capsys):
    shell.run(POST)
    shell.run(f"%pgconnect --schema {another}")
    assert f'schema "{another}"' in said(capsys)[0]
    assert query("SELECT current_schema()") == [(another,)]
    assert set(shell.run(POST)["action"]) == {"create"}
    shell.run(f"%pgconnect --schema {schema}")
    assert set(shell.run(POST)["action"]) == {"unchanged"}


def test_pgconnect_by_url_hides_the_password(shell, schema, url, another, capsys):
    shell.run(f"%pgconnect {url} --schema {another}")
    out, err = said(capsys)
    assert "s3cr3t" not in out + err
    assert ":***@" in out
    shell.run("%pgconnect")
    out, err = said(capsys)
    assert "s3cr3t" not in out + err
    assert "s3cr3t" not in repr(backend.choice)


@pytest.mark.parametrize(
    "wrong",
    [
        "postgresql://ann:s3cr3t@127.0.0.1:1/x",
        "nonsense",
        "--schema pg_mine",
        "postgresql:///x?host=/nowhere",
    ],
)
def test_pgconnect_that_fails_keeps_the_former_connection(shell, schema, wrong):
    shell.run(POST)
    assert isinstance(shell.error(f"%pgconnect {wrong}"), UsageError)
    assert query("SELECT current_schema()") == [(schema,)]
    assert set(shell.run(POST)["action"]) == {"unchanged"}
    assert backend.choice.schema == schema


def test_pgreset_empties_the_schema_and_forgets_its_models(shell, schema, capsys):
    shell.run(POST)
    shell["Post"].objects.create(title="a")
    shell.run("%pgreset")
    assert said(capsys)[0].endswith(f'The schema "{schema}" is empty; run the cells that declare its models again.\n')
    assert query("SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace") == [(0,)]
    assert registry.registered() == []
    assert not [model for model in apps.get_models() if model.__module__ == "__main__"]
    assert set(shell.run(POST)["action"]) == {"create"}
    assert shell["Post"].objects.count() == 0


def test_pgreset_refuses_a_schema_that_pgmagic_did_not_create(shell, another):
    query_create = f'CREATE SCHEMA "{another}"'
    with default.cursor() as cursor:
        cursor.execute(query_create)
        cursor.execute(f'CREATE TABLE "{another}".t (a int)')
    shell.run(f"%pgconnect --schema {another}")
    shell.run(POST)
    error = shell.error("%pgreset")
    assert str(error).startswith(f'The schema "{another}" was not created by pgmagic, so it is not reset')
    assert query("SELECT count(*) FROM t") == [(0,)]
    assert len(registry.registered()) == 1


@pytest.mark.parametrize("schema_of", ["public", "pg_catalog", "information_schema"])
def test_pgreset_never_touches_the_servers_own_schemas(shell, schema, schema_of):
    shell.run(f"%pgconnect --schema {schema_of}")
    assert isinstance(shell.error("%pgreset"), UsageError)
    shell.run(f"%pgconnect --schema {schema}")


def test_next_cell_reopens_a_lost_connection_and_says_so(shell, schema, capsys):
    shell.run(POST)
    pid = default.connection.info.backend_pid
    with psycopg.connect(**conninfo(default), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [pid])
    capsys.readouterr()
    assert shell.run("Post.objects.count()") == 0
    out, err = said(capsys)
    assert "The connection was lost and is open again. Connected to Postgres" in out + err
    assert set(shell.run(POST)["action"]) == {"unchanged"}
    assert "lost" not in "".join(said(capsys))


def test_connection_in_a_failed_transaction_does_not_count_as_lost(shell, capsys):
    shell.run("from django.db import transaction\ntransaction.set_autocommit(False)")
    shell.error("from django.db import connection\nconnection.cursor().execute('SELECT 1/0')")
    capsys.readouterr()
    shell.error("connection.cursor().execute('SELECT 1')")
    assert "lost" not in "".join(said(capsys))
    shell.run("transaction.rollback()\ntransaction.set_autocommit(True)")


@pytest.mark.parametrize(
    ("environment", "names", "path"),
    [
        ({}, {}, None),
        ({"JPY_SESSION_NAME": "/home/ann/01 start.ipynb"}, {}, "/home/ann/01 start.ipynb"),
        ({}, {"__vsc_ipynb_file__": "/home/ann/code.ipynb"}, "/home/ann/code.ipynb"),
        (
            {"PGMAGIC_NOTEBOOK": "/run/02.ipynb", "JPY_SESSION_NAME": "/x/other.ipynb"},
            {"__vsc_ipynb_file__": "/home/ann/code.ipynb"},
            "/run/02.ipynb",
        ),
    ],
)
def test_schema_is_named_after_the_notebook(monkeypatch, environment, names, path):
    for name in ("PGMAGIC_NOTEBOOK", "JPY_SESSION_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    shell = type("Shell", (), {"user_ns": names})()
    stem = path.rsplit("/")[-1].removesuffix(".ipynb") if path else "notebook"
    assert session.notebook_schema(shell) == schema_name(stem, path or "")
