"""The examples (`>>>`) in docstrings of public names run, each in a fresh notebook with `Post` and `post`.

An example that begins with `class` or with a decorator is a `%%pgtrigger` cell: its models are installed. The other
lines run as they stand. Besides `Post` and `post`, an example may use `models`, `connection`, `transaction`, `pgmagic`,
`pgtrigger` and `pghistory`.
"""

from __future__ import annotations

import doctest
import inspect
import io
import re
from contextlib import redirect_stdout

import pytest

from tests.public_names import RETURNED, public_callables, public_methods

POST = """%%pgtrigger
@pghistory.track()
class Post(models.Model):
    title = models.CharField(max_length=80)
    status = models.CharField(max_length=9, default="draft")
    likes = models.IntegerField(default=0)

    class Meta:
        triggers = [
            pgtrigger.Protect(
                name="keep_published", operation=pgtrigger.Delete, condition=pgtrigger.Q(old__status="published")
            ),
            pgtrigger.FSM(
                name="forward_only",
                field="status",
                transitions=[("draft", "published"), ("published", "archived")],
            ),
        ]
"""
NAMES = """
import pgmagic
from django.db import connection, transaction
from pgmagic import pghistory, pgtrigger
post = Post.objects.create(title="Hello")
"""
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

# What a kernel calls, not a user.
HOOKS = {"pgmagic.load_ipython_extension", "pgmagic.unload_ipython_extension"}

PUBLIC = public_callables()


def documented() -> dict[str, str]:
    """Return every docstring with an example by the name of what it describes."""
    found: dict[str, str] = {}
    for name, value in [*PUBLIC.items(), *RETURNED.items()]:
        docstrings = {name: value.__doc__}
        if isinstance(value, type):
            docstrings |= {f"{name}.{method}": member.__doc__ for method, member in public_methods(value)}
        for owner, docstring in docstrings.items():
            # A base that is not public is found under the first class that inherits from it.
            if docstring and ">>>" in docstring and inspect.cleandoc(docstring) not in found.values():
                found[owner] = inspect.cleandoc(docstring)
    return found


EXAMPLES = documented()


def cell(shell, source: str) -> None:
    """Run a part of an example as a cell that declares and installs."""
    with redirect_stdout(io.StringIO()):
        shell.run(f"%%pgtrigger\n{source}")


def run_example(shell, name: str, docstring: str) -> str:
    """Return what doctest reports about an example; nothing if the example holds."""
    shell.shell.user_ns["_declare"] = lambda source: cell(shell, source)
    test = doctest.DocTestParser().get_doctest(docstring, shell.shell.user_ns, name, name, 0)
    # Otherwise doctest works on a copy, and a cell would not see the names of the example.
    test.globs = shell.shell.user_ns
    for example in test.examples:
        if re.match("class |@", example.source):
            example.source = f"_declare({example.source!r})\n"
    report: list[str] = []
    doctest.DocTestRunner(optionflags=OPTIONS, verbose=False).run(test, out=report.append, clear_globs=False)
    return "".join(report)


@pytest.fixture
def notebook(shell):
    with redirect_stdout(io.StringIO()):
        shell.run(POST)
    shell.run(NAMES)
    return shell


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_example_holds(notebook, name):
    report = run_example(notebook, name, EXAMPLES[name])
    assert not report, report


def test_harness_finds_wrong_examples(notebook):
    right = """
    >>> Post.objects.count()
    1
    >>> @pghistory.track()
    ... class Comment(models.Model):
    ...     text = models.TextField()
    >>> Comment.objects.create(text="a").text
    'a'
    >>> pgtrigger.Protect(name="keep")
    Traceback (most recent call last):
    ...
    pgmagic.errors.DeclarationError: ...
    """
    assert run_example(notebook, "right", inspect.cleandoc(right)) == ""
    assert "Expected" in run_example(notebook, "wrong", ">>> post.status\n'published'\n")


def test_every_public_function_and_class_has_an_example():
    lacking = {name for name, value in PUBLIC.items() if ">>>" not in (value.__doc__ or "")}
    assert lacking - HOOKS == set(), "add an example to the docstrings of these"
