"""What pgmagic adds to a connection: one error for a rejection, from a statement, a bulk call and COMMIT alike."""

from __future__ import annotations

import pickle

import psycopg
import pytest
from django.db import DataError, IntegrityError, InternalError, ProgrammingError, models, transaction
from django.db import connection as default

from pgmagic import pgtrigger
from pgmagic.db.prepare import prepare, prepare_every_connection
from pgmagic.errors import PgMagicError, TriggerError


@pytest.mark.parametrize("kind", [InternalError, ProgrammingError, TriggerError])
@pytest.mark.parametrize("timing", [None, pgtrigger.Immediate, pgtrigger.Deferred])
@pytest.mark.parametrize("bulk", [False, True], ids=["statement", "bulk"])
def test_rejection_is_caught_as_either_error(live, kind, timing, bulk):
    model = live.declare("Post", [
        pgtrigger.Trigger(
            name="no", when=pgtrigger.After, operation=pgtrigger.Insert, timing=timing, func="RAISE 'no';"
        ),
    ], title=models.TextField())  # fmt: skip
    posts = [model(title="a"), model(title="b")]
    with pytest.raises(kind, match=r"^no\n") as raised:
        model.objects.bulk_create(posts) if bulk else posts[0].save()
    cause = raised.value.__cause__
    assert isinstance(cause, psycopg.Error)
    assert cause.sqlstate == "P0001"
    assert model.objects.count() == 0
    assert not isinstance(raised.value, PgMagicError)


def test_rejection_by_a_raw_function_is_one_too(live):
    with pytest.raises(TriggerError, match="aside"):
        live.sql("DO $$ BEGIN RAISE 'aside'; END $$")


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("SELECT 1/0", DataError),
        ("SELEC 1", ProgrammingError),
        ("DO $$ BEGIN RAISE SQLSTATE '23514'; END $$", IntegrityError),
        ("DO $$ BEGIN ASSERT false; END $$", ProgrammingError),
    ],
)
def test_other_errors_stay_djangos(live, statement, kind):
    with pytest.raises(kind) as raised:
        live.sql(statement)
    assert type(raised.value) is kind


def test_transaction_goes_on_after_a_savepoint(live):
    model = live.declare("Post", [pgtrigger.Protect(name="keep", operation=pgtrigger.Delete)], title=models.TextField())
    with transaction.atomic():
        post = model.objects.create(title="a")
        with pytest.raises(InternalError), transaction.atomic():
            post.delete()
        model.objects.create(title="b")
    assert model.objects.count() == 2


def test_preparing_again_changes_nothing(live):
    wrapper = default.wrap_database_errors
    for _ in range(2):
        prepare_every_connection()
    assert len([found for found in default.execute_wrappers if type(found).__name__ == "ServerSession"]) == 1
    assert type(default.wrap_database_errors) is type(wrapper)


def test_other_databases_are_left_alone():
    class Sqlite:
        vendor = "sqlite"

    sqlite = Sqlite()
    prepare(sqlite)
    assert vars(sqlite) == {}


def test_error_survives_pickling(live):
    with pytest.raises(TriggerError) as raised:
        live.sql("DO $$ BEGIN RAISE 'aside'; END $$")
    copied = pickle.loads(pickle.dumps(raised.value))  # noqa: S301
    assert str(copied) == str(raised.value)
