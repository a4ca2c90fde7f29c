"""The check of an exercise tries the installed rules, accepts any solution, and shows which cases are not right yet."""

from __future__ import annotations

from typing import Any

import pytest

DECLARE = """%%pgtrigger
class Post(models.Model):
    title = models.CharField(max_length=20, unique=True)
    locked = models.BooleanField(default=False)
"""
RULES = [
    """%%pgtrigger
pgtrigger.register(
    pgtrigger.Protect(name="keep", operation=pgtrigger.Delete, condition=pgtrigger.Q(old__locked=True)))(Post)""",
    """%%pgsql
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'PP001'; END $$;
CREATE TRIGGER keep BEFORE DELETE ON notebook_post FOR EACH ROW WHEN (OLD.locked) EXECUTE FUNCTION keep();""",
]
CHECK = """from pgmagic.notebook.exercises import check
frame = check(
    rejects={"a locked post goes": lambda: Post.objects.filter(locked=True).delete()},
    applies={"another goes": lambda: Post.objects.filter(title="free").delete()},
    holds={"two are left": lambda: Post.objects.count() == 2},
)"""


@pytest.fixture
def posts(shell: Any) -> Any:
    shell.run(DECLARE)
    shell.run("Post.objects.create(title='locked', locked=True); Post.objects.create(title='free')")
    return shell


def judged(shell: Any) -> list[tuple[str, str, str]]:
    shell.run(CHECK)
    return list(shell["frame"][["expected", "got", "result"]].itertuples(index=False, name=None))


def test_unsolved_exercise_shows_which_cases_are_not_right_yet(posts):
    assert judged(posts) == [
        ("rejected", "applied", "not yet"), ("applied", "applied", "right"), ("true", "true", "right")
    ]  # fmt: skip
    frame = posts["frame"]
    assert frame.caption == "Not yet: 2 of 3 work as they should"
    assert frame["reason"][0] == "nothing rejected it"
    assert not frame.is_solved


@pytest.mark.parametrize("rule", RULES, ids=["declared", "by hand"])
def test_any_solution_that_works_is_right(posts, rule):
    posts.run(rule)
    assert [result for *_, result in judged(posts)] == ["right"] * 3
    assert posts["frame"].caption == "Solved: everything works as it should"
    assert posts["frame"].is_solved
    assert posts.run("Post.objects.count()") == 2


@pytest.mark.parametrize(
    ("run", "got", "reason"),
    [
        ("lambda: 1 / 0", "an error in Python", "ZeroDivisionError: division by zero - Python refused, not the"),
        ("lambda: Nothing.objects.get()", "an error in Python", "NameError: name 'Nothing' is not defined - Python"),
        ("lambda: Post.objects.filter(title='none').update(title='x')", "applied", "nothing rejected it"),
        ("lambda: Post.objects.extra(where=['nonsense']).count()", "an error", 'column "nonsense" does not exist'),
        ("lambda: Post.objects.create(title='free')", "rejected", "duplicate key value violates unique constraint"),
    ],
)  # fmt: skip
def test_errors_that_are_not_rejections_by_a_rule(posts, run, got, reason):
    posts.run("from pgmagic.notebook.exercises import check")
    frame = posts.run(f"check(rejects={{'it': {run}}})")
    assert (frame["got"][0], frame["result"][0]) == (got, "right" if got == "rejected" else "not yet")
    assert frame["reason"][0].startswith(reason)


def test_applied_must_touch_a_row_and_true_must_be_true(posts):
    posts.run("from pgmagic.notebook.exercises import check")
    frame = posts.run(
        "check(applies={'none': lambda: Post.objects.filter(title='none').update(title='x'),\n"
        "               'created': lambda: Post.objects.create(title='x'), 'raw': lambda: None},\n"
        "      holds={'zero': lambda: Post.objects.filter(title='none').count()})"
    )
    assert frame["got"].tolist() == ["no rows", "applied", "applied", "not true"]
    assert frame["reason"].fillna("").tolist() == ["it touched no row", "", "", "it is 0"]
    assert posts.run("Post.objects.count()") == 2
