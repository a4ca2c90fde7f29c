"""A model or a table with a new name keeps its data, triggers, events and relations."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.db import connection

from pgmagic.declare import model_registry
from tests.notebook.test_declaring import world
from tests.notebook.test_evolving import changes
from tests.notebook.test_trigger_magic import here

POST = """%%pgtrigger {options}
@pghistory.track()
class {name}(models.Model):
    title = models.CharField(max_length=20)
    parent = models.ForeignKey("self", models.CASCADE, null=True)
    tags = models.ManyToManyField("Tag")
    {more}
    class Meta:
        {meta}
        triggers = [
            pgtrigger.Protect(name="keep", operation=pgtrigger.Delete, condition=pgtrigger.Q(old__title="keep")),
            pgtrigger.Protect(name="off", operation=pgtrigger.Delete),
        ]
"""
TAG = "%%pgtrigger\nclass Tag(models.Model):\n    name = models.TextField()\n"
COMMENT = "%%pgtrigger\nclass Comment(models.Model):\n    post = models.ForeignKey({}, models.CASCADE, null=True)\n"
LATE = "%%pgtrigger\npgtrigger.register(pgtrigger.Protect(name='late', operation=pgtrigger.Update))({})"


def post(name="Post", options="", more="", meta=""):
    return POST.format(name=name, options=options, more=more, meta=meta)


def rename(**changes_):
    return post("Article", "--rename Post=Article", **changes_)


def restart(shell):
    """Forget what a restarted kernel does not know."""
    model_registry.forget_label("notebook")
    for name in ("Post", "PostEvent", "Comment", "Tag"):
        shell.shell.user_ns.pop(name, None)


@pytest.fixture
def filled(shell):
    for cell in (TAG, post(), COMMENT.format("Post"), LATE.format("Post")):
        shell.run(cell)
    shell.run("%pgtrigger disable notebook.Post:off notebook.Post:late")
    shell.run(
        "a = Post.objects.create(title='keep'); b = Post.objects.create(title='b', parent=a)\n"
        "b.tags.add(Tag.objects.create(name='t')); Comment.objects.create(post=b)"
    )
    return shell


def triggers(shell):
    frame = here(shell.run("%pgtrigger ls notebook."))
    rows = map(tuple, frame[["name", "state", "enabled"]].to_numpy())
    return sorted(row for row in rows if row[0].endswith((":keep", ":late", ":off")))


def relations():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' "
            "AND relname LIKE 'notebook%' ORDER BY 1"
        )
        return [name for (name,) in cursor.fetchall()]


RENAMED = [
    "notebook_article",
    "notebook_article_tags",
    "notebook_articleevent",
    "notebook_comment",
    "notebook_tag",
]


@pytest.mark.parametrize("restarted", [False, True], ids=["same kernel", "restarted kernel"])
def test_renamed_model_keeps_rows_relations_events_and_triggers(filled, restarted):
    if restarted:
        restart(filled)
        filled.run(TAG)
    filled.run(rename())
    assert relations() == RENAMED
    filled.run(COMMENT.format("Article"))
    filled.run(LATE.format("Article"))
    article = filled["Article"]
    assert list(article.objects.order_by("pk").values_list("title", "parent__title")) == [
        ("keep", None),
        ("b", "keep"),
    ]
    assert [tag.name for tag in article.objects.get(title="b").tags.all()] == ["t"]
    assert article.objects.get(comment__isnull=False).title == "b"
    assert filled["ArticleEvent"].objects.count() == 2
    assert triggers(filled) == [
        ("notebook.Article:keep", "INSTALLED", True),
        ("notebook.Article:late", "INSTALLED", False),
        ("notebook.Article:off", "INSTALLED", False),
    ]
    assert "Cannot delete rows from notebook_article" in str(filled.error("Article.objects.get(title='keep').delete()"))
    filled.run("Article.objects.create(title='c'); Article.objects.get(title='b').delete()")
    assert filled["ArticleEvent"].objects.count() == 3
    assert filled["Comment"].objects.count() == 0


def test_rename_is_done_once(filled):
    filled.run(rename())
    assert changes(filled.run(rename())) == []
    assert changes(filled.run(post("Article"))) == []
    for cell in (COMMENT.format("Article"), LATE.format("Article"), TAG):
        assert changes(filled.run(cell)) == []


def test_names_that_held_the_former_class_hold_the_new_one(filled):
    filled.run(rename())
    assert filled["Post"] is filled["Article"]
    assert filled["PostEvent"] is filled["ArticleEvent"]
    with pytest.raises(LookupError):
        apps.get_model("notebook.Post")
    assert filled["Comment"]._meta.get_field("post").related_model is filled["Article"]


def test_rename_may_come_with_other_changes(filled):
    filled.run(
        rename(more="words = models.IntegerField(default=3)").replace(
            "--rename Post=Article", "--rename Post=Article --rename Post.title=headline"
        ).replace("title = models.CharField(max_length=20)", "headline = models.CharField(max_length=40)")
        .replace("old__title", "old__headline")
    )  # fmt: skip
    rows = filled["Article"].objects.order_by("pk").values_list("headline", "words")
    assert list(rows) == [("keep", 3), ("b", 3)]
    assert "Cannot delete rows" in str(filled.error("Article.objects.get(headline='keep').delete()"))
    assert set(filled["ArticleEvent"].objects.values_list("headline", flat=True)) == {"keep", "b"}


def test_without_the_hint_nothing_is_guessed(filled):
    filled.run(post("Article"))
    assert {"notebook_post", "notebook_article"} <= set(relations())
    assert filled["Article"].objects.count() == 0
    assert filled["Post"].objects.count() == 2


def test_renamed_table_keeps_its_rows(filled):
    filled.run(post(meta="db_table = 'My Posts'"))
    assert filled["Post"].objects.count() == 2
    assert "notebook_post" not in relations()
    assert triggers(filled) == [
        ("notebook.Post:keep", "INSTALLED", True),
        ("notebook.Post:late", "INSTALLED", False),
        ("notebook.Post:off", "INSTALLED", False),
    ]
    assert "Cannot delete rows from My Posts" in str(filled.error("Post.objects.get(title='keep').delete()"))
    assert changes(filled.run(post(meta="db_table = 'My Posts'"))) == []


def test_refused_rename_leaves_everything_as_it_was(filled):
    before = world()
    broken = rename(more="words = models.IntegerField()")
    assert "null=True" in str(filled.error(broken))
    assert world() == before
    assert filled["Post"].objects.count() == 2
    filled.run(rename())
    assert relations() == RENAMED


def test_dry_run_of_a_rename_changes_nothing(filled):
    before = world()
    frame = filled.run(post("Article", "--rename Post=Article --dry-run"))
    assert set(frame["status"]) == {"planned"}
    assert ("notebook.Post", "table", "alter") in changes(frame)
    after = world()
    for key in before:
        assert after[key] == before[key], key


def test_former_name_may_not_be_declared_together_with_the_new_one(filled):
    first = rename().replace(
        "@pghistory.track()", "class Post(models.Model):\n    x = models.TextField()\n@pghistory.track()"
    )
    assert "cannot be the former name of Article" in str(filled.error(first))
    assert filled["Post"].objects.count() == 2


@pytest.mark.parametrize("option", ["Post", "Post=", "=Article", "Post.a.b=c", "Post=Art icle", "Post.=x"])
def test_malformed_rename_option_is_reported_in_one_line(filled, option):
    assert "expected MODEL.FIELD=NEW or MODEL=NEW" in str(filled.error(post(options=f'--rename "{option}"')))
