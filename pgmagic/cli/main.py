"""The `pgmagic` command: arguments in, exit code out.

Exit codes: 0 done, 1 a notebook or a database failed, 2 the command was used wrongly, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pgmagic
from pgmagic.errors import PgMagicError

FAILED = 1
INTERRUPTED = 130  # what a shell reports for a program that SIGINT ended

_DESCRIPTION = "Declare Postgres triggers in notebook cells, and see what they do."
_DATABASE = """\
Which database: the one that PGMAGIC_DATABASE_URL names, else that of the Django project
that DJANGO_SETTINGS_MODULE names, else an embedded Postgres, whose data lies in PGMAGIC_HOME.
"""


class _Parser(argparse.ArgumentParser):
    """argparse, with a hint on how to pass JupyterLab's own options."""

    def error(self, message: str) -> NoReturn:
        if self.prog.endswith(" lab") and "unrecognized arguments" in message:
            message += " (JupyterLab's own options go after --, as in: pgmagic lab -- --no-browser)"
        super().error(message)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; each subcommand's `command` is a function of the arguments."""
    top = _Parser(
        prog="pgmagic",
        description=_DESCRIPTION,
        epilog=_DATABASE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"pgmagic {pgmagic.__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_lab(commands)
    _add_run(commands)
    _add_status(commands)
    _add_stop(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; an error of ours is one line on stderr."""
    known, rest = parser().parse_known_args(arguments)
    if rest:
        known.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        code: int = known.command(known)
    except PgMagicError as error:
        print(f"pgmagic: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("pgmagic: interrupted", file=sys.stderr)
        return INTERRUPTED
    return code


def _add_lab(commands: argparse._SubParsersAction[_Parser]) -> None:
    sub = commands.add_parser(
        "lab",
        help="start the database and open JupyterLab on the notebooks",
        description="Start the database and open JupyterLab on the folder notebooks/, or on the current folder "
        "where there is none. The embedded server stops with the last program that uses it.",
        usage="pgmagic lab [-h] [-- JUPYTER-ARGUMENT ...]",
    )
    sub.add_argument(
        "jupyter", nargs="*", metavar="JUPYTER-ARGUMENT", help="passed on to JupyterLab, such as --no-browser"
    )
    sub.set_defaults(command=_lab, parser=sub)


def _add_run(commands: argparse._SubParsersAction[_Parser]) -> None:
    sub = commands.add_parser(
        "run",
        help="execute notebooks without a browser",
        description="Execute notebooks from top to bottom, each in a kernel of its own, and say which failed in "
        "which cell. The notebooks themselves are never written to.",
    )
    sub.add_argument(
        "notebooks", nargs="*", type=Path, metavar="NOTEBOOK", help="default: every notebook in notebooks/"
    )
    sub.add_argument(
        "--html", type=Path, metavar="DIR", help="write an HTML copy of each, with its outputs, here"
    )
    sub.add_argument(
        "--timeout",
        type=_seconds,
        default=300,
        metavar="SECONDS",
        help="give up on a cell that takes longer (default: %(default)s)",
    )
    sub.set_defaults(command=_run, parser=sub)


def _add_status(commands: argparse._SubParsersAction[_Parser]) -> None:
    sub = commands.add_parser(
        "status",
        help="show versions, the database and pgmagic's schemas",
        description="Show versions, which database pgmagic works on, and its schemas there. Starts nothing, and "
        "shows no password.",
    )
    sub.set_defaults(command=_status, parser=sub)


def _add_stop(commands: argparse._SubParsersAction[_Parser]) -> None:
    sub = commands.add_parser(
        "stop",
        help="stop the embedded Postgres",
        description="Stop the embedded Postgres, also while notebooks use it. Its data stays, and the next use "
        "starts it again. A server named by a URL is left alone.",
    )
    sub.set_defaults(command=_stop, parser=sub)


def _seconds(text: str) -> int:
    """Return a positive number of seconds."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


# argparse names this function's expectation in its message: invalid seconds value: '0'.
_seconds.__name__ = "seconds"


# Each subcommand is imported when it is called: JupyterLab alone takes a second.
def _lab(arguments: argparse.Namespace) -> int:
    from pgmagic.cli.lab import lab

    return lab(arguments.jupyter)


def _run(arguments: argparse.Namespace) -> int:
    from pgmagic.cli.run import run

    return run(arguments.notebooks, html=arguments.html, timeout=arguments.timeout)


def _status(_arguments: argparse.Namespace) -> int:
    from pgmagic.cli.status import status

    return status()


def _stop(_arguments: argparse.Namespace) -> int:
    from pgmagic.cli.stop import stop

    return stop()
