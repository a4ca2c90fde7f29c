"""Line magics with sub-commands, each with arguments of its own."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic_arguments import ArgDecorator, argument


@dataclass(frozen=True)
class SubCommand:
    """One word of a magic: what it does with its arguments, how the manual puts it, and which arguments it takes.

    run: returns what the cell shows.
    """

    run: Callable[[InteractiveShell, Namespace], Any]
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
