"""The arguments of declarations: whoever gives one that does not exist is shown those that do."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from pgmagic.errors import ArgumentError

S = TypeVar("S")
P = ParamSpec("P")

# Old migrations name all arguments of Trigger for each class of triggers: those that the class lacks are None there.
_NAMED_BY_MIGRATIONS = ("func", "referencing")


def arguments_checked(init: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
    """Return an `__init__` that refuses misspelt and positional arguments in a sentence with those that it has.

    It raises ArgumentError, which is also a TypeError. The signature that editors and `?` show stays.
    """
    _self, *parameters = inspect.signature(init).parameters.values()
    names = [parameter.name for parameter in parameters]
    by_position = [parameter.name for parameter in parameters if parameter.kind != parameter.KEYWORD_ONLY]

    @wraps(init)
    def checked(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        for name in _NAMED_BY_MIGRATIONS:
            if name not in names and kwargs.get(name, self) is None:
                del kwargs[name]
        if len(args) > len(by_position) or not kwargs.keys() <= set(names):
            mistake = _mistake(names, by_position, args, kwargs)
            raise ArgumentError(f"{type(self).__name__} {mistake}; its arguments are {', '.join(names)}.")
        init(self, *args, **kwargs)

    return checked


def _mistake(
    names: Sequence[str], by_position: Sequence[str], args: Sequence[object], kwargs: Mapping[str, object]
) -> str:
    if len(args) > len(by_position):
        only = f"only {' and '.join(by_position)}" if by_position else "no argument"
        given = args[len(by_position)]
        free = [name for name in names if name not in by_position]
        advice = f": write its name, as in {free[0]}={given!r}" if free else ""
        return f"takes {only} by position, but {given!r} was given so{advice}"
    wrong = next(name for name in kwargs if name not in names)
    close = get_close_matches(wrong, names, n=1)
    return f'has no argument "{wrong}"' + (f' (did you mean "{close[0]}"?)' if close else "")
