"""Errors of pgmagic and of the database in ordinary cells: the cell's lines and the message, no frames of Django."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import django
import psycopg
from django.db import Error as DatabaseFailure
from IPython.core.interactiveshell import InteractiveShell

import pgmagic
from pgmagic.errors import PgMagicError

_LIBRARIES = tuple(str(Path(str(module.__file__)).parent) for module in (django, psycopg, pgmagic))

# Errors whose message says everything.
_SHORT = (DatabaseFailure, PgMagicError)


def show_short_tracebacks(shell: InteractiveShell) -> None:
    """Show such errors short, unless somebody else already handles exceptions of this shell."""
    if not shell.custom_exceptions:
        shell.set_custom_exc(_SHORT, _show)


def show_full_tracebacks(shell: InteractiveShell) -> None:
    """Show such errors as IPython does."""
    if shell.custom_exceptions == _SHORT:
        shell.set_custom_exc((), None)


def _show(
    shell: InteractiveShell,
    kind: type[BaseException],
    error: BaseException,
    traceback: TracebackType | None,
    tb_offset: int | None = None,
) -> list[str]:
    """Show an error with the frames outside Django, psycopg, pgmagic and IPython's own call of the cell."""
    kept = []
    while traceback is not None:
        filename = traceback.tb_frame.f_code.co_filename
        if not filename.startswith(_LIBRARIES) and "IPython" not in Path(filename).parts:
            kept.append(traceback)
        traceback = traceback.tb_next
    chain = None
    for frame in reversed(kept):
        chain = TracebackType(chain, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    lines = shell.InteractiveTB.structured_traceback(kind, kind(*error.args), chain, tb_offset=0)
    shell._showtraceback(kind, error, lines)
    return lines
