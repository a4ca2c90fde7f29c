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

_DATABASE = """\
Which database: the one that PGMAGIC_DATABASE_URL names, else that of the Django project
that DJANGO_SETTINGS_MODULE names, else an embedded Postgres, whose data is in PGMAGIC_HOME.
"""


class _Parser(argparse.ArgumentParser):
    """argparse, with a hint on how to pass JupyterLab's own options."""

    def error(self, message: str) -> NoReturn:
        if self.prog.endswith(" lab") and "unrecognized arguments" in message:
            message += " (JupyterLab's own options go after --, as in: pgmagic lab -- --no-browser)"
        super().error(message)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; it sets `command` to the name of a subcommand, `parser` to its parser."""
    top = _Parser(
        prog="pgmagic",
        description="Declare Postgres triggers in notebook cells, and see what they do.",
        epilog=_DATABASE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"pgmagic {pgmagic.__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    lab = commands.add_parser(
        "lab",
        help="start the database and open JupyterLab on the notebooks",
        description="Start the database and open JupyterLab on the folder notebooks/, or on the current folder if "
        "there is none. The embedded server stops with the last program that uses it.",
        usage="pgmagic lab [-h] [-- JUPYTER-ARGUMENT ...]",
    )
    lab.add_argument(
        "jupyter", nargs="*", metavar="JUPYTER-ARGUMENT", help="passed on to JupyterLab, such as --no-browser"
    )
    lab.set_defaults(command="lab", parser=lab)

    run = commands.add_parser(
        "run",
        help="execute notebooks without a browser",
        description="Execute notebooks from top to bottom, each in a kernel of its own, and say which failed in "
        "which cell. The notebooks themselves are never written to.",
    )
    run.add_argument(
        "notebooks", nargs="*", type=Path, metavar="NOTEBOOK", help="default: every notebook in notebooks/"
    )
    run.add_argument(
        "--html", type=Path, metavar="DIR", help="write an HTML copy of each, with its outputs, to this folder"
    )
    run.add_argument(
        "--timeout",
        type=seconds,
        default=300,
        metavar="SECONDS",
        help="give up on a cell that takes longer (default: %(default)s)",
    )
    run.set_defaults(command="run", parser=run)

    status = commands.add_parser(
        "status",
        help="show versions, the database and pgmagic's schemas",
        description="Show versions, which database pgmagic works on, and its schemas there. Starts nothing, and "
        "shows no password.",
    )
    status.set_defaults(command="status", parser=status)

    stop = commands.add_parser(
        "stop",
        help="stop the embedded Postgres",
        description="Stop the embedded Postgres, even while notebooks use it. Its data stays, and the next use "
        "starts it again. A server named by a URL is left alone.",
    )
    stop.set_defaults(command="stop", parser=stop)
    return top


def seconds(text: str) -> int:
    """Return a positive number of seconds; argparse names this function in its message: invalid seconds value: '0'."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; an error of ours is one line on stderr."""
    known, rest = parser().parse_known_args(arguments)
    if rest:
        known.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return _call(known)
    except PgMagicError as error:
        print(f"pgmagic: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("pgmagic: interrupted", file=sys.stderr)
        return INTERRUPTED


def _call(arguments: argparse.Namespace) -> int:
    """Import and call the subcommand; the others are not imported, because JupyterLab alone takes a second."""
    match arguments.command:
        case "lab":
            from pgmagic.cli.lab import lab

            return lab(arguments.jupyter)
        case "run":
            from pgmagic.cli.run import run

            return run(arguments.notebooks, html=arguments.html, timeout=arguments.timeout)
        case "status":
            from pgmagic.cli.status import status

            return status()
        case _:
            from pgmagic.cli.stop import stop

            return stop()
