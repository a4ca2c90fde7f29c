"""An edited model cell alters the live table and keeps its data."""

from __future__ import annotations

import pytest
from django.db import connection

HEAD = """%%pgtrigger {options}
{decorator}
class Post(models.Model):
    {fields}
    class Meta:
        {meta}
"""


def cell(*fields, options="", decorator="", meta="triggers = []"):
    return HEAD.format(options=options, decorator=decorator, fields="\n    ".join(fields), meta=meta)


TITLE = "title = models.CharField(max_length=20)"
NUMBER = "n = models.IntegerField(default=1)"


def rows(shell, *fields):
    return list(shell["Post"].objects.order_by("pk").values_list(*fields))


def changes(frame):
    changed = frame[frame["action"] != "unchanged"]
    return list(zip(changed["object"], changed["kind"], changed["action"], strict=True))


def alter(words):
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE notebook_post {words}")


@pytest.fixture
def post(shell):
    shell.run(cell(TITLE, NUMBER))
    shell.run("Post.objects.create(title='a', n=5); Post.objects.create(title='b', n=7)")
    return shell


@pytest.mark.parametrize(
    ("fields", "expected", "names", "stored"),
    [
        (
            [TITLE, NUMBER, "k = models.TextField(default='x')"],
            "create",
            ("title", "k"),
            [("a", "x"), ("b", "x")],
        ),
        (
            [TITLE, NUMBER, "k = models.TextField(null=True)"],
            "create",
            ("title", "k"),
            [("a", None), ("b", None)],
        ),
        ([TITLE, "n = models.TextField(default='1')"], "alter", ("title", "n"), [("a", "5"), ("b", "7")]),
        ([TITLE.replace("20", "30"), NUMBER], "alter", ("title", "n"), [("a", 5), ("b", 7)]),
        (
            [TITLE, NUMBER, "now = models.DateTimeField(db_default=models.functions.Now())"],
            "create",
            ("title",),
            [("a",), ("b",)],
        ),
    ],
)
def test_edited_field_alters_the_table_and_keeps_rows(post, fields, expected, names, stored):
    frame = post.run(cell(*fields))
    assert expected in {action for _, kind, action in changes(frame) if kind == "column"}
    assert rows(post, *names) == stored
    assert changes(post.run(cell(*fields))) == []


def test_rename_option_keeps_the_data(post):
    renamed = TITLE.replace("title", "headline")
    assert "--rename Post.title=NEW_NAME" in str(post.error(cell(renamed, NUMBER)))
    post.run(cell(renamed, NUMBER, options="--rename Post.title=headline"))
    assert rows(post, "headline") == [("a",), ("b",)]
    assert changes(post.run(cell(renamed, NUMBER))) == []


def test_column_with_data_is_dropped_only_when_allowed(post):
    assert "--allow-data-loss" in str(post.error(cell(TITLE)))
    assert rows(post, "n") == [(5,), (7,)]
    post.run(cell(TITLE, options="--allow-data-loss"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM notebook_post")
        assert [column.name for column in cursor.description] == ["id", "title"]


def test_empty_column_is_dropped_without_asking(shell):
    shell.run(cell(TITLE, NUMBER))
    assert ("notebook.Post.n", "column", "drop") in changes(shell.run(cell(TITLE)))


def test_not_null_without_default_is_refused_where_there_are_rows(post):
    message = str(post.error(cell(TITLE, NUMBER, "k = models.IntegerField()")))
    assert "null=True" in message
    assert "default=" in message
    assert rows(post, "title", "n") == [("a", 5), ("b", 7)]


def test_not_null_without_default_is_added_to_an_empty_table(shell):
    shell.run(cell(TITLE))
    shell.run(cell(TITLE, "k = models.IntegerField()"))
    shell.run("Post.objects.create(title='a', k=3)")


def test_value_that_does_not_convert_leaves_everything_as_it_was(post):
    message = str(post.error(cell("title = models.IntegerField()", NUMBER)))
    assert "notebook.Post.title" in message
    assert rows(post, "title", "n") == [("a", 5), ("b", 7)]
    assert changes(post.run(cell(TITLE, NUMBER))) == []


GUARD = 'triggers = [pgtrigger.Protect(name="guard", operation=pgtrigger.Update, condition=pgtrigger.Q(old__n={}))]'


def test_column_that_a_condition_uses_is_retyped_with_its_trigger(shell):
    shell.run(cell(TITLE, NUMBER, meta=GUARD.format(5)))
    shell.run("Post.objects.create(title='a', n=5)")
    alter("DISABLE TRIGGER USER")
    shell.run(cell(TITLE, "n = models.TextField(default='1')", meta=GUARD.format("'5'")))
    assert shell["Post"].objects.update(title="b") == 1, "it was disabled, and stays so"
    alter("ENABLE TRIGGER USER")
    assert "Cannot update" in str(shell.error("Post.objects.update(title='c')"))


def test_trigger_of_another_cell_survives_a_retyped_column(shell):
    shell.run(cell(TITLE, NUMBER))
    shell.run(
        "%%pgtrigger\npgtrigger.register(pgtrigger.Protect(name='other', operation=pgtrigger.Delete,"
        " condition=pgtrigger.Q(old__n=5)))(Post)"
    )
    shell.run(cell(TITLE, NUMBER.replace("Integer", "BigInteger")))
    shell.run("Post.objects.create(title='a', n=5)")
    assert "Cannot delete" in str(shell.error("Post.objects.all().delete()"))


def test_evolution_skips_this_notebooks_triggers(shell):
    meta = 'triggers = [pgtrigger.Protect(name="never", operation=pgtrigger.Update)]'
    nullable = "k = models.IntegerField(null=True)"
    shell.run(cell(TITLE, nullable, meta=meta))
    shell.run("Post.objects.create(title='a')")
    frame = shell.run(cell(TITLE, "k = models.IntegerField(default=4)", meta=meta))
    assert list(frame.attached.values()) == [["The update that fills the column skips this notebook's triggers."]]
    assert rows(shell, "k") == [(4,)]
    assert "Cannot update" in str(shell.error("Post.objects.update(title='b')")), "and they are back"


def test_indexes_and_constraints_follow_the_declaration(post):
    meta = (
        "indexes = [models.Index(fields=['n'], name='by_n')]; "
        "constraints = [models.CheckConstraint(condition=models.Q(n__gt=1), name='positive')]"
    )
    assert changes(post.run(cell(TITLE, NUMBER, meta=meta)))[1:] == [
        ("notebook.Post.by_n", "index", "create"),
        ("notebook.Post.positive", "constraint", "create"),
    ]
    assert "positive" in str(post.error("Post.objects.create(title='c', n=0)"))
    assert {action for _, _, action in changes(post.run(cell(TITLE, NUMBER)))} == {"alter", "drop"}


def test_event_table_follows_its_model(shell):
    track = "@pghistory.track()"
    shell.run(cell(TITLE, NUMBER, decorator=track))
    shell.run("Post.objects.create(title='a')")
    renamed = TITLE.replace("title", "headline")
    shell.run(cell(renamed, NUMBER, decorator=track, options="--rename Post.title=headline"))
    shell.run("Post.objects.update(headline='b')")
    assert list(shell["PostEvent"].objects.order_by("pgh_id").values_list("headline", flat=True)) == [
        "a",
        "b",
    ]


def context_indexes():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT am.amname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid "
            "JOIN pg_am AS am ON am.oid = c.relam JOIN pg_attribute AS a ON a.attrelid = c.oid "
            "WHERE i.indrelid = 'notebook_postevent'::regclass AND a.attname = 'pgh_context_id'"
        )
        return [name for (name,) in cursor.fetchall()]


def test_index_on_the_context_follows_the_declaration(shell):
    by_tree = "@pghistory.track(context_field=pghistory.ContextForeignKey(db_index=True))"
    # As releases before this one made it, under the name that the present one has.
    former = """@pghistory.track(meta={'indexes': [models.Index(
        fields=['pgh_context'], name=next(index.name for index in Post.pgh_event_model._meta.indexes
        if index.fields == ['pgh_context']), condition=models.Q(pgh_context__isnull=False))]})"""
    shell.run(cell(TITLE, decorator="@pghistory.track()"))
    shell.run("with pghistory.context(user=1): Post.objects.create(title='a')")
    for track, expected in (
        (former, ["btree"]),
        ("@pghistory.track()", ["brin"]),
        (by_tree, ["btree"]),
        ("@pghistory.track()", ["brin"]),
    ):
        shell.run(cell(TITLE, decorator=track))
        assert context_indexes() == expected
        assert changes(shell.run(cell(TITLE, decorator=track))) == []
    assert shell.run("Post.pgh_event_model.objects.filter(pgh_context__metadata__user=1).count()") == 1


def test_dry_run_shows_the_alterations_and_makes_none(post):
    frame = post.run(cell(TITLE, NUMBER, "k = models.TextField(default='x')", options="--dry-run"))
    assert ("notebook.Post.k", "column", "create") in changes(frame)
    assert set(frame["status"]) == {"planned"}
    assert changes(post.run(cell(TITLE, NUMBER))) == []


EDITS = {
    "DROP COLUMN n": "compared with the model, it lacks n.",
    "ADD COLUMN m int, DROP COLUMN n": "compared with the model, it lacks n and has also m.",
    "ALTER COLUMN n TYPE bigint": "has a column of another type, or with another NOT NULL.",
    "ALTER COLUMN n DROP NOT NULL": "has a column of another type, or with another NOT NULL.",
}


@pytest.mark.parametrize("edit", EDITS)
def test_plan_shows_where_somebody_changed_the_table(post, edit):
    def notes(frame):
        [row] = frame.index[frame["kind"] == "table"]
        return frame.lines_of(row)

    assert notes(post.run(cell(TITLE, NUMBER))) == []
    alter(edit)
    frame = post.run(cell(TITLE, NUMBER))
    [line] = notes(frame)
    assert line.startswith("Somebody changed notebook_post in the database after pgmagic did: ")
    assert line.endswith(EDITS[edit])
    assert changes(frame) == []
    wider = post.run(cell(TITLE.replace("20", "30"), NUMBER, options="--dry-run"))
    assert notes(wider) == [line]


def test_pgmagics_own_alteration_does_not_count_as_an_edit(post):
    for fields in (
        [TITLE, NUMBER.replace("Integer", "BigInteger")],
        [TITLE, NUMBER, "k = models.TextField(default='')"],
    ):
        post.run(cell(*fields, options="--allow-data-loss"))
        frame = post.run(cell(*fields))
        assert frame.attached == {}


def test_state_table_of_an_earlier_release_is_read_and_extended(post):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE pgmagic_model DROP COLUMN stored")
    assert changes(post.run(cell(TITLE, NUMBER))) == []
    post.run(cell(TITLE.replace("20", "30"), NUMBER))
    alter("DROP COLUMN n")
    assert post.run(cell(TITLE.replace("20", "30"), NUMBER)).attached != {}


IGNORING = """
import psycopg
from django.db import transaction, connection
with pgtrigger.ignore("notebook.Post:keep"), transaction.atomic():
    get_ipython().run_cell(EDITED).raise_error()
    told = psycopg.Cursor(connection.connection).execute("SELECT current_setting('pgmagic.ignore')").fetchone()[0]
    Post.objects.all().delete()
"""


@pytest.mark.parametrize("edited", ["Post", "Other"])
def test_ignore_in_the_users_transaction_stays_as_it_was(post, edited):
    """The evolution's own updates pass all triggers by, and the rest of the transaction is the user's."""
    keep = "triggers = [pgtrigger.Protect(name='keep', operation=pgtrigger.Delete)]"
    post.run(cell(TITLE, "n = models.IntegerField(null=True)", meta=keep))
    meta = keep if edited == "Post" else "pass"
    post.run(cell(TITLE, "n = models.IntegerField(null=True)", meta=meta).replace("Post", edited))
    post.run(f"EDITED = {cell(TITLE, 'n = models.IntegerField(default=3)', meta=meta).replace('Post', edited)!r}")
    post.run(IGNORING)
    assert "pgtrigger_keep_" in post["told"]
    assert rows(post, "title") == []
    post.run("Post.objects.create(title='c', n=1)")
    assert "Cannot delete" in str(post.error("Post.objects.all().delete()"))


GENERATED = """%%pgtrigger
@pghistory.track(pghistory.Snapshot())
class Line(models.Model):
    price = models.IntegerField(default=0)
    {}
"""


def test_tracked_generated_field_is_recorded_in_an_ordinary_column(shell, schema):
    def field(times, kind="Integer"):
        return (
            f"total = models.GeneratedField(expression=models.F('price') * {times}, "
            f"output_field=models.{kind}Field(), db_persist=True)"
        )

    shell.run(GENERATED.format(""))
    shell.run("line = Line.objects.create(price=1)")
    for number, text in enumerate(
        [field(2), field(3), field(3, "BigInteger"), "total = models.IntegerField(null=True)"]
    ):
        shell.run(GENERATED.format(text))
        shell.run(f"Line.objects.filter(pk=line.pk).update(price={number + 2})")
    recorded = shell.run("list(LineEvent.objects.order_by('pgh_id').values_list('price', 'total'))")
    assert recorded == [(1, None), (2, 4), (3, 9), (4, 12), (5, None)]
