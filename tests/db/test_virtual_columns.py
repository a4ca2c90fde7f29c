"""Conditions on generated columns that are computed when they are read: a trigger finds NULL in them, or an error."""

from __future__ import annotations

import json

import pytest
from django.db import InternalError, models

from pgmagic import pgtrigger
from pgmagic.errors import ConditionError
from tests.db.test_ready_made import rejection

Q, F = pgtrigger.Q, pgtrigger.F


@pytest.fixture
def item(live):
    """Declares a model with a virtual column, which is twice another."""
    if live.connection.pg_version < 180000:
        pytest.skip("Postgres has virtual columns since 18")

    def declare(*triggers):
        return live.declare(
            "Item",
            triggers,
            n=models.IntegerField(null=True),
            title=models.TextField(default=""),
            twice=models.GeneratedField(
                expression=models.F("n") * 2, output_field=models.IntegerField(), db_persist=False
            ),
        )

    return declare


@pytest.mark.parametrize("level", [pgtrigger.Row, pgtrigger.Statement])
@pytest.mark.parametrize(
    "condition",
    [
        Q(new__twice=4),
        Q(new__twice__gt=F("old__twice")),
        Q(new__twice__in=[4, 5]) & ~Q(old__twice=4),
        Q(new__n=F("old__twice")),
    ],
    ids=repr,
)
def test_rule_sees_what_the_column_would_be(item, level, condition):
    model = item(pgtrigger.Protect(name="keep", operation=pgtrigger.Update, condition=condition, level=level))
    model.objects.create(n=1)
    model.objects.update(title="a")
    model.objects.update(n=None)
    model.objects.update(n=1)
    detail = json.loads(rejection(lambda: model.objects.update(n=2)).diag.message_detail)
    assert (detail["old"], detail["new"]) == ({"n": 1}, {"n": 2})


@pytest.mark.parametrize("level", [pgtrigger.Row, pgtrigger.Statement])
def test_row_that_is_deleted(live, item, level):
    operation = pgtrigger.Delete | pgtrigger.Truncate
    model = item(pgtrigger.Protect(name="keep", operation=operation, condition=Q(old__twice=4), level=level))
    model.objects.create(n=1)
    model.objects.all().delete()
    model.objects.create(n=2)
    for write in (model.objects.all().delete, lambda: live.sql("TRUNCATE live_item")):
        with pytest.raises(InternalError, match="Cannot delete or truncate rows"):
            write()


@pytest.mark.parametrize("sql", ["NEW.twice = 4", 'OLD.n = 1 AND new . "twice" IS NULL'])
def test_sql_of_ones_own_names_what_the_row_holds(item, sql):
    """At row level, Postgres looks the expression up; transition tables hold nothing for it."""
    raw = pgtrigger.Q(old__n=7) | ~(pgtrigger.Condition(sql) & pgtrigger.AnyChange("n"))
    with pytest.raises(ConditionError, match="names twice, which Postgres computes when it is read"):
        item(pgtrigger.Protect(name="keep", operation=pgtrigger.Update, condition=raw, level=pgtrigger.Statement))
    item(
        pgtrigger.Protect(
            name="keep",
            operation=pgtrigger.Update,
            condition=pgtrigger.Condition("NEW.title = 'NEW.twice'"),
            level=pgtrigger.Statement,
        )
    )
