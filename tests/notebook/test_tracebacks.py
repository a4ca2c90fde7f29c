"""Database errors in ordinary cells: the lines of the cell and what Postgres said, and nothing of the libraries."""

from __future__ import annotations

import re

import pytest

POST = """%%pgtrigger
class Post(models.Model):
    title = models.CharField(max_length=20, unique=True)
    class Meta:
        triggers = [pgtrigger.Protect(name="keep", operation=pgtrigger.Delete)]
"""


@pytest.fixture
def failing(shell, capsys):
    """Return what a failing cell shows, without colours, and its error."""
    shell.run(POST)
    shell.run("post = Post.objects.create(title='a')")
    capsys.readouterr()

    def run(cell):
        error = shell.error(cell)
        shown = capsys.readouterr()
        return re.sub(r"\x1b\[[\d;]*m", "", shown.out + shown.err), error

    return run


@pytest.mark.parametrize(
    ("cell", "line", "said"),
    [
        ("x = 1\npost.delete()", "post.delete()", "pgtrigger: Cannot delete rows from notebook_post table"),
        (
            "Post.objects.create(title='a')",
            "Post.objects.create(title='a')",
            "duplicate key value violates unique",
        ),
        (
            "from django.db import connection\nconnection.cursor().execute('SELEC')",
            "execute('SELEC')",
            "syntax error",
        ),
        ("def f():\n    post.delete()\nf()", "f()", "Cannot delete rows"),
    ],
)
def test_database_error_shows_only_the_cells_lines(failing, cell, line, said):
    text, _ = failing(cell)
    assert line in text
    assert said in text
    assert "site-packages" not in text
    assert "django/db" not in text
    assert "The above exception was the direct cause" not in text
    assert len(text.splitlines()) < 25


def test_every_frame_of_the_cell_is_shown(failing):
    text, _ = failing("def inner():\n    post.delete()\ndef outer():\n    inner()\nouter()")
    assert [name for name in ("outer()", "inner()", "post.delete()") if name not in text] == []


def test_error_itself_keeps_its_traceback_and_its_cause(failing):
    _, error = failing("post.delete()")
    assert error.__cause__.sqlstate == "P0001"
    frames, traceback = [], error.__traceback__
    while traceback:
        frames.append(traceback.tb_frame.f_code.co_filename)
        traceback = traceback.tb_next
    assert any("django" in name for name in frames)


def test_other_errors_look_as_usual(failing):
    text, _ = failing("1/0")
    assert "ZeroDivisionError" in text
    assert "Traceback" in text
    text, _ = failing("Post.objects.get(title='nope')")
    assert "DoesNotExist" in text


def test_caught_error_shows_nothing(shell, failing, capsys):
    capsys.readouterr()
    shell.run("from django.db import InternalError\ntry:\n    post.delete()\nexcept InternalError:\n    caught = True")
    assert shell["caught"]
    assert capsys.readouterr().err == ""
