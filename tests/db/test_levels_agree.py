"""A protection gives the same result for each row, for a whole statement, and for a model of it in Python."""

from __future__ import annotations

import json

import pytest
from django.db import models, transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pgmagic import pgtrigger
from pgmagic.errors import TriggerError
from tests.compile.test_predicate import COLUMNS, ROW, TREE, declared, value_of
from tests.db.live import Live

FIELDS = {
    "a": models.IntegerField(null=True),
    "b": models.IntegerField(null=True, db_column="b B"),
    "n": models.IntegerField(),
    "s": models.TextField(null=True),
    "t": models.TextField(),
}
# Every row is written in one statement, some with another key.
WRITE = """
UPDATE live_thing AS thing SET id = thing.id + given.moved, a = given.a, "b B" = given."b B", n = given.n, s = given.s,
  t = given.t
FROM jsonb_to_recordset(%s::jsonb) AS given(place int, moved int, a int, "b B" int, n int, s text, t text)
WHERE thing.id = given.place"""


def rejects(live: Live, statement: str, *params: object) -> bool:
    """Whether a trigger rejects the statement; it leaves nothing behind."""
    try:
        with transaction.atomic():
            live.sql(statement, list(params) or None)
            transaction.set_rollback(True)
    except TriggerError:
        return True
    return False


@pytest.mark.slow
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
@given(
    trees=st.lists(TREE, min_size=1, max_size=6),
    pairs=st.lists(st.tuples(ROW, ROW, st.sampled_from([0, 0, 100])), min_size=1, max_size=5),
)
def test_levels_agree_on_random_conditions_and_rows(live, trees, pairs):
    triggers = {
        (number, level): pgtrigger.Protect(
            name=f"{number} {level}", level=level, operation=pgtrigger.Update, condition=declared(tree)
        )
        for number, tree in enumerate(trees)
        for level in (pgtrigger.Row, pgtrigger.Statement)
    }
    model = live.declare("Thing", triggers.values(), **{name: field.clone() for name, field in FIELDS.items()})
    with pgtrigger.ignore():
        model.objects.all().delete()
    model.objects.bulk_create([model(pk=place, **old) for place, (old, _, _) in enumerate(pairs)])
    written = json.dumps([
        {"place": place, "moved": moved, **{COLUMNS[name]: value for name, value in new.items()}}
        for place, (_, new, moved) in enumerate(pairs)
    ])  # fmt: skip
    uris = {key: trigger.get_uri(model) for key, trigger in triggers.items()}
    for key, uri in uris.items():
        expected = any(value_of(trees[key[0]], {"old": old, "new": new}) is True for old, new, _ in pairs)
        with pgtrigger.ignore(*(other for other in uris.values() if other != uri)):
            assert rejects(live, WRITE, written) == expected, f"{uri}\n{trees[key[0]]}\n{pairs}"
