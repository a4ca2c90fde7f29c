"""Rules and functions that see a whole statement: Protect and ReadOnly at statement level, TRUNCATE, Composer."""

from __future__ import annotations

import json

import pytest
from django.db import models
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgmagic import pgtrigger
from pgmagic.errors import DeclarationError
from tests.db.test_ready_made import TRUNCATE, fields, rejection, ways

STATEMENT = {"level": pgtrigger.Statement}


@pytest.mark.parametrize("operation", ["insert", "update", "delete", "truncate"])
def test_protect_rejects_every_way_to_write(live, operation):
    trigger = pgtrigger.Protect(name="keep", operation=getattr(pgtrigger, operation.title()), **STATEMENT)
    model = live.declare("Post", [trigger], **fields())
    if operation != "insert":
        model.objects.create(pk=1000, title="a")
    for write in ways(live, model)[operation]:
        diag = rejection(write).diag
        assert diag.message_primary == f"pgtrigger: Cannot {operation} rows from live_post table"
        assert (diag.table_name, diag.constraint_name) == ("live_post", "live.Post:keep")


def test_protect_lets_a_statement_pass_that_touches_no_row(live):
    trigger = pgtrigger.Protect(name="keep", operation=pgtrigger.Update | pgtrigger.Delete, **STATEMENT)
    model = live.declare("Post", [trigger], **fields())
    assert model.objects.update(title="b") == 0
    assert model.objects.all().delete()[0] == 0


def test_conditional_protect_names_the_row(live):
    trigger = pgtrigger.Protect(
        name="keep",
        operation=pgtrigger.Update | pgtrigger.Delete | pgtrigger.Truncate,
        condition=pgtrigger.Q(old__title="o'k"),
        **STATEMENT,
    )
    model = live.declare("Post", [trigger], **fields())
    kept, other = model.objects.create(title="o'k", body="1"), model.objects.create(title="b", body="1")
    other.body = "2"
    other.save()
    error = rejection(lambda: model.objects.update(body="3"))
    assert error.diag.message_primary == "pgtrigger: Cannot update or delete or truncate rows from live_post table"
    assert json.loads(error.diag.message_detail) == {
        "operation": "update", "key": {"id": kept.pk}, "old": {"Body": "1"}, "new": {"Body": "3"},
    }  # fmt: skip
    detail = json.loads(rejection(lambda: live.sql("DELETE FROM live_post")).diag.message_detail)
    assert detail == {
        "operation": "delete", "key": {"id": kept.pk}, "old": {"id": kept.pk, "title": "o'k", "Body": "1"}, "new": None,
    }  # fmt: skip
    assert json.loads(rejection(lambda: live.sql(TRUNCATE)).diag.message_detail)["key"] == {"id": kept.pk}
    other.delete()


def test_insert_is_judged_by_the_new_row(live):
    trigger = pgtrigger.Protect(
        name="keep",
        operation=pgtrigger.Insert | pgtrigger.Update,
        condition=pgtrigger.Condition("NEW.title = 'b' OR false"),
        **STATEMENT,
    )
    model = live.declare("Post", [trigger], **fields())
    model.objects.create(title="a")
    detail = json.loads(
        rejection(lambda: model.objects.bulk_create([model(title="a"), model(title="b", body="%")])).diag.message_detail
    )
    assert (detail["operation"], detail["old"], detail["new"]["Body"]) == ("insert", None, "%")
    rejection(lambda: model.objects.update(title="b"))


@pytest.mark.parametrize("level", [pgtrigger.Row, pgtrigger.Statement])
@pytest.mark.parametrize("rekey", ["id = id + 100", "id = 3 - id", "id = id + 1", "id = id"])
def test_changing_the_key_is_no_way_around(live, level, rekey):
    """Line 9: a join on the key would not see these rows, or see others in their place."""
    model = live.declare(
        "Post",
        [pgtrigger.ReadOnly(name="fixed", fields=["title"], level=level)],
        title=models.TextField(),
        key=models.IntegerField(default=0),
    )
    live.sql("ALTER TABLE live_post DROP CONSTRAINT live_post_pkey")
    live.sql("INSERT INTO live_post (id, title, key) VALUES (1, 'a', 1), (2, 'b', 2)")
    live.sql(f"UPDATE live_post SET {rekey}, key = key + 1")
    assert sorted(live.sql("SELECT title FROM live_post")) == [("a",), ("b",)]
    detail = json.loads(
        rejection(lambda: live.sql(f"UPDATE live_post SET {rekey}, title = 'c' WHERE title = 'b'")).diag.message_detail
    )
    assert (detail["old"]["title"], detail["new"]["title"]) == ("b", "c")
    assert model.objects.filter(title="c").count() == 0


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keys=st.permutations(range(1, 7)),
    titles=st.lists(st.sampled_from("ab"), min_size=6, max_size=6),
)
def test_rows_are_paired_whatever_becomes_of_their_keys(paired, keys, titles):
    """Each row before a statement stands beside what became of it, for every permutation of the keys."""
    live, model = paired
    model.objects.all().delete()
    live.sql("INSERT INTO live_post (id, title, was) SELECT n, 'a', n FROM generate_series(1, 6) AS n")
    cases = " ".join(f"WHEN {old} THEN {new}" for old, new in zip(range(1, 7), keys, strict=True))
    words = " ".join(f"WHEN {old} THEN '{title}'" for old, title in zip(range(1, 7), titles, strict=True))
    live.sql("DELETE FROM live_seen")
    live.sql(f"UPDATE live_post SET id = CASE id {cases} END, title = CASE id {words} END")
    expected = [(old, new, old) for old, (new, title) in enumerate(zip(keys, titles, strict=True), 1) if title == "b"]
    assert sorted(live.sql("SELECT before, after, was FROM live_seen")) == expected


@pytest.fixture
def paired(live):
    model = live.declare(
        "Post",
        [
            pgtrigger.Composer(
                name="see",
                when=pgtrigger.After,
                operation=pgtrigger.Update,
                condition=pgtrigger.AnyChange("title"),
                func={
                    pgtrigger.Statement: pgtrigger.Func(
                        "INSERT INTO live_seen SELECT old_values.id, new_values.id, new_values.was"
                        " FROM {cond_joined_values}; RETURN NULL;"
                    )
                },
                **STATEMENT,
            )
        ],
        title=models.TextField(),
        was=models.IntegerField(),
    )
    live.sql("CREATE TABLE live_seen (before int, after int, was int)")
    live.sql("ALTER TABLE live_post DROP CONSTRAINT live_post_pkey")
    return live, model


def composer(operation, func, **changes):
    return pgtrigger.Composer(
        name="see", when=pgtrigger.After, operation=operation, func=func, **{**STATEMENT, **changes}
    )


NOTE = pgtrigger.Func("INSERT INTO live_seen SELECT {columns.title} FROM {cond_new_values}; RETURN NULL;")


def test_composer_takes_the_body_of_its_level(live):
    live.sql("CREATE TABLE live_seen (title text)")
    both = {
        pgtrigger.Row: "INSERT INTO live_seen SELECT NEW.title; RETURN NULL;",
        pgtrigger.Statement: "INSERT INTO live_seen SELECT count(*)::text FROM new_values; RETURN NULL;",
    }
    model = live.declare("Post", [composer(pgtrigger.Insert, both, level=pgtrigger.Row)], **fields())
    model.objects.bulk_create([model(title="a"), model(title="b")])
    assert live.sql("SELECT title FROM live_seen ORDER BY title") == [("a",), ("b",)]
    live.declare("Post", [composer(pgtrigger.Insert, both)], **fields()).objects.bulk_create(
        [model(title="a"), model(title="b")]
    )
    assert live.sql("SELECT title FROM live_seen ORDER BY title") == [("2",), ("a",), ("b",)]


def test_condition_chooses_the_rows_of_a_template(live):
    live.sql("CREATE TABLE live_seen (title text)")
    trigger = composer(pgtrigger.Insert | pgtrigger.Update, NOTE, condition=pgtrigger.Q(new__title__startswith="o'"))
    model = live.declare("Post", [trigger], **fields())
    model.objects.bulk_create([model(title="o'k"), model(title="b")])
    model.objects.filter(title="b").update(title="o'x")
    assert live.sql("SELECT title FROM live_seen") == [("o'k",), ("o'x",)]


def test_templates_keep_the_tables_own_columns(live):
    """`old_values.*` is a row of the table, so that it can be inserted into its copy."""
    live.sql("CREATE TABLE live_seen (id bigint, title text, body text, id2 bigint, title2 text, body2 text)")
    func = pgtrigger.Func(
        "INSERT INTO live_seen SELECT old_values.*, new_values.* FROM {cond_joined_values}"
        " AND new_values.title <> 'skip'; RETURN NULL;"
    )
    model = live.declare("Post", [composer(pgtrigger.Update, func, condition=pgtrigger.AnyChange("title"))], **fields())
    one, two = model.objects.create(title="a"), model.objects.create(title="b")
    model.objects.update(
        title=models.Case(models.When(pk=one.pk, then=models.Value("c")), default=models.Value("skip"))
    )
    assert live.sql("SELECT * FROM live_seen") == [(one.pk, "a", "", one.pk, "c", "")]
    assert two.pk != one.pk


def test_condition_in_a_function_does_not_follow_the_writers_path(live):
    """Operators in a body are names, too: they are those of the installation."""
    live.sql("CREATE TABLE live_seen (title text)")
    trigger = composer(pgtrigger.Insert, NOTE, condition=pgtrigger.Q(new__title="a"))
    guard = pgtrigger.Protect(
        name="keep", operation=pgtrigger.Delete, condition=pgtrigger.Q(old__title="a"), **STATEMENT
    )
    live.declare("Post", [trigger, guard], **fields())
    other = live.other(search_path="")
    table = f'"{live.schema}"."live_post"'
    other.execute(f"""INSERT INTO {table} (title, "Body") VALUES ('a', ''), ('b', '')""")
    assert live.sql("SELECT title FROM live_seen") == [("a",)]
    with pytest.raises(Exception, match="Cannot delete rows"):
        other.execute(f"DELETE FROM {table}")


@pytest.mark.parametrize(
    ("trigger", "sentence"),
    [
        (
            lambda: composer(pgtrigger.Delete, NOTE),
            'Composer trigger references NEW values, but operation "DELETE" doesn\'t allow for that: the '
            '"{cond_new_values}" of the trigger "see" needs the new row.',
        ),
        (
            lambda: composer(pgtrigger.Insert | pgtrigger.Update, NOTE, condition=pgtrigger.AnyChange("title")),
            'Composer trigger references OLD values, but operation "INSERT" doesn\'t allow for that: the '
            '"{cond_new_values}" of the trigger "see" needs the old row.',
        ),
        (
            lambda: composer(pgtrigger.Insert | pgtrigger.Truncate, NOTE),
            'The "{cond_new_values}" of the trigger "see" has no rows for TRUNCATE.',
        ),
        (
            lambda: composer(pgtrigger.Insert, NOTE, level=pgtrigger.Row),
            'The "{cond_new_values}" of the trigger "see" is for triggers at statement level',
        ),
        (
            lambda: composer(pgtrigger.UpdateOf("title"), NOTE),
            'The "{cond_new_values}" of the trigger "see" is for triggers at statement level',
        ),
        (
            lambda: composer(pgtrigger.Insert, {pgtrigger.Row: "RETURN NULL;"}),
            'The trigger "see" is declared for level pgtrigger.Statement, but has no func for it, only for pgtrigger.R',
        ),
        (
            lambda: composer(pgtrigger.Insert, NOTE, referencing=pgtrigger.Referencing(new="rows")),
            "Composer triggers do not support referencing declarations",
        ),
    ],
)
def test_rows_that_do_not_exist_are_refused_at_declaration(live, trigger, sentence):
    with pytest.raises(DeclarationError) as raised:
        live.try_declare("Post", [trigger()], **fields())
    assert str(raised.value).startswith(sentence)


@pytest.mark.parametrize(
    ("operation", "template", "row"),
    [
        (pgtrigger.Insert, "cond_old_values", "OLD"),
        (pgtrigger.Insert, "cond_joined_values", "OLD"),
        (pgtrigger.Insert | pgtrigger.Update, "cond_old_values", "OLD"),
        (pgtrigger.Delete, "cond_new_values", "NEW"),
    ],
)
@pytest.mark.parametrize("by_level", [False, True])
def test_composer_refuses_rows_that_do_not_exist_when_it_is_made(operation, template, row, by_level):
    func = pgtrigger.Func(f"PERFORM count(*) FROM {{{template}}}; RETURN NULL;")
    sentence = f"Composer trigger references {row} values, but operation"
    with pytest.raises(ValueError, match=sentence):
        composer(operation, {pgtrigger.Statement: func} if by_level else func)


@pytest.mark.parametrize("level", [pgtrigger.Row, pgtrigger.Statement])
def test_truncate_is_judged_by_the_rows_that_it_would_remove(live, level):
    trigger = pgtrigger.Protect(
        name="keep",
        operation=pgtrigger.Delete | pgtrigger.Truncate,
        condition=pgtrigger.Q(old__title="o'k"),
        level=level,
    )
    model = live.declare("Post", [trigger], **fields())
    model.objects.create(title="b")
    live.sql(TRUNCATE)
    kept = model.objects.create(title="o'k")
    detail = json.loads(rejection(lambda: live.sql(TRUNCATE)).diag.message_detail)
    assert (detail["operation"], detail["key"]) == ("truncate", {"id": kept.pk})
    with pgtrigger.ignore("live.Post:keep"):
        live.sql(TRUNCATE)
    assert not model.objects.exists()


def test_row_that_cascades_change_twice_is_two_rows(live):
    """Two keys of a row that a delete sets to NULL: Postgres gives both updates to one statement-level trigger."""
    live.sql("CREATE TABLE live_seen (author bigint, editor bigint, author_after bigint, editor_after bigint)")
    columns = ", ".join(f"{row}.{{columns.{name}}}" for row in ("old_values", "new_values") for name in KEYS)
    func = pgtrigger.Func(f"INSERT INTO live_seen SELECT {columns} FROM {{cond_joined_values}}; RETURN NULL;")
    person = live.declare("Person", name=models.TextField())
    post = live.declare(
        "Post",
        [composer(pgtrigger.Update, func, condition=pgtrigger.AnyChange())],
        **{key: models.ForeignKey(person, models.DO_NOTHING, null=True, related_name="+") for key in KEYS},
    )
    for key in KEYS:
        live.sql(f"ALTER TABLE live_post ADD FOREIGN KEY ({key}_id) REFERENCES live_person ON DELETE SET NULL")
    one, two = person.objects.create(name="a"), person.objects.create(name="b")
    post.objects.create(author=one, editor=one)
    post.objects.create(author=two, editor=one)
    drop_constraints_without_action(live)
    live.sql("DELETE FROM live_person WHERE id = %s", [one.pk])
    seen = sorted(live.sql("SELECT * FROM live_seen"), key=str)
    assert len(seen) == 3
    first, second = sorted((row for row in seen if two.pk not in row), key=lambda row: row.count(None))
    # The second change starts where the first one ended.
    assert (first[:2], second[:2], second[2:]) == ((one.pk, one.pk), first[2:], (None, None))
    assert (two.pk, one.pk, two.pk, None) in seen


KEYS = ("author", "editor")


def drop_constraints_without_action(live):
    """Django's own foreign keys would refuse the delete at the end of the transaction."""
    for (statement,) in live.sql(
        "SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) FROM pg_constraint"
        " WHERE conrelid = 'live_post'::regclass AND contype = 'f' AND confdeltype = 'a'"
    ):
        live.sql(statement)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rule", "function", "function without a condition"])
def test_many_rows_after_small_statements_take_no_longer(live, kind):
    """PL/pgSQL keeps the plan of the first statements: a nested loop would then take minutes for so many rows."""
    func = pgtrigger.Func("PERFORM count(*) FROM {cond_joined_values}; RETURN NULL;")
    condition = pgtrigger.AnyChange("body") if kind == "function" else None
    rule = pgtrigger.ReadOnly(name="fixed", fields=["title"], **STATEMENT)
    trigger = rule if kind == "rule" else composer(pgtrigger.Update, func, condition=condition)
    live.declare("Post", [trigger], **fields())
    live.sql("INSERT INTO live_post (title, \"Body\") SELECT 'a', 'b' FROM generate_series(1, 30000)")
    live.sql("ANALYZE live_post")
    for number in range(8):
        live.sql(f"UPDATE live_post SET \"Body\" = '{number}' WHERE id = {number + 1}")
    live.sql("SET statement_timeout = '8s'")
    try:
        live.sql("UPDATE live_post SET \"Body\" = 'c'")
    finally:
        live.sql("RESET statement_timeout")
