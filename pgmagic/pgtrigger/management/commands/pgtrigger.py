"""`manage.py pgtrigger ls | install | uninstall | enable | disable | prune`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connections
from django.utils.connection import ConnectionDoesNotExist

from pgmagic.db.inspection import list_declared, list_visible
from pgmagic.db.installation import disable, enable, install, prunable, prune, uninstall
from pgmagic.db.runtime.search_path import schema
from pgmagic.declare.registry import registered
from pgmagic.errors import PgMagicError
from pgmagic.plan.installation_state import FOREIGN, PRUNE, UNALLOWED

# Command: what is called, what is said of each trigger that it changed, its help.
_CHANGES: dict[str, tuple[Callable[..., object], str, str]] = {
    "install": (install, "Installing", "Install triggers."),
    "uninstall": (uninstall, "Uninstalling", "Uninstall triggers."),
    "enable": (enable, "Enabling", "Enable triggers."),
    "disable": (disable, "Disabling", "Disable triggers."),
}
_COLOURS: dict[str, str] = {
    "INSTALLED": "SUCCESS", "ENABLED": "SUCCESS", "UNINSTALLED": "ERROR", "DISABLED": "ERROR", "OUTDATED": "WARNING",
    "PRUNE": "WARNING",
}  # fmt: skip


class Command(BaseCommand):
    """Lists and changes the triggers of a project's databases."""

    help = "List, install, uninstall, enable, disable and prune the triggers of a project."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the subcommands."""
        subcommands = parser.add_subparsers(dest="subcommand", required=True, title="sub-commands")
        listing = subcommands.add_parser("ls", help="List triggers and their installation state.")
        self._add_options(listing, "the triggers to list; all of the database unless given")
        for name, (_, _, text) in _CHANGES.items():
            self._add_options(
                subcommands.add_parser(name, help=text), "the triggers; all registered ones unless given"
            )
        pruning = subcommands.add_parser("prune", help="Drop triggers that the code no longer declares.")
        self._add_options(pruning, None)

    def _add_options(self, parser: CommandParser, uris: str | None) -> None:
        if uris is not None:
            parser.add_argument("uris", nargs="*", help=f"app_label.Model:trigger_name: {uris}")
        parser.add_argument("-d", "--database", help="its alias; every Postgres of the project unless given")
        parser.add_argument(
            "-s",
            "--schema",
            action="append",
            default=[],
            help="a schema to look for tables in; may be repeated",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        """Carry out a subcommand; a mistake is one line."""
        try:
            with _along(options["schema"], options["database"]):
                self._carry_out(options)
        except (PgMagicError, DatabaseError, ConnectionDoesNotExist) as error:
            raise CommandError(str(error)) from error

    def _carry_out(self, options: dict[str, Any]) -> None:
        subcommand, database = options["subcommand"], options["database"]
        if subcommand == "ls":
            self._list(options["uris"], _aliases(database))
        elif subcommand == "prune":
            found = prunable(database)
            prune(database)
            for table, name, _, alias in found:
                self._say(f"Pruning trigger {name} for table {table} on {alias} database.", options)
        else:
            self._change(subcommand, options["uris"], database, options)

    def _change(
        self, subcommand: str, uris: list[str], database: str | None, options: dict[str, Any]
    ) -> None:
        change, word, _ = _CHANGES[subcommand]
        before = {alias: list_declared(*uris, database=alias) for alias in _aliases(database)}
        change(*uris, database=database)
        for alias, states in before.items():
            after = list_declared(*uris, database=alias)
            for model, trigger in registered(*uris):
                uri, table = trigger.get_uri(model), model._meta.db_table
                if states[uri] != after[uri]:
                    self._say(
                        f"{word} {trigger.get_name()} trigger for {table} table on {alias} database.", options
                    )

    def _say(self, sentence: str, options: dict[str, Any]) -> None:
        if options["verbosity"]:
            self.stdout.write(f"pgtrigger: {sentence}")

    def _list(self, uris: list[str], aliases: list[str]) -> None:
        lines = [
            (*line, f" on {alias}" if len(aliases) > 1 else "")
            for alias in aliases
            for line in _lines(uris, alias)
            # Of several databases, a trigger is listed on those that its model belongs to.
            if len(aliases) == 1 or line[0] != UNALLOWED
        ]
        widths = [max((len(line[column]) for line in lines), default=0) for column in (0, 1)]
        for state, switch, label, where in lines:
            words = [self._coloured(state, widths[0]), self._coloured(switch, widths[1])]
            self.stdout.write(f"{' '.join(words)} {label}{where}")

    def _coloured(self, word: str, width: int) -> str:
        colour = getattr(self.style, _COLOURS.get(word, "NOTICE"))
        return f"{colour(word)}{' ' * (width - len(word))}"


def _lines(uris: list[str], alias: str) -> Iterator[tuple[str, str, str]]:
    """Yield state, switch and name: of the declared triggers, and behind them of what else the database has."""
    for uri, (state, enabled) in list_declared(*uris, database=alias).items():
        yield state, _switch(enabled), uri
    for other in [] if uris else list_visible(alias):
        if other.state in (PRUNE, FOREIGN):
            yield other.state, _switch(other.enabled), f"{other.table}:{other.name}"


def _switch(enabled: bool | None) -> str:
    return "N/A" if enabled is None else "ENABLED" if enabled else "DISABLED"


def _aliases(database: str | None) -> list[str]:
    if database is not None:
        return [database]
    return [alias for alias in connections if connections[alias].vendor == "postgresql"]


def _along(schemas: list[str], database: str | None) -> AbstractContextManager[Any]:
    return schema(*schemas, databases=[database] if database else None) if schemas else nullcontext()
