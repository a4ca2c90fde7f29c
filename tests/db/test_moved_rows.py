"""Rows that an UPDATE moves to another partition, where a trigger of that partition keeps one of them out.

Such a row is in the OLD table and not in the NEW one, so that all rows after it would be paired with another's state.
"""

from __future__ import annotations

import pytest
from django.db import InternalError, models

from pgmagic import pghistory, pgtrigger
from pgmagic.db import backend
from pgmagic.declare.model_registry import redeclaring
from tests.db.live import LABEL
from tests.db.test_ready_made import rejection
from tests.db.test_statement_level import composer

FIELDS = {
    "id": models.IntegerField(primary_key=True),
    "place": models.IntegerField(),
    "title": models.TextField(),
    "note": models.TextField(default=""),
}
STATEMENT = {"level": pgtrigger.Statement}
UNPAIRED = "pgtrigger: Cannot tell what became of each row of parcel: a BEFORE INSERT trigger kept a row out of "


@pytest.fixture
def parcel(live):
    """Declares a model whose second partition refuses what is called `kept out`, without a word."""
    live.sql(
        "CREATE TABLE parcel (id int, place int, title text, note text) PARTITION BY LIST (place);"
        "CREATE TABLE here PARTITION OF parcel FOR VALUES IN (1);"
        "CREATE TABLE there PARTITION OF parcel FOR VALUES IN (2);"
        "CREATE FUNCTION keep_out() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN IF NEW.title = 'kept out' THEN RETURN NULL; END IF; RETURN NEW; END$$;"
        "CREATE TRIGGER keep_out BEFORE INSERT ON there FOR EACH ROW EXECUTE FUNCTION keep_out();"
        "INSERT INTO parcel VALUES (1, 1, 'a', ''), (2, 1, 'kept out', ''), (3, 1, 'c', ''), (4, 1, 'd', '')"
    )

    def declare(*triggers):
        return live.declare("Parcel", triggers, meta={"managed": False, "db_table": "parcel"}, **FIELDS)

    return declare


RULES = {
    # Paired one place off, the titles of the third row and the fourth would seem to change.
    "read-only": pgtrigger.ReadOnly(name="rule", fields=["title"], **STATEMENT),
    # One place off, this would be true of no pair.
    "conditional": pgtrigger.Protect(
        name="rule",
        operation=pgtrigger.Update,
        condition=pgtrigger.Q(old__title="d", new__title="d"),
        **STATEMENT,
    ),
    "unconditional": pgtrigger.Protect(name="rule", operation=pgtrigger.Update, **STATEMENT),
}


@pytest.mark.parametrize("rule", RULES)
def test_rule_never_judges_by_other_rows(live, parcel, rule):
    parcel(RULES[rule])
    before = live.sql("SELECT * FROM parcel ORDER BY id")
    diag = rejection(lambda: live.sql("UPDATE parcel SET place = 2")).diag
    assert diag.message_primary.startswith(UNPAIRED)
    assert (diag.table_name, diag.constraint_name) == ("parcel", "live.Parcel:rule")
    assert "pgtrigger.Row" in diag.message_hint
    assert live.sql("SELECT * FROM parcel ORDER BY id") == before


def test_rule_judges_moved_rows_unless_one_is_kept_out(live, parcel):
    parcel(RULES["read-only"])
    live.sql("UPDATE parcel SET place = 2, note = 'moved' WHERE title <> 'kept out'")
    assert live.sql("SELECT count(*) FROM there") == [(3,)]
    diag = rejection(lambda: live.sql("UPDATE parcel SET place = 1, title = 'x' WHERE id = 3")).diag
    assert diag.message_primary == "pgtrigger: Cannot update rows from parcel table"
    assert '"key": {"id": 3}' in diag.message_detail


@pytest.mark.parametrize("template", ["cond_joined_values", "cond_old_values", "cond_new_values"])
def test_composer_gets_only_pairs_that_exist(live, parcel, template):
    live.sql("CREATE TABLE seen (title text)")
    side = "old_values" if template == "cond_old_values" else "new_values"
    func = pgtrigger.Func(f"INSERT INTO seen SELECT {side}.title FROM {{{template}}}; RETURN NULL;")
    parcel(composer(pgtrigger.Update, func, condition=pgtrigger.AnyChange("note")))
    live.sql("UPDATE parcel SET place = 2, note = 'moved' WHERE id = 1")
    assert live.sql("SELECT * FROM seen") == [("a",)]
    with pytest.raises(InternalError, match="Cannot tell what became of each row of parcel"):
        live.sql("UPDATE parcel SET place = 2, note = 'moved' WHERE place = 1")


def test_composer_without_pairs_sees_what_the_tables_hold(live, parcel):
    live.sql("CREATE TABLE seen (title text)")
    func = pgtrigger.Func(
        "INSERT INTO seen SELECT 'old ' || title FROM old_values"
        " UNION ALL SELECT 'new ' || new_values.title FROM {cond_new_values}; RETURN NULL;"
    )
    parcel(composer(pgtrigger.Update, func, condition=pgtrigger.Q(new__note="moved")))
    live.sql("UPDATE parcel SET place = 2, note = 'moved' WHERE id < 4")
    assert sorted(live.sql("SELECT * FROM seen")) == [
        ("new a",),
        ("new c",),
        ("old a",),
        ("old c",),
        ("old kept out",),
    ]


def test_history_shows_what_became_of_each_row(live, parcel):
    """On a table with partitions, it is recorded row by row: what is moved is a delete and an insert."""
    parcel()
    with redeclaring(LABEL, "live_cell") as declaration:
        with declaration.collecting():
            model = type("Parcel", (models.Model,), {
                "__module__": "live_cell", **{name: field.clone() for name, field in FIELDS.items()},
                "Meta": type("Meta", (), {"managed": False, "db_table": "parcel"}),
            })  # fmt: skip
            pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent())(model)
        applied = live.apply(model, model.pgh_event_model)
    assert applied.error is None, applied.error
    assert backend.choice.schema == live.schema
    live.sql("UPDATE parcel SET place = 2, note = 'moved'")
    told = live.sql(
        f'SELECT pgh_label, id, title, note FROM "{model.pgh_event_model._meta.db_table}" ORDER BY id, pgh_label'
    )
    deleted = [("delete", number, title, "") for number, title in enumerate(("a", "kept out", "c", "d"), 1)]
    inserted = [("insert", number, title, "moved") for number, title in ((1, "a"), (3, "c"), (4, "d"))]
    assert told == sorted(deleted + inserted, key=lambda event: (event[1], event[0]))
