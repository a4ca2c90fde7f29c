"""Errors of Django over rows that its INSERT did not return, since a trigger swallowed them.

Django reads the keys of new objects from the rows that `INSERT … RETURNING` returns, and expects a row for each object.
It fails where it reads them: with a TypeError on None, or an AssertionError on their number. Since Django 6, `save()`
and `create()` do not fail: they return an object without a key.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from traceback import walk_tb

from django.db import models

from pgmagic.watch.effects import rows_text
from pgmagic.watch.statements import Executed

_ORM = f"{Path(str(models.__file__)).parent}{os.sep}"
# The functions of Django that read returned rows, in any of its versions.
_READERS = ("_save_table", "_assign_returned_values", "bulk_create", "apply_converters")


def is_over_missing_row(error: BaseException, executed: Sequence[Executed], alias: str) -> bool:
    """Return whether an error is Django's over a row that one of the INSERTs executed in a database did not return.

    An error of the user's own code is not raised in Django's functions that read returned rows.
    """
    inserts = inserts_among(executed)
    if isinstance(error, TypeError):
        is_likely = "NoneType" in str(error) and any(insert.rows == 0 for insert in inserts)
    else:
        is_likely = isinstance(error, AssertionError) and bool(inserts)
    if not is_likely:
        return False
    *_, (frame, _) = walk_tb(error.__traceback__)
    code, names = frame.f_code, frame.f_locals
    used = getattr(names.get("self"), "db", None) if code.co_name == "bulk_create" else names.get("using")
    is_here = used in (alias, None)
    return is_here and code.co_filename.startswith(_ORM) and code.co_name in _READERS


def inserts_among(executed: Sequence[Executed]) -> list[Executed]:
    """Return the INSERTs that the database carried out."""
    return [statement for statement in executed if statement.kind == "write" and statement.verb == "INSERT"]


def what_django_raised(error: BaseException, executed: Sequence[Executed]) -> str:
    """Return in a line what Django raised, and why."""
    said = f" ({error})" if str(error) else ""
    is_number = isinstance(error, AssertionError)
    returned = "fewer rows than it was given objects" if is_number else "no row for an object"
    undone = sum(statement.rows or 0 for statement in executed if statement.kind == "write" and statement.undone)
    rolled_back = f", and {rows_text(undone)} of this statement {'was' if undone == 1 else 'were'} rolled back"
    why = f"the INSERT returned {returned}{rolled_back if undone else ''}"
    return f"Django raised {type(error).__name__}{said}: {why}."
