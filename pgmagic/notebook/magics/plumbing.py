"""What every magic shares: errors in one line, and results that keep a name."""

from __future__ import annotations

import shlex
from argparse import Namespace
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import psycopg
from django.db import Error as DatabaseFailure
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from pgmagic.errors import PgMagicError
from pgmagic.notebook.cells import frames_of_cell

C = TypeVar("C", bound=Callable[..., Any])
T = TypeVar("T")


def parsed(magic: Any, line: str) -> Namespace:
    """Return the arguments on a magic's line; quotes keep words together, as in `--context "user=Ann Lee"`.

    IPython's own splitting leaves the quotes in the value, and breaks `user="Ann Lee"` apart.

    Raises:
        UsageError: the line does not fit the magic.
    """
    words = shlex.shlex(line, posix=True)
    words.whitespace_split, words.commenters, words.escape = True, "", ""
    try:
        arguments = list(words)
    except ValueError:
        raise UsageError("A quote is opened and never closed in the magic's line.") from None
    return cast("Namespace", magic.parser.parse_args(arguments))


def in_one_line(magic: C) -> C:
    """Let a magic show errors of ours and of the database as one line, without a traceback."""

    @wraps(magic)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return magic(*args, **kwargs)
        except PgMagicError as error:
            raise UsageError(str(error)) from None
        except DatabaseFailure as error:
            raise UsageError(_sentence(error)) from None
        except BaseException as error:
            # The cell's own error, with the cell's own frames; `__tracebackhide__` tells IPython to hide this one.
            __tracebackhide__ = True
            error.__traceback__ = frames_of_cell(error.__traceback__)
            raise

    return cast("C", guarded)


def _sentence(error: DatabaseFailure) -> str:
    cause = error.__cause__
    if isinstance(cause, psycopg.Error) and cause.diag.message_primary:
        hint = f" ({cause.diag.message_hint})" if cause.diag.message_hint else ""
        return f"Postgres says: {cause.diag.message_primary}{hint}"
    return str(error).strip().partition("\n")[0]


def keep(shell: InteractiveShell, name: str | None, result: T) -> T:
    """Store a result under the name that `-o` gave, if any, and return it."""
    if name:
        shell.user_ns[name] = result
    return result
