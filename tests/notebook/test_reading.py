"""`%pghistory`: events and diffs of what cells did, as DataFrames."""

from __future__ import annotations

import pytest

CELL = """%%pgtrigger
@pghistory.track(pghistory.Snapshot(), pghistory.AfterUpdate("retitled", condition=pgtrigger.AnyChange("title")))
class Post(models.Model):
    title = models.CharField(max_length=20)
    n = models.IntegerField(null=True)
"""


@pytest.fixture
def post(shell):
    shell.run(CELL)
    shell.run("""
post = Post.objects.create(title="a")
with pghistory.context(user="anna", amount=3):
    Post.objects.update(n=4)
Post.objects.update(title="b")
other = Post.objects.create(title="z")
""")
    return shell


def labels(frame):
    return list(frame["pgh_label"])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Post", ["snapshot", "snapshot", "retitled", "snapshot", "snapshot"]),
        ("post", ["snapshot", "snapshot", "retitled", "snapshot"]),
        ("notebook.post", ["snapshot", "snapshot", "retitled", "snapshot", "snapshot"]),
        ("PostEvent", ["snapshot", "snapshot", "retitled", "snapshot", "snapshot"]),
        ("Post --label retitled", ["retitled"]),
        ("Post --context user=anna", ["snapshot"]),
        ("Post --context amount=3 --context user=anna", ["snapshot"]),
        ("Post --context user=nobody", []),
        ("Post --since 2001-01-01 --until 2002-01-01", []),
        ("Post --since 2001-01-01", ["snapshot", "snapshot", "retitled", "snapshot", "snapshot"]),
    ],
)
def test_options_choose_the_events(post, line, expected):
    frame = post.run(f"%pghistory {line}")
    # One update fires two triggers, whose order is that of their names.
    assert sorted(labels(frame)) == sorted(expected)
    assert list(frame["pgh_id"]) == sorted(frame["pgh_id"])


def test_columns_and_dtypes_are_faithful(post):
    frame = post.run("%pghistory Post")
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        "pgh_id": "Int64",
        "pgh_created_at": "datetime64[us, UTC]",
        "pgh_label": "string",
        "pgh_obj_id": "Int64",
        "pgh_context_id": "object",
        "context": "object",
        "id": "Int64",
        "title": "string",
        "n": "Int64",
    }
    assert frame["context"].dropna().tolist() == [{"user": "anna", "amount": 3}]


def test_diff_has_one_row_for_each_changed_field(post):
    frame = post.run("%pghistory post --label snapshot --diff")
    rows = frame[["field", "before", "after"]].astype(object).where(frame[["field", "before", "after"]].notna(), None)
    assert rows.to_numpy().tolist() == [["n", None, 4], ["title", "a", "b"]]


def test_limit_keeps_the_latest_events_and_notes_the_total(post):
    frame = post.run("%pghistory Post --limit 2")
    assert frame["title"].tolist() == ["b", "z"]
    assert frame.notes == ["The latest 2 of 5 events."]


def test_result_is_stored_under_a_name(post):
    post.run("%pghistory Post -o kept")
    assert len(post["kept"]) == 5


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("Nope", 'There is no model named "Nope"'),
        ("Plain", "Plain is not tracked"),
        ("Post --since yesterday", "expected a time such as 2024-05-01"),
        ("Post --context user", "expected KEY=VALUE"),
        ("", "target"),
    ],
)
def test_mistake_is_reported_in_one_line(post, line, sentence):
    post.run("%%pgtrigger\nclass Plain(models.Model):\n    n = models.IntegerField()")
    message = str(post.error(f"%pghistory {line}"))
    assert sentence in message
    assert "\n" not in message.strip()


def test_python_functions_return_the_same_as_the_magic(post):
    post.run("import pgmagic")
    assert post.run("pgmagic.history(Post)").equals(post.run("%pghistory Post"))
    assert post.run("pgmagic.diff(post)").equals(post.run("%pghistory post --diff"))


def test_events_of_the_current_transaction_are_seen(post):
    post.run("""
from django.db import transaction
import pgmagic
with transaction.atomic():
    Post.objects.create(title="new")
    seen = len(pgmagic.history(Post))
    transaction.set_rollback(True)
""")
    assert post["seen"] == 6
    assert len(post.run("pgmagic.history(Post)")) == 5


def test_pghistory_shows_the_table_as_it_stood(post):
    post.run("moment = PostEvent.objects.order_by('pgh_id').first().pgh_created_at.isoformat()")
    frame = post.run(f"%pghistory Post --as-of {post['moment']} -o then")
    assert list(frame.index.names) == ["id"]
    assert len(frame) == 1
    assert frame.caption.startswith("Post as of ")
    assert post["then"] is frame
    assert post.run("%pghistory Post --as-of 2001-01-01").empty
    assert "--as-of stands alone: leave out --label, --diff" in str(
        post.error("%pghistory Post --as-of 2001-01-01 --label a --diff")
    )
