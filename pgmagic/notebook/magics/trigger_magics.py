"""`%pgtrigger`: what is installed, what is declared, and the one brought to the other."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

from django.db import DEFAULT_DB_ALIAS
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments
from IPython.display import display

from pgmagic.notebook import trigger_lists
from pgmagic.notebook.magics.arguments import database_alias
from pgmagic.notebook.magics.plumbing import in_one_line, keep, parsed
from pgmagic.notebook.magics.subcommands import SubCommand, sub_commands
from pgmagic.trial.matrix_frame import try_field

_OUTPUT = argument("-o", "--output", metavar="NAME", help="store the result under this name")
_DATABASE = argument(
    "--database", type=database_alias, metavar="ALIAS", help="which of the project's databases"
)
_URIS = argument(
    "uris", nargs="*", metavar="URI", help="app_label.Model:trigger_name; without any: all of them"
)


def _about_uris(run: Callable[[Sequence[str], str | None], Any], words: str) -> SubCommand:
    return SubCommand(
        lambda _shell, arguments: run(arguments.uris, arguments.database), words, (_URIS, _DATABASE, _OUTPUT)
    )


def _list(_shell: InteractiveShell, arguments: Namespace) -> Any:
    return trigger_lists.list_matching(arguments.pattern, arguments.database)


def _show_sql(_shell: InteractiveShell, arguments: Namespace) -> Any:
    return trigger_lists.sql_of(arguments.uri)


def _try_transitions(_shell: InteractiveShell, arguments: Namespace) -> Any:
    frame, diagram = try_field(arguments.field, arguments.database or DEFAULT_DB_ALIAS)
    display(diagram.bundle(), raw=True)
    return frame


COMMANDS = {
    "ls": SubCommand(
        _list,
        "every trigger in the database, whoever installed it, and those that are declared only",
        (
            argument(
                "pattern", nargs="?", help="only those with this in their table or name; * and ? may be in it"
            ),
            _DATABASE,
            _OUTPUT,
        ),
    ),
    "sql": SubCommand(
        _show_sql,
        "the SQL that installs a trigger",
        (argument("uri", metavar="URI", help="app_label.Model:trigger_name"), _OUTPUT),
    ),
    "diff": _about_uris(
        trigger_lists.compare, "where triggers in the database differ from their declarations"
    ),
    "install": _about_uris(trigger_lists.install, "install declared triggers, or what changed of them"),
    "uninstall": _about_uris(trigger_lists.uninstall, "drop declared triggers with their functions"),
    "enable": _about_uris(trigger_lists.enable, "let declared triggers fire"),
    "disable": _about_uris(
        trigger_lists.disable, "keep declared triggers installed, but let them fire for nobody"
    ),
    "fsm": SubCommand(
        _try_transitions,
        "the states of a field as a diagram and a matrix: every pair is tried, and nothing kept",
        (argument("field", metavar="MODEL.FIELD", help="such as Post.status"), _DATABASE, _OUTPUT),
    ),
    "prune": _about_uris(
        trigger_lists.prune, "drop what pgmagic installed here and nothing declares any more"
    ),
}


@magics_class
class TriggerMagics(Magics):
    """The magic about triggers that are declared and installed already."""

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self.kernel = shell

    @magic_arguments()
    @sub_commands(COMMANDS)
    @line_magic
    @in_one_line
    def pgtrigger(self, line: str) -> Any:
        """Show what is installed, and install, drop, enable, disable or compare what is declared.

        Each change is one transaction: it takes effect for all triggers that are named, or for none. Only what
        pgmagic installed is ever changed or dropped.
        """
        arguments = parsed(self.pgtrigger, line)
        return keep(self.kernel, arguments.output, arguments.run(self.kernel, arguments))
