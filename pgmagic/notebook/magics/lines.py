"""The lines of magics: their words and options, sub-commands, errors in one line, and results that keep a name."""

from __future__ import annotations

import json
import shlex
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from inspect import cleandoc
from typing import Any, ParamSpec, TypeVar

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from django.db import Error as DatabaseFailure
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic_arguments import ArgDecorator, argument, magic_arguments

from pgmagic.errors import PgMagicError
from pgmagic.notebook.cells import frames_of_cell

P = ParamSpec("P")
T = TypeVar("T")


class manual(magic_arguments):  # noqa: N801 - a decorator, as `magic_arguments` is one
    """Make a magic's parser, and the text that `?` shows: the docstring, then the options, the examples last.

    The examples are the section `Example:` at the end of the docstring; an empty line separates two cells.
    """

    def __call__(self, func: Callable[P, T]) -> Callable[P, T]:
        """Give a magic its parser and its manual."""
        description, _, examples = cleandoc(func.__doc__ or "").partition("Example:\n")
        func.argcmd_kwds = {"description": description.strip()}  # type: ignore[attr-defined]
        super().__call__(func)
        parser: ArgumentParser = func.parser  # type: ignore[attr-defined]
        # IPython takes the indentation of the second line away from all others, unless the first line is empty.
        parser.epilog = "\n".join(["", *filter(None, [parser.epilog]), "", "example:", examples])
        func.__doc__ = parser.format_help()
        return func


def parsed(magic: Any, line: str) -> Namespace:
    """Return the arguments on a magic's line; quotes keep words together, as in `--context "user=Ann Lee"`.

    IPython's own splitting leaves the quotes in the value, and breaks `user="Ann Lee"` apart.

    Raises:
        UsageError: if the line does not fit the magic.
    """
    words = shlex.shlex(line, posix=True)
    words.whitespace_split, words.commenters, words.escape = True, "", ""
    try:
        arguments = list(words)
    except ValueError:
        raise UsageError("A quote is opened and never closed in the magic's line.") from None
    parser: ArgumentParser = magic.parser
    return parser.parse_args(arguments)


def with_notes(sentence: str, error: BaseException) -> str:
    """Return a sentence with the notes of an error under it, such as the body of a function."""
    return "\n".join([sentence, *getattr(error, "__notes__", ())])


def in_one_line(magic: Callable[P, T]) -> Callable[P, T]:
    """Let a magic show errors of pgmagic and of the database as one line, without a traceback."""

    @wraps(magic)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return magic(*args, **kwargs)
        except PgMagicError as error:
            raise UsageError(with_notes(str(error), error)) from None
        except DatabaseFailure as error:
            cause = error.__cause__
            if isinstance(cause, psycopg.Error) and cause.diag.message_primary:
                hint = f" ({cause.diag.message_hint})" if cause.diag.message_hint else ""
                raise UsageError(f"Postgres says: {cause.diag.message_primary}{hint}") from None
            raise UsageError(str(error).strip().partition("\n")[0]) from None
        except BaseException as error:
            # The cell's own error, with the cell's own frames; `__tracebackhide__` lets IPython hide this one.
            __tracebackhide__ = True
            error.__traceback__ = frames_of_cell(error.__traceback__)
            raise

    return guarded


def keep(shell: InteractiveShell, name: str | None, result: T) -> T:
    """Store a result under the name that `-o` gave, if any, and return it."""
    if name:
        shell.user_ns[name] = result
    return result


@dataclass(frozen=True)
class SubCommand:
    """A word of a magic with arguments of its own.

    run: does what the word says, and returns what the cell shows. help: says it in the manual.
    """

    run: Callable[[Namespace], object]
    help: str
    arguments: tuple[argument, ...] = ()


class sub_commands(ArgDecorator):  # noqa: N801 - a decorator, as `argument` is one
    """Give a magic the sub-commands of a table; the chosen one is `arguments.run`."""

    def __init__(self, table: Mapping[str, SubCommand]) -> None:
        self.table = table

    def add_to_parser(self, parser: ArgumentParser, group: object) -> None:
        """Add a parser for each sub-command."""
        words = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
        usages = []
        for name, command in self.table.items():
            sub_parser = words.add_parser(name, help=command.help, description=command.help)
            for each in command.arguments:
                each.add_to_parser(sub_parser, None)
            sub_parser.set_defaults(run=command.run)
            usages.append(sub_parser.format_usage().strip().removeprefix("::").strip())
        parser.epilog = "\n".join(["arguments of each:", *(f"  {usage}" for usage in usages)])


# The kinds of values that options take.


def instant(text: str) -> datetime:
    """Return a date or a time as an aware datetime; without an offset it is in Django's current time zone.

    Raises:
        ArgumentTypeError: if the text is neither.
    """
    try:
        found = parse_datetime(text)
        day = None if found else parse_date(text)
    except ValueError:
        found = day = None
    if day is not None:
        found = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - made aware below
    if found is None:
        raise ArgumentTypeError(f"expected a time such as 2024-05-01 or 2024-05-01T12:00+02:00, got {text!r}")
    return found if timezone.is_aware(found) else timezone.make_aware(found)


def rename(text: str) -> tuple[str, str | None, str]:
    """Return MODEL.FIELD=NEW as (model, field, new field), and MODEL=NEW as (model, None, new model).

    Raises:
        ArgumentTypeError: if the text has another form.
    """
    former, _, new = text.partition("=")
    model, point, field = former.partition(".")
    if not (model.isidentifier() and new.isidentifier() and (field.isidentifier() or not point)):
        raise ArgumentTypeError(
            f"expected MODEL.FIELD=NEW or MODEL=NEW, such as Post.title=headline or Post=Article, got {text!r}"
        )
    return model, field or None, new


def key_and_value(text: str) -> tuple[str, object]:
    """Return KEY=VALUE as a pair; a value that is JSON (a number, true, null) is decoded, any other is text.

    Raises:
        ArgumentTypeError: if there is no key, or no equals sign.
    """
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ArgumentTypeError(f"expected KEY=VALUE, got {text!r}")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def database_alias(text: str) -> str:
    """Return the name of one of Django's databases.

    Raises:
        ArgumentTypeError: if no database has the name.
    """
    if text not in connections:
        raise ArgumentTypeError(f"there is no database {text!r}; there are {', '.join(connections)}")
    return text


OUTPUT = argument("-o", "--output", metavar="NAME", help="store the result under this name")
DATABASE = argument(
    "--database",
    type=database_alias,
    default=DEFAULT_DB_ALIAS,
    metavar="ALIAS",
    help="which of the project's databases",
)
