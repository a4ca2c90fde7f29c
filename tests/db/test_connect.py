"""Choosing a database: URLs are read and masked, and no password gets into any text."""

from __future__ import annotations

from unittest.mock import Mock

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from pgmagic.db.connect import Choice, check_version, choice_from_environment, is_alive, mask_url, parse_url
from pgmagic.errors import DatabaseUnavailableError

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://ann:s3cr3t@db.example:5433/shop", "postgresql://ann:***@db.example:5433/shop"),
        ("postgres://ann:s3cr3t@db.example/shop", "postgresql://ann:***@db.example/shop"),
        ("postgresql://ann@db.example/shop", "postgresql://ann@db.example/shop"),
        ("postgresql://db.example/shop", "postgresql://db.example/shop"),
        ("postgresql:///shop", "postgresql:///shop"),
        ("postgresql:///shop?host=/run/pg&user=ann&password=s3cr3t", "postgresql://ann:***@/shop?host=/run/pg"),
        ("host=db.example user=ann password=s3cr3t dbname=shop", "postgresql://ann:***@db.example/shop"),
        ("postgresql://ann:s3%40cr3t@db.example/shop", "postgresql://ann:***@db.example/shop"),
        ("postgresql://a:s3cr3t@h1,h2:5433/shop?sslmode=require", "postgresql://a:***@h1,h2:,5433/shop"),
        ("postgresql://[::1]:5433/shop", "postgresql://::1:5433/shop"),
    ],
)  # fmt: skip
def test_url_is_masked(url, masked):
    assert mask_url(url) == masked
    assert Choice(url=url).describe() == masked


@pytest.mark.parametrize(
    "url",
    [
        # An @, / or : that belongs to the password and is not percent-encoded.
        "postgresql://ann:p@s3cr3t@db.example/shop",
        "postgresql://ann:s3cr3t/x@db.example/shop",
        "postgresql://ann:x/s3cr3t@db.example/shop",
        "postgresql://ann:x#s3cr3t/@db.example/shop",
        "mysql://ann:s3cr3t@db.example/shop",
        "postgresql://ann:s3cr3t@db.example/shop?nope=1",
        "ann:s3cr3t@db.example/shop",
        "password=s3cr3t 'open",
        "s3cr3t",
        "postgresql://ann:s3cr3t%zz@db.example/shop",
    ],
)
def test_unreadable_url_is_refused_without_repeating_it(url):
    with pytest.raises(
        DatabaseUnavailableError,
        match=r"This is not a database URL: expected postgresql://user:password@host",
    ) as raised:
        parse_url(url)
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert SECRET not in mask_url(url)
    assert raised.value.__cause__ is None


def test_no_text_of_a_choice_has_the_password():
    choice = Choice(url="postgresql://ann:s3cr3t@db.example/shop")
    assert SECRET not in repr(choice)
    assert SECRET not in str(choice)
    assert choice.parameters()["password"] == SECRET


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({"PGMAGIC_DATABASE_URL": "postgresql:///a"}, "postgresql:///a"),
        ({"PGMAGIC_DATABASE_URL": ""}, None),
        ({"DATABASE_URL": "postgresql:///production"}, None),
        ({}, None),
    ],
)
def test_only_a_url_meant_for_pgmagic_is_picked_up(environment, url, monkeypatch):
    for name in ("PGMAGIC_DATABASE_URL", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert choice_from_environment().url == url


class Connection:
    """What is asked of a connection."""

    def __init__(self, version=180000, closed=False, usable=True, status=TransactionStatus.IDLE):
        info = type("Info", (), {"server_version": version, "transaction_status": status})()
        # Taken for a connection of psycopg's.
        self.connection = Mock(spec=psycopg.Connection, info=info, closed=closed)
        self.usable = usable

    def is_usable(self):
        return self.usable


@pytest.mark.parametrize(("version", "supported"), [(180006, True), (150000, True), (140012, False), (90624, False)])
def test_old_server_is_refused(version, supported):
    if supported:
        check_version(Connection(version))
    else:
        with pytest.raises(
            DatabaseUnavailableError, match=rf"is Postgres {version // 10000}; pgmagic needs 15 or newer"
        ):
            check_version(Connection(version))


def test_connection_that_was_never_made_counts_as_alive():
    never = Connection()
    never.connection = None
    assert is_alive(never)
    assert is_alive(Connection())
    assert not is_alive(Connection(closed=True))
    assert not is_alive(Connection(usable=False))
    assert is_alive(Connection(usable=False, status=TransactionStatus.INERROR))
