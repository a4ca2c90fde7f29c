"""`pgmagic.diff` with filters: events that are not shown are still what others are compared with."""

from datetime import timedelta

import pytest

import pgmagic

TRACKED = """%%pgtrigger
@pghistory.track(pghistory.Snapshot("snapshot"))
class Post(models.Model):
    title = models.CharField(max_length=20)
"""


@pytest.fixture
def post(shell):
    """A tracked model with two objects, the first of which changed twice, once by Ann."""
    shell.run(TRACKED)
    shell.run("""
Post.objects.bulk_create([Post(title="a"), Post(title="other")])
with pghistory.context(user="Ann"):
    Post.objects.filter(title="a").update(title="b")
Post.objects.filter(title="b").update(title="c")
""")
    return shell["Post"]


def changes(frame):
    return list(zip(frame["before"], frame["after"], strict=True))


def test_diff_of_a_context_compares_with_the_event_before_it(post):
    assert changes(pgmagic.diff(post, context={"user": "Ann"})) == [("a", "b")]


def test_diff_of_the_latest_event_compares_with_the_event_before_it(post):
    frame = pgmagic.diff(post, limit=1)
    assert changes(frame) == [("b", "c")]
    assert frame.notes == ["The latest 1 of 4 events."]


def test_diff_since_an_event_compares_with_the_event_before_it(post):
    times = pgmagic.history(post)["pgh_created_at"]
    assert changes(pgmagic.diff(post, since=times.iloc[-1].to_pydatetime())) == [("b", "c")]
    assert changes(pgmagic.diff(post, until=times.iloc[-1].to_pydatetime())) == [("a", "b")]
    assert changes(pgmagic.diff(post, since=times.iloc[-1] + timedelta(seconds=1))) == []


def test_diff_of_one_object_knows_only_that_object(post):
    other = post.objects.get(title="other")
    assert changes(pgmagic.diff(other, limit=5)) == []
    assert changes(pgmagic.diff(post.objects.get(title="c"), context={"user": "Ann"})) == [("a", "b")]
