"""What an edited model asks of its table besides columns: keys, generated columns, relations, constraints, triggers."""

from __future__ import annotations

import pytest
from django.db import connection

from tests.notebook.test_evolving import NUMBER, TITLE, cell, changes
from tests.notebook.test_trigger_magic import here

TAG = "class Tag(models.Model):\n    name = models.TextField()\n"
TAGS = "tags = models.ManyToManyField('Tag')"
BY_TAG = "tag = models.ForeignKey('Tag', models.CASCADE, null=True)"
INTEGER = "output_field=models.IntegerField(), db_persist=True"
GENERATED = f"g = models.GeneratedField(expression=models.F('n') + {{}}, {INTEGER})"

# first fields, edited fields, first and edited Meta, options, stored rows in the order of the key
EVOLUTIONS = {
    "unique together": ([TITLE, NUMBER], [TITLE, NUMBER], "", "unique_together = [('title', 'n')]", "", None),
    "no longer unique together": ([TITLE, NUMBER], [TITLE, NUMBER], "unique_together = [('title', 'n')]", "", "", None),
    "unique": ([TITLE, NUMBER], [TITLE.replace("20", "20, unique=True"), NUMBER], "", "", "", None),
    "index": ([TITLE, NUMBER], [TITLE.replace("20", "20, db_index=True"), NUMBER], "", "", "", None),
    "no index": ([TITLE.replace("20", "20, db_index=True"), NUMBER], [TITLE, NUMBER], "", "", "", None),
    "database default": ([TITLE, NUMBER], [TITLE, "n = models.IntegerField(db_default=9)"], "", "", "", None),
    "generated": ([TITLE, NUMBER], [TITLE, NUMBER, GENERATED.format(1)], "", "", "", [("a", 5, 6), ("b", 7, 8)]),
    "generated otherwise": (
        [TITLE, NUMBER, GENERATED.format(1)], [TITLE, NUMBER, GENERATED.format(2)], "", "", "",
        [("a", 5, 7), ("b", 7, 9)],
    ),
    "not generated": ([TITLE, NUMBER, GENERATED.format(1)], [TITLE, NUMBER], "", "", "", None),
    "many-to-many": ([TITLE, NUMBER], [TITLE, NUMBER, TAGS], "", "", "", None),
    "no many-to-many": ([TITLE, NUMBER, TAGS], [TITLE, NUMBER], "", "", "", None),
    "foreign key": ([TITLE, NUMBER], [TITLE, NUMBER, BY_TAG], "", "", "", [("a", 5, None), ("b", 7, None)]),
    "number for a foreign key": (
        [TITLE, NUMBER, BY_TAG], [TITLE, NUMBER, "tag = models.IntegerField(null=True)"], "", "", "",
        [("a", 5, None), ("b", 7, None)],
    ),
    "another key": (
        [TITLE, NUMBER], [TITLE.replace("20", "20, primary_key=True"), NUMBER], "", "", "--allow-data-loss", None,
    ),
    "key renamed": (
        [TITLE, NUMBER], ["key = models.BigAutoField(primary_key=True)", TITLE, NUMBER], "", "",
        "--rename Post.id=key", None,
    ),
    "column of another name": (
        [TITLE, NUMBER], [TITLE, "n = models.IntegerField(default=1, db_column='My N')"], "", "", "", None,
    ),
    "renamed and retyped": (
        [TITLE, NUMBER], [TITLE, "m = models.TextField(default='1')"], "", "", "--rename Post.n=m",
        [("a", "5"), ("b", "7")],
    ),
    "no longer null": (
        [TITLE, "n = models.IntegerField(null=True)"], [TITLE, "n = models.IntegerField()"], "", "", "", None,
    ),
    "ordered": ([TITLE, NUMBER, BY_TAG], [TITLE, NUMBER, BY_TAG], "", "order_with_respect_to = 'tag'", "",
                [("a", 5, None, 0), ("b", 7, None, 0)]),
}  # fmt: skip


def stored():
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM notebook_post ORDER BY title")
        names = [column.name for column in cursor.description]
        kept = [number for number, name in enumerate(names) if name not in ("id", "key")]
        return [tuple(row[number] for number in kept) for row in cursor.fetchall()]


def with_tags(text):
    return text.replace("\nclass Post", f"\n{TAG}class Post", 1)


@pytest.mark.parametrize("name", EVOLUTIONS)
def test_table_follows_and_rows_stay(shell, name):
    first, edited, meta, new_meta, options, rows = EVOLUTIONS[name]
    shell.run(with_tags(cell(*first, meta=meta or "pass")))
    shell.run("Post.objects.create(title='a', n=5); Post.objects.create(title='b', n=7)")
    text = with_tags(cell(*edited, meta=new_meta or "pass", options=options))
    frame = shell.run(text)
    assert set(frame["status"]) == {"done"}
    assert changes(frame) != []
    assert stored() == (rows or [("a", 5), ("b", 7)])
    assert changes(shell.run(text)) == []
    shell.run("[post.save() for post in Post.objects.all()]")


def test_many_to_many_table_with_data_is_dropped_only_when_allowed(shell):
    shell.run(with_tags(cell(TITLE, TAGS)))
    shell.run("Post.objects.create(title='a').tags.add(Tag.objects.create(name='t'))")
    message = str(shell.error(with_tags(cell(TITLE))))
    assert "notebook_post_tags" in message
    assert "--allow-data-loss" in message
    assert shell.run("Post.objects.get().tags.count()") == 1
    shell.run(with_tags(cell(TITLE, options="--allow-data-loss")))
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('notebook_post_tags')")
        assert cursor.fetchone() == (None,)


def test_change_that_django_cannot_make_is_reported_in_one_line(shell):
    before = with_tags(cell(TITLE, TAGS))
    shell.run(before)
    through = (
        "class Tagging(models.Model):\n"
        "    post = models.ForeignKey('Post', models.CASCADE)\n    tag = models.ForeignKey('Tag', models.CASCADE)\n"
    )
    error = shell.error(with_tags(cell(TITLE, TAGS.replace("'Tag'", "'Tag', through='Tagging'"))) + through)
    assert type(error).__name__ == "UsageError"
    assert "Django cannot carry out this change of a table: " in str(error)
    assert changes(shell.run(before)) == []


NEW_TYPES = ["models.BigIntegerField(default=1, db_column='Some N')", "models.TextField(db_column='Some N')"]


@pytest.mark.parametrize("new", NEW_TYPES)
@pytest.mark.parametrize("state", ["D", "A", "R"])
def test_retyped_column_keeps_trigger_comment_and_state_on_a_mixed_case_table(shell, new, state):
    meta = (
        "db_table = 'My Posts'; triggers = ["
        "pgtrigger.Protect(name='guard', operation=pgtrigger.Update, condition=pgtrigger.Q(old__n={0})),"
        "pgtrigger.Protect(name='of', operation=pgtrigger.UpdateOf('n'), condition=pgtrigger.AnyChange('n'))]"
    )
    shell.run(cell(TITLE, "n = models.IntegerField(default=1, db_column='Some N')", meta=meta.format(5)))
    shell.run(
        "%%pgtrigger\npgtrigger.register(pgtrigger.Protect(name='other', operation=pgtrigger.Delete,"
        " condition=pgtrigger.Q(old__n__isnull=True)))(Post)"
    )
    words = {"D": "DISABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA"}[state]
    with connection.cursor() as cursor:
        cursor.execute("SELECT tgname FROM pg_trigger WHERE tgrelid = '\"My Posts\"'::regclass AND NOT tgisinternal")
        for (name,) in cursor.fetchall():
            cursor.execute(f'ALTER TABLE "My Posts" {words} TRIGGER "{name}"')
    value = "'5'" if "Text" in new else "5"
    shell.run(cell(TITLE, f"n = {new}", meta=meta.format(value)))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT tgenabled::text, obj_description(tgfoid, 'pg_proc') LIKE '{\"pgmagic\"%%' FROM pg_trigger "
            "WHERE tgrelid = '\"My Posts\"'::regclass AND NOT tgisinternal"
        )
        assert cursor.fetchall() == [(state, True)]
    frame = here(shell.run("%pgtrigger ls notebook.Post:"))
    assert set(frame["state"]) == {"INSTALLED"}
    assert set(frame["enabled"]) == {state == "A"}
    assert len(frame) == 3


COMMENTED = """%%pgtrigger
class Post(models.Model):
    title = models.TextField(db_comment={0!r})
    class Meta:
        db_table_comment = {0!r}
"""


@pytest.mark.parametrize(("before", "after"), [("", "50 % of 'x' %s ü"), ("50 %", "51 %%"), ("50 %", "")])
def test_comment_with_a_percent_sign(shell, before, after):
    """Django's schema editor takes it for the place of a parameter."""
    for comment in (before, after):
        shell.run(COMMENTED.format(comment))
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT obj_description('notebook_post'::regclass), col_description('notebook_post'::regclass, 2)"
            )
            assert cursor.fetchone() == (comment or None, comment or None)


def test_new_column_with_percent_signs(shell):
    shell.run(COMMENTED.format(""))
    field = "    body = models.TextField(default='50%', db_default='7 % of %s', db_comment='50 % %s')\n    class"
    shell.run(COMMENTED.format("").replace("    class", field))
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO notebook_post (title) VALUES ('a') RETURNING body")
        assert cursor.fetchone() == ("7 % of %s",)
        cursor.execute("SELECT col_description('notebook_post'::regclass, 3)")
        assert cursor.fetchone() == ("50 % %s",)
