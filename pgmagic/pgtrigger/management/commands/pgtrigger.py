"""`manage.py pgtrigger ls | install | uninstall | enable | disable | prune`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import nullcontext

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, DatabaseError
from django.utils.connection import ConnectionDoesNotExist

from pgmagic.db.changes import postgres_alias
from pgmagic.db.inspection import list_declared, list_visible
from pgmagic.db.installation import disable, enable, install, prunable, prune, uninstall
from pgmagic.db.runtime.search_path import schema
from pgmagic.declare.registry import of_project
from pgmagic.errors import PgMagicError
from pgmagic.plan.installation_state import FOREIGN, INSTALLED, PRUNE, UNALLOWED

# Command: the function, the word that reports a change, the help.
_CHANGES: dict[str, tuple[Callable[..., object], str, str]] = {
    "install": (install, "Installing", "Install triggers, or what changed of them."),
    "uninstall": (uninstall, "Uninstalling", "Drop triggers with their functions."),
    "enable": (enable, "Enabling", "Let triggers fire again."),
    "disable": (disable, "Disabling", "Keep triggers installed, but let them fire for nobody."),
}
_COLOURS: dict[str, str] = {
    "INSTALLED": "SUCCESS", "ENABLED": "SUCCESS", "UNINSTALLED": "ERROR", "DISABLED": "ERROR", "OUTDATED": "WARNING",
    "PRUNE": "WARNING",
}  # fmt: skip


class Command(BaseCommand):
    """Lists and changes the triggers of a project's databases.

    Raises:
        CommandError: if a URI or a database is unknown, or Postgres refuses; nothing is changed then.
    """

    help = "List, install, uninstall, enable, disable and prune the triggers of a project."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the subcommands."""
        subcommands = parser.add_subparsers(dest="subcommand", required=True, title="sub-commands")
        listing = subcommands.add_parser("ls", help="List triggers and their installation state.")
        listing.add_argument("--check", action="store_true", help="exit with 1 if a trigger is not as it is declared")
        self._add_options(listing, "the triggers to list (default: all in the database)")
        for name, (_, _, text) in _CHANGES.items():
            changing = subcommands.add_parser(name, help=text)
            self._add_options(changing, "the triggers to change (default: all that are registered)")
        pruning = subcommands.add_parser("prune", help="Drop triggers that the code no longer declares.")
        self._add_options(pruning, None)

    def _add_options(self, parser: CommandParser, uris: str | None) -> None:
        if uris is not None:
            parser.add_argument("uris", nargs="*", help=f"app_label.Model:trigger_name: {uris}")
        parser.add_argument("-d", "--database", help="the alias of a database (default: default)")
        parser.add_argument(
            "-s", "--schema", action="append", default=[], help="a schema to look for tables in; may be repeated"
        )

    def handle(self, *_args: object, **options: object) -> None:
        """Run a subcommand; an error is shown in one line."""
        given = Namespace(**options)
        alias: str = given.database or DEFAULT_DB_ALIAS
        try:
            if postgres_alias(alias) is None:
                self._say(f'The database "{alias}" is not Postgres, so it has no triggers: nothing was done.', given)
                return
            with schema(*given.schema, databases=[alias]) if given.schema else nullcontext():
                if given.subcommand == "ls":
                    self._list(given.uris, alias, check=given.check)
                elif given.subcommand == "prune":
                    found = prunable(alias)
                    prune(alias)
                    for table, name, *_ in found:
                        self._say(f"Pruning trigger {name} for table {table} on {alias} database.", given)
                else:
                    self._change(given, alias)
        except (PgMagicError, DatabaseError, ConnectionDoesNotExist) as error:
            raise CommandError(str(error)) from error

    def _change(self, given: Namespace, alias: str) -> None:
        """Carry out `install` and its like, and report each trigger whose state changed."""
        change, word, _ = _CHANGES[given.subcommand]
        uris: list[str] = given.uris
        before = list_declared(*uris, database=alias)
        change(*uris, database=alias)
        after = list_declared(*uris, database=alias)
        for model, trigger in of_project(*uris):
            uri = trigger.get_uri(model)
            if before[uri] != after[uri]:
                what = f"{trigger.get_name()} trigger for {model._meta.db_table} table"
                self._say(f"{word} {what} on {alias} database.", given)

    def _say(self, sentence: str, given: Namespace) -> None:
        if given.verbosity:
            self.stdout.write(f"pgtrigger: {sentence}")

    def _list(self, uris: list[str], alias: str, *, check: bool) -> None:
        lines = list(_lines(uris, alias))
        widths = [max((len(line[column]) for line in lines), default=0) for column in (0, 1)]
        for state, switch, label in lines:
            words = [self._coloured(state, widths[0]), self._coloured(switch, widths[1])]
            self.stdout.write(f"{' '.join(words)} {label}")
        differing = sum(_differs(state, switch) for state, switch, _ in lines)
        if check and differing:
            raise CommandError(
                f"{differing} of {len(lines)} triggers listed {'is' if differing == 1 else 'are'} not in the database "
                f"as declared: install, enable or prune {'it' if differing == 1 else 'them'}."
            )

    def _coloured(self, word: str, width: int) -> str:
        colour = getattr(self.style, _COLOURS.get(word, "NOTICE"))
        return f"{colour(word)}{' ' * (width - len(word))}"


def _lines(uris: list[str], alias: str) -> Iterator[tuple[str, str, str]]:
    """Yield state, switch and name of the declared triggers, then of the other triggers in the database."""
    for uri, (state, enabled) in list_declared(*uris, database=alias).items():
        yield state, _switch(enabled), uri
    for other in [] if uris else list_visible(alias):
        if other.state in (PRUNE, FOREIGN):
            yield other.state, _switch(other.enabled), f"{other.table}:{other.name}"


def _switch(enabled: bool | None) -> str:
    return "N/A" if enabled is None else "ENABLED" if enabled else "DISABLED"


def _differs(state: str, switch: str) -> bool:
    """Return whether a trigger is not as it is declared; one that is nobody's to declare does not count."""
    return state not in (UNALLOWED, FOREIGN) and (state, switch) != (INSTALLED, "ENABLED")
