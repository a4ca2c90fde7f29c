"""`pgmagic status` and `pgmagic stop`."""

from __future__ import annotations

import platform

import django
import pytest

from pgmagic import server

pytestmark = pytest.mark.slow


def _fields(shown: str) -> dict[str, str]:
    return {line[:10].strip(): line[10:] for line in shown.splitlines()}


def test_status_does_not_start_the_server(pgmagic, tmp_path):
    nowhere = tmp_path / "nowhere"
    done = pgmagic("status", PGMAGIC_HOME=str(nowhere))
    assert done.returncode == 0, done.stderr
    fields = _fields(done.stdout)
    assert fields["Python"] == platform.python_version()
    assert fields["Django"] == django.get_version()
    assert fields["Postgres"].startswith("18.")
    assert fields["database"].startswith(f"embedded in {nowhere}, stopped")
    assert not nowhere.exists()


def test_status_of_a_running_server(pgmagic, home, make_notebook):
    path = make_notebook("marked.ipynb", "%load_ext pgmagic", "%pgconnect")
    with server.acquire(home):
        assert pgmagic("run", path).returncode == 0
        done = pgmagic("status")
        assert done.returncode == 0, done.stderr
        fields = _fields(done.stdout)
        assert fields["database"] == f"embedded in {home}, running: 1 process uses it"
        assert fields["URL"].startswith("postgresql://pgmagic@/pgmagic?host=/")
        assert "marked_" in fields["schemas"]
        assert server.status(home).running
    assert not server.status(home).running


def test_status_does_not_stop_a_server_without_leases(pgmagic, home):
    with server.acquire(home):
        assert pgmagic("status").returncode == 0
        # Were `status` a user of the server, it would be the last one to leave after a crash of the others.
        assert server.status(home).attached == 1


def test_status_masks_the_password_of_a_url(pgmagic, home):
    with server.acquire(home) as lease:
        host, port = lease.conninfo["host"], lease.conninfo["port"]
        for url in (
            f"postgresql://pgmagic:s3cret@/pgmagic?host={host}&port={port}",
            f"host={host} port={port} user=pgmagic dbname=pgmagic password=s3cret",
        ):
            done = pgmagic("status", PGMAGIC_DATABASE_URL=url)
            assert done.returncode == 0, done.stderr
            assert _fields(done.stdout)["database"] == "answers"
            assert "s3cret" not in done.stdout + done.stderr


def test_status_of_an_unreachable_url(pgmagic):
    done = pgmagic("status", PGMAGIC_DATABASE_URL="postgresql://me:s3cret@127.0.0.1:1/nothing")
    assert done.returncode == 1
    assert _fields(done.stdout)["Django"] == django.get_version()
    [line] = done.stderr.splitlines()
    assert "me:***@127.0.0.1:1" in line
    assert "s3cret" not in done.stdout + done.stderr


def test_status_of_an_invalid_url(pgmagic):
    done = pgmagic("status", PGMAGIC_DATABASE_URL="s3cret and more")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "s3cret" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        ("django.db.backends.sqlite3", "pgmagic needs Postgres"),
        ("django.db.backends.postgresql", "The project's database does not answer"),
    ],
)
def test_status_of_a_project(engine, expected, pgmagic, tmp_path):
    database = {"ENGINE": engine, "NAME": "x", "HOST": "127.0.0.1", "PORT": "1", "PASSWORD": "s3cret"}
    (tmp_path / "my_settings.py").write_text(f"DATABASES = {{'default': {database}}}\nSECRET_KEY = 'x'\n")
    done = pgmagic("status", DJANGO_SETTINGS_MODULE="my_settings")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert expected in line
    assert "s3cret" not in done.stdout + done.stderr


def test_status_of_a_project_that_cannot_be_loaded(pgmagic):
    done = pgmagic("status", DJANGO_SETTINGS_MODULE="not_there")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "'not_there'" in line


def test_stop_stops_the_server_and_reports_it(pgmagic, home):
    with server.acquire(home):
        done = pgmagic("stop")
        assert done.stdout == f"The embedded Postgres in {home} has stopped; its data stays there.\n"
        assert done.returncode == 0
        assert not server.status(home).running


def test_stop_without_a_server(pgmagic, tmp_path):
    nowhere = tmp_path / "nowhere"
    done = pgmagic("stop", PGMAGIC_HOME=str(nowhere))
    assert done.stdout == f"No embedded Postgres runs in {nowhere}.\n"
    assert done.returncode == 0
    assert not nowhere.exists()
