"""`%%pgoutcome`, `%%pgtrace`, `%%pgwhatif`, `%%pgsql` and `%pgbypass`: what the database does, and why."""

from __future__ import annotations

from django.db import connections
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import argument

from pgmagic.notebook.magics.lines import DATABASE, OUTPUT, in_one_line, keep, manual, parsed
from pgmagic.notebook.watching import compare_cell, run_cell, trace_cell
from pgmagic.tables.frame import ResultFrame
from pgmagic.trial.bypasses import try_bypasses
from pgmagic.watch.script import run_script


@magics_class
class WatchMagics(Magics):
    """The magics that show what statements do."""

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self.kernel = shell

    @manual()
    @argument("--rollback", action="store_true", help="keep nothing of what the cell does")
    @OUTPUT
    @cell_magic
    @in_one_line
    def pgoutcome(self, line: str, cell: str) -> ResultFrame:
        """Run this cell in one transaction, and show what the database did with each statement.

        Returns one row for each top-level statement, in their order: `step`, `statement`, `verdict` (`applied`,
        `rejected`, `rewritten`, `suppressed`, `rolled back`, `no rows`, `read`), `rows`, `table`, `trigger` (which
        decided), `reason`, `elapsed_ms` (milliseconds). Messages of the server are shown under their statement.

        Each statement has a savepoint: a statement that the database rejects leaves the others alone, and so does
        `create()` or `bulk_create()` of a row that a trigger swallows. Any other error rolls the whole cell back and is
        raised below the table of the statements before it. It is an error if a transaction is open already.

        Other databases of the project that the cell uses are watched, too, and kept only if everything is kept. They
        are committed one after the other: if the connection to one breaks in that moment, the notes say what was kept.
        Rows and tables that the cell writes to stay locked until its end, as in every transaction.

        Example:
            %%pgoutcome
            Post.objects.create(title="World")
            Post.objects.update(status="archived")

            %%pgoutcome --rollback -o outcome
            Post.objects.all().delete()
        """
        arguments = parsed(self.pgoutcome, line)
        frame = run_cell(self.kernel, cell, keep=not arguments.rollback)
        return keep(self.kernel, arguments.output, frame)

    @manual()
    @DATABASE
    @OUTPUT
    @cell_magic
    @in_one_line
    def pgtrace(self, line: str, cell: str) -> ResultFrame:
        """Run this cell in one transaction, and show for each trigger why it did or did not fire.

        Returns one row for each trigger that Postgres considered for a row or a statement, in firing order: `step`,
        `seq`, `depth`, `table`, `trigger`, `fires`, `row` (its key), `fired`, `condition` (each clause with True,
        False, or None for NULL), `before` and `after` (what it changed in the row), `elapsed_ms` (milliseconds),
        `notice`.

        The cell is committed at its end. A statement that the database rejects leaves the others alone; any other
        error rolls everything back and is raised below the table. It is an error if a transaction is open already.

        The probes end with the cell, and no other session sees them. They lock the tables that the cell writes to:
        writes of other sessions to the same tables wait until the cell ends.

        Example:
            %%pgtrace
            Post.objects.update(likes=1)
            Post.objects.update(status="published")
        """
        arguments = parsed(self.pgtrace, line)
        return keep(self.kernel, arguments.output, trace_cell(self.kernel, cell, arguments.database))

    @manual()
    @argument("--ignore", action="append", default=[], metavar="URI", help="a trigger to ignore; may be repeated")
    @argument(
        "--with",
        dest="variables",
        action="append",
        default=[],
        metavar="[URI=]NAME",
        help="a variable that holds a trigger, which replaces the trigger of its name, or that of the URI",
    )
    @DATABASE
    @OUTPUT
    @cell_magic
    @in_one_line
    def pgwhatif(self, line: str, cell: str) -> ResultFrame:
        """Run this cell with the triggers as they are, and with others; show what differs, and keep nothing.

        Returns one row for each verdict and each value that differs: `step`, `statement`, `table`, `row` (its key),
        `field` (`verdict`, or a column), `as_is`, `what_if`.

        The cell runs twice, and both runs are rolled back. What it does in Python happens twice: a file is written
        twice, a mail is sent twice. What it prints is shown once; names and model objects of the notebook are
        afterwards as they were before, and functions given to `transaction.on_commit` do not run.

        It is an error if neither `--ignore` nor `--with` is given, or if a transaction is open already. Tables that the
        cell writes to, and tables whose triggers are replaced, stay locked until the end of each run.

        Example:
            %%pgwhatif --ignore notebook.Post:forward_only
            Post.objects.update(status="archived")

            lenient = pgtrigger.FSM(name="forward_only", field="status", transitions=[("draft", "archived")])

            %%pgwhatif --with notebook.Post:forward_only=lenient
            Post.objects.update(status="archived")
        """
        arguments = parsed(self.pgwhatif, line)
        frame = compare_cell(
            self.kernel, cell, ignored=arguments.ignore, variables=arguments.variables, using=arguments.database
        )
        return keep(self.kernel, arguments.output, frame)

    @manual()
    @DATABASE
    @OUTPUT
    @cell_magic
    @in_one_line
    def pgsql(self, line: str, cell: str) -> ResultFrame:
        """Execute this cell as SQL in one transaction, and show its last result set.

        Returns the columns of the last result set under their own names, with dtypes that keep its values exactly; if
        no statement returns rows, one row for each statement: `command`, `rows`. Notes name the other statements and
        what the server reported.

        Nothing in the cell is expanded. If Postgres refuses a statement, the error names its place in the cell, and
        nothing is kept. A statement that may not run inside a transaction, such as VACUUM, needs a cell of its own.
        Locks are those of the statements, and end with the cell.

        Example:
            %%pgsql
            SELECT status, count(*) FROM notebook_post GROUP BY status
        """
        arguments = parsed(self.pgsql, line)
        return keep(self.kernel, arguments.output, run_script(connections[arguments.database], cell))

    @manual()
    @argument("uri", metavar="URI", help="app_label.Model:trigger_name")
    @DATABASE
    @OUTPUT
    @line_magic
    @in_one_line
    def pgbypass(self, line: str) -> ResultFrame:
        """Try every way around a trigger, each in a savepoint, and show against which ways it held.

        Returns one row for each way to write a row that application code and administrators know: `way`, `operation`,
        `result` (`held`, `got through`, `not applicable`, `unknown`), `takes` (what the way needs: a privilege, the
        table's owner, a superuser), `row` (its key), `reason`.

        The ways are tried on a row that the trigger is about; if there is no such row, a row is changed or made up.
        Nothing is kept. It is an error if nothing is registered under the URI, if the trigger is not installed, or if
        a transaction is open already. The table is locked while the ways are tried; each waits 3 seconds at most.

        Example:
            %pgbypass notebook.Post:keep_published
        """
        arguments = parsed(self.pgbypass, line)
        return keep(self.kernel, arguments.output, try_bypasses(arguments.uri, arguments.database))
