"""The lines of magics: quotes keep words together."""

import pytest

TRACKED = """%%pgtrigger
@pghistory.track(pghistory.Snapshot("snapshot"))
class Post(models.Model):
    title = models.CharField(max_length=20)
"""


@pytest.mark.parametrize("option", ['user="Ann Lee"', "user='Ann Lee'", '"user=Ann Lee"', "'user=Ann Lee'"], ids=repr)
def test_quoted_value_may_contain_a_space(shell, option):
    shell.run(TRACKED)
    shell.run("with pghistory.context(user='Ann Lee'):\n    Post.objects.create(title='a')")
    shell.run("with pghistory.context(user='Bob'):\n    Post.objects.create(title='b')")
    assert list(shell.run(f"%pghistory Post --context {option}")["title"]) == ["a"]


def test_backslash_and_hash_are_ordinary_characters(shell):
    shell.run(TRACKED)
    shell.run("with pghistory.context(path=r'a\\b#c'):\n    Post.objects.create(title='a')")
    assert len(shell.run(r"%pghistory Post --context path=a\b#c")) == 1


def test_quote_that_is_never_closed_is_a_usage_error(shell):
    shell.run(TRACKED)
    error = shell.error("%pghistory Post --context user='Ann")
    assert type(error).__name__ == "UsageError"
    assert "never closed" in str(error)
