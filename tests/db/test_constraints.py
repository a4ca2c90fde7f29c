"""`constraints`: when deferrable triggers fire, for the rest of a transaction."""

from __future__ import annotations

import pytest
from django.db import connection as default
from django.db import connections, models, transaction

from pgmagic import pgtrigger
from pgmagic.errors import (
    DeclarationError,
    InstallationError,
    NoTransactionError,
    TriggerError,
    UnknownDatabaseError,
    UnknownTriggerError,
)

LATE, SOON, KEEP = "live.Post:late", "live.Post:soon", "live.Post:keep"


def refusing(name, operation, timing):
    return pgtrigger.Trigger(
        name=name, when=pgtrigger.After, operation=operation, timing=timing, func=f"RAISE EXCEPTION '{name}';"
    )


@pytest.fixture
def post(live):
    """Rows that are refused at COMMIT when inserted, at once when updated."""
    return live.declare(
        "Post",
        [
            refusing("late", pgtrigger.Insert, pgtrigger.Deferred),
            refusing("soon", pgtrigger.Update, pgtrigger.Immediate),
            pgtrigger.Protect(name="keep", operation=pgtrigger.Delete),
        ],
        title=models.TextField(),
    )


def test_deferred_trigger_rejects_at_commit(post):
    with pytest.raises(TriggerError, match="late"), transaction.atomic():  # noqa: PT012
        post.objects.create(title="a")
        assert post.objects.count() == 1
    assert post.objects.count() == 0


def test_immediate_fires_at_the_statement(post):
    with transaction.atomic():
        pgtrigger.constraints(pgtrigger.Immediate, LATE)
        with pytest.raises(TriggerError, match="late"), transaction.atomic():
            post.objects.create(title="a")
        pgtrigger.constraints(pgtrigger.Deferred, LATE)
        post.objects.create(title="a")
        transaction.set_rollback(True)


def test_deferred_waits_for_commit(post):
    with pgtrigger.ignore(LATE):
        post.objects.create(title="a")
    with pytest.raises(TriggerError, match="soon"), transaction.atomic():
        post.objects.update(title="b")
    with pytest.raises(TriggerError, match="soon"), transaction.atomic():  # noqa: PT012
        pgtrigger.constraints(pgtrigger.Deferred, SOON)
        assert post.objects.update(title="b") == 1
    assert post.objects.get().title == "a"


def test_rejected_pending_row_leaves_the_transaction_usable(post):
    with transaction.atomic():
        row = post.objects.create(title="a")
        with pytest.raises(TriggerError, match="late"):
            pgtrigger.constraints(pgtrigger.Immediate, LATE)
        assert post.objects.get() == row
        with pgtrigger.ignore():
            pgtrigger.constraints(pgtrigger.Immediate, LATE)
    assert post.objects.count() == 1


def test_timing_ends_with_the_transaction(post):
    with transaction.atomic():
        pgtrigger.constraints(pgtrigger.Immediate)
    with transaction.atomic():
        post.objects.create(title="a")
        transaction.set_rollback(True)


def test_without_uris_all_deferrable_triggers_are_meant(post):
    with transaction.atomic():
        pgtrigger.constraints(pgtrigger.Immediate)
        with pytest.raises(TriggerError, match="late"), transaction.atomic():
            post.objects.create(title="a")
        pgtrigger.constraints(pgtrigger.Deferred)
        post.objects.create(title="a")
        post.objects.update(title="b")
        transaction.set_rollback(True)


def test_deferred_trigger_is_ignored_only_if_the_block_is_open_at_commit(post):
    with pgtrigger.ignore(LATE), transaction.atomic():
        post.objects.create(title="a")
    with pytest.raises(TriggerError, match="late"), transaction.atomic(), pgtrigger.ignore(LATE):
        post.objects.create(title="b")
    with pgtrigger.ignore(LATE):
        with transaction.atomic():
            post.objects.create(title="c")
        post.objects.create(title="d")
    with transaction.atomic():
        with pgtrigger.ignore(LATE):
            post.objects.create(title="e")
            pgtrigger.constraints(pgtrigger.Immediate, LATE)
        assert post.objects.count() == 4


def test_any_search_path_will_do(post, live):
    with transaction.atomic():
        with pgtrigger.schema(live.schema, "pg_temp"):
            pgtrigger.constraints(pgtrigger.Immediate, LATE)
        with pytest.raises(TriggerError, match="late"), transaction.atomic():
            post.objects.create(title="a")


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((pgtrigger.Immediate, KEEP), DeclarationError, "Trigger keep on model live.post is not deferrable"),
        ((pgtrigger.Immediate, "live.Post:nope"), UnknownTriggerError, "not found in pgtrigger registry"),
        (
            ("DEFERRED; DROP TABLE x", LATE),
            DeclarationError,
            "Expected pgtrigger.Immediate or pgtrigger.Deferred",
        ),
    ],
)
def test_what_cannot_be_set_is_refused_and_spoils_nothing(post, arguments, kind, message):
    with transaction.atomic():
        with pytest.raises(kind, match=message):
            pgtrigger.constraints(*arguments)
        assert post.objects.count() == 0


def test_transaction_is_needed(post, monkeypatch):
    with pytest.raises(RuntimeError, match="No database is in a transaction"):
        pgtrigger.constraints(pgtrigger.Immediate, LATE)
    with pytest.raises(NoTransactionError, match='Database "default" is not in a transaction'):
        pgtrigger.constraints(pgtrigger.Immediate, LATE, databases=["default"])
    with transaction.atomic():
        pgtrigger.constraints(pgtrigger.Immediate, LATE, databases=["default"])
        with pytest.raises(UnknownDatabaseError):
            pgtrigger.constraints(pgtrigger.Immediate, LATE, databases=["nope"])
    monkeypatch.setitem(connections.settings, "elsewhere", connections.settings["default"])
    with transaction.atomic(), pytest.raises(NoTransactionError, match='"elsewhere" is not in a transaction'):
        pgtrigger.constraints(pgtrigger.Immediate, LATE, databases=["default", "elsewhere"])
    connections["elsewhere"].close()
    del connections["elsewhere"]


def test_raw_and_manual_transactions_count(post):
    with default.cursor() as cursor:
        cursor.execute("BEGIN")
        pgtrigger.constraints(pgtrigger.Immediate, LATE)
        cursor.execute("ROLLBACK")
    transaction.set_autocommit(False)
    try:
        pgtrigger.constraints(pgtrigger.Immediate, LATE)
        with pytest.raises(TriggerError, match="late"):
            post.objects.create(title="a")
        transaction.rollback()
    finally:
        transaction.set_autocommit(True)


def test_missing_trigger_is_named(post, live):
    trigger = refusing("other", pgtrigger.Insert, pgtrigger.Deferred)
    trigger.register(post)
    with transaction.atomic():
        with pytest.raises(InstallationError, match=r'live\.Post:other is not installed on the database "default"'):
            pgtrigger.constraints(pgtrigger.Immediate, "live.Post:other")
        pgtrigger.constraints(pgtrigger.Immediate)
