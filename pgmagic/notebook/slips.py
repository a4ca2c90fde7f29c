"""Errors of IPython and Django that a slip in a cell leads to, in a sentence that says what to type."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from django.db.models import Field, Model
from IPython.core.error import UsageError

from pgmagic.errors import DeclarationError

# What Django says of a model that no app holds, if its class is a cell's.
_NO_APP = re.compile(r"Model class __main__\.(\w+) doesn't declare an explicit app_label")
# What IPython says of a cell magic that is not in the first line.
_NOT_FIRST = re.compile(r"Line magic function `%%(pg\w+)` not found")

EXPLAINED = (RuntimeError, UsageError)


def explanation(error: BaseException) -> str | None:
    """Return what to type instead of what led to an error of `EXPLAINED`; None for every other error."""
    if isinstance(error, RuntimeError) and (found := _NO_APP.match(str(error))):
        return (
            f"The model {found[1]} is declared in an ordinary cell, so it has no app and no table: write %%pgtrigger "
            f"in the first line of the cell."
        )
    if isinstance(error, UsageError) and (found := _NOT_FIRST.match(str(error))):
        return (
            f"%%{found[1]} is not in the first line of the cell: move it there, and what is above it into a cell of "
            f"its own or below it."
        )
    return None


def check_percent_signs(line: str) -> None:
    """Check that `%pgtrigger` is given a command; without one, `%%pgtrigger` was meant.

    Raises:
        UsageError: if it is not.
    """
    if not line.strip() or line.split()[0] in ("--app", "--dry-run", "--sql", "--rename", "--allow-data-loss"):
        raise UsageError(
            "%pgtrigger, with one percent sign, takes a command, as in `%pgtrigger ls`: to declare the models of this "
            "cell, write %%pgtrigger, with two."
        )


def check_classes(names: Mapping[str, object], known: Sequence[object]) -> None:
    """Check that no class of a cell has fields of a model and is none.

    names: those of the notebook. known: what they held before the cell.

    Raises:
        DeclarationError: if a class does.
    """
    before = {id(value) for value in known}
    for found in names.values():
        if not isinstance(found, type) or issubclass(found, Model) or id(found) in before:
            continue
        fields = [name for name, value in vars(found).items() if isinstance(value, Field)]
        if fields and found.__module__ == "__main__":
            raise DeclarationError(
                f"{found.__name__} is not a model, so its field {fields[0]} gets no column: write "
                f"`class {found.__name__}(models.Model):`."
            )
