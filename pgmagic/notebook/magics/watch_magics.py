"""`%%pgsql`, `%%pgtrace`, `%%pgwhatif` and `%pgbypass`: what the database did, and why."""

from __future__ import annotations

from django.db import DEFAULT_DB_ALIAS
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments

from pgmagic.notebook.magics.arguments import database_alias
from pgmagic.notebook.magics.plumbing import in_one_line, keep, parsed
from pgmagic.notebook.pgsql import run_sql
from pgmagic.notebook.trace import trace_cell
from pgmagic.notebook.what_if import compare_cell
from pgmagic.tables.frame import ResultFrame
from pgmagic.trial.bypasses import try_bypasses

_database = argument(
    "--database",
    type=database_alias,
    default=DEFAULT_DB_ALIAS,
    metavar="ALIAS",
    help="which of the project's databases",
)
_output = argument("-o", "--output", metavar="NAME", help="store the result under this name")


@magics_class
class TracingMagics(Magics):
    """The magics that look into what statements do."""

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self.kernel = shell

    @magic_arguments()
    @_database
    @_output
    @cell_magic
    @in_one_line
    def pgsql(self, line: str, cell: str) -> ResultFrame:
        """Execute this cell as SQL, in one transaction, and show its last result set.

        Nothing in the cell is expanded. A statement that may not run inside a transaction, such as VACUUM, needs a
        cell of its own.
        """
        arguments = parsed(self.pgsql, line)
        return keep(self.kernel, arguments.output, run_sql(cell, arguments.database))

    @magic_arguments()
    @_database
    @_output
    @cell_magic
    @in_one_line
    def pgtrace(self, line: str, cell: str) -> ResultFrame:
        """Run this cell in one transaction, and show each trigger that was considered: did it fire, and if not, why.

        Nothing of the instruments outlives the cell, and no other session sees them; writes of other sessions to the
        same tables wait until the cell is over.
        """
        arguments = parsed(self.pgtrace, line)
        return keep(self.kernel, arguments.output, trace_cell(self.kernel, cell, arguments.database))

    @magic_arguments()
    @argument(
        "--ignore",
        action="append",
        default=[],
        metavar="URI",
        help="a trigger that is ignored; may be repeated",
    )
    @argument(
        "--with",
        dest="variables",
        action="append",
        default=[],
        metavar="[URI=]NAME",
        help="a variable that holds a trigger, which takes the place of the one of its name, or of the one of the URI",
    )
    @_database
    @_output
    @cell_magic
    @in_one_line
    def pgwhatif(self, line: str, cell: str) -> ResultFrame:
        """Run this cell under the triggers as they are, and under others; show what differs, and keep nothing.

        The cell runs twice, and the database keeps nothing of either run. What it does in Python happens twice: a
        file is written twice, a mail sent twice. What it prints is shown once; names and model objects of the notebook
        are afterwards as they were before, and what is given to `transaction.on_commit` does not run.
        """
        arguments = parsed(self.pgwhatif, line)
        frame = compare_cell(
            self.kernel,
            cell,
            ignored=arguments.ignore,
            variables=arguments.variables,
            using=arguments.database,
        )
        return keep(self.kernel, arguments.output, frame)

    @magic_arguments()
    @argument("uri", metavar="URI", help="app_label.Model:trigger_name")
    @_database
    @_output
    @line_magic
    @in_one_line
    def pgbypass(self, line: str) -> ResultFrame:
        """Try every way around a rule, each in a savepoint, and show which of them it held against.

        What gets through names what it takes: a privilege, the table's owner, a superuser. Nothing is kept.
        """
        arguments = parsed(self.pgbypass, line)
        return keep(self.kernel, arguments.output, try_bypasses(arguments.uri, arguments.database))
