"""Errors of pgmagic and of the database in ordinary cells: the cell's lines and the message, no frames of Django."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import django
import psycopg
from django.db import Error as DatabaseFailure
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

import pgmagic
from pgmagic.errors import PgMagicError
from pgmagic.notebook.slips import EXPLAINED, explanation

_LIBRARIES = tuple(str(Path(str(module.__file__)).parent) for module in (django, psycopg, pgmagic))

# Errors whose message says everything, and those that may have an explanation.
_SHORT = (DatabaseFailure, PgMagicError, *EXPLAINED)


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
    """Show an error with the frames outside Django, psycopg, pgmagic and IPython's own call of the cell.

    An error that only may have an explanation is shown as IPython does if it has none.
    """
    sentence = explanation(error)
    if isinstance(error, UsageError):
        shell.show_usage_error(UsageError(sentence) if sentence else error)
        return []
    if sentence is None and not isinstance(error, (DatabaseFailure, PgMagicError)):
        shell.showtraceback((kind, error, traceback), running_compiled_code=True)
        return []
    kept = []
    while traceback is not None:
        filename = traceback.tb_frame.f_code.co_filename
        if not filename.startswith(_LIBRARIES) and "IPython" not in Path(filename).parts:
            kept.append(traceback)
        traceback = traceback.tb_next
    chain = None
    for frame in reversed(kept):
        chain = TracebackType(chain, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    shown = kind(*([sentence] if sentence else error.args))
    for note in getattr(error, "__notes__", ()):
        shown.add_note(note)
    lines = shell.InteractiveTB.structured_traceback(kind, shown, chain, tb_offset=0)
    shell._showtraceback(kind, error, lines)
    return lines
