"""`%%pgtrigger`, `%%pgoutcome`, `%pghistory`, `%pgconnect` and `%pgreset`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments
from IPython.display import display

from pgmagic.db.evolution.renames import Wishes
from pgmagic.history.at_instants import as_of
from pgmagic.history.reading import diff, history
from pgmagic.notebook.declaring import install_cell, plan_cell
from pgmagic.notebook.magics.arguments import instant, key_and_value, rename
from pgmagic.notebook.magics.plumbing import in_one_line, keep, parsed
from pgmagic.notebook.session import Session
from pgmagic.notebook.settings import PgMagic
from pgmagic.notebook.watching import run_cell
from pgmagic.tables.frame import ResultFrame
from pgmagic.tables.highlighting import sql_html, sql_text

_output = argument("-o", "--output", metavar="NAME", help="store the result under this name")


@magics_class
class PgMagics(Magics):
    """The magics of one kernel's session."""

    def __init__(self, shell: InteractiveShell, session: Session, settings: PgMagic) -> None:
        super().__init__(shell)
        self.kernel = shell
        self.session = session
        self.settings = settings

    @magic_arguments()
    @argument("url", nargs="?", help="postgresql://user:password@host:port/database; without it: where am I?")
    @argument("--schema", help="the schema to work in (default: one for each notebook)")
    @line_magic
    @in_one_line
    def pgconnect(self, line: str) -> None:
        """Work on another database or schema, or say which it is."""
        arguments = parsed(self.pgconnect, line)
        print(self.session.connect(arguments.url, arguments.schema))

    @magic_arguments()
    @line_magic
    @in_one_line
    def pgreset(self, line: str) -> None:
        """Drop and recreate this notebook's schema, and forget its models."""
        parsed(self.pgreset, line)
        print(self.session.reset())

    @magic_arguments()
    @argument(
        "--app", metavar="LABEL", help="the app label of the models (default: notebook, see %%config PgMagic)"
    )
    @argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    @argument("--sql", action="store_true", help="show the SQL, too")
    @argument(
        "--rename",
        type=rename,
        action="append",
        metavar="MODEL[.FIELD]=NEW",
        help="a model or a field has a new name: keep its data under that",
    )
    @argument("--allow-data-loss", action="store_true", help="drop columns of removed fields with their data")
    @_output
    @cell_magic
    @in_one_line
    def pgtrigger(self, line: str, cell: str) -> ResultFrame:
        """Declare models and triggers in this cell, and install them in one transaction."""
        arguments = parsed(self.pgtrigger, line)
        run = plan_cell if arguments.dry_run else install_cell
        app_label = arguments.app or self.settings.app_label
        wishes = Wishes.of(app_label, arguments.rename or (), allow_data_loss=arguments.allow_data_loss)
        result = run(self.kernel, cell, app_label, wishes)
        if arguments.sql:
            _show_sql(result.sql)
        if result.error is not None:
            display(result.frame)
            raise UsageError(f"{result.error} Nothing of this cell was kept.")
        return keep(self.kernel, arguments.output, result.frame)

    @magic_arguments()
    @argument("--rollback", action="store_true", help="keep nothing of what the cell does")
    @_output
    @cell_magic
    @in_one_line
    def pgoutcome(self, line: str, cell: str) -> ResultFrame:
        """Run this cell in one transaction, and show what the database made of each statement.

        What it does in other databases of the project is watched, too, and kept only if everything is kept. They are
        committed one after the other: if the connection to one breaks in that moment, the notes say what was kept.
        """
        arguments = parsed(self.pgoutcome, line)
        frame = run_cell(self.kernel, cell, keep=not arguments.rollback)
        return keep(self.kernel, arguments.output, frame)

    @magic_arguments()
    @argument("target", help="a model, an object, or the name of a model")
    @argument("--label", help="only events with this label")
    @argument(
        "--since",
        type=instant,
        metavar="TIME",
        help="only events from this time on (2024-05-01, or 2024-05-01T12:00+02:00)",
    )
    @argument("--until", type=instant, metavar="TIME", help="only events before this time")
    @argument(
        "--context",
        type=key_and_value,
        action="append",
        metavar="KEY=VALUE",
        help="only events whose context has this value",
    )
    @argument("--limit", type=int, metavar="N", help="only the latest N events")
    @argument("--diff", action="store_true", help="show what changed, one row for each field")
    @argument(
        "--as-of",
        type=instant,
        metavar="TIME",
        help="show the table as it stood at this time, instead of its events",
    )
    @_output
    @line_magic
    @in_one_line
    def pghistory(self, line: str) -> ResultFrame:
        """Show the events of a model or of one object, what each of them changed, or the table as it stood."""
        arguments = parsed(self.pghistory, line)
        target = self.kernel.user_ns.get(arguments.target, arguments.target)
        if arguments.as_of is not None:
            _check_alone(arguments, "as_of", ("label", "since", "until", "context", "limit", "diff"))
            return keep(self.kernel, arguments.output, as_of(target, arguments.as_of))
        read = diff if arguments.diff else history
        frame = read(
            target,
            label=arguments.label,
            since=arguments.since,
            until=arguments.until,
            context=dict(arguments.context or ()),
            limit=arguments.limit,
        )
        return keep(self.kernel, arguments.output, frame)


def _check_alone(arguments: Namespace, option: str, others: Iterable[str]) -> None:
    """Check that an option is not combined with options that mean nothing beside it.

    Raises:
        UsageError: it is.
    """
    given = [f"--{name}" for name in others if getattr(arguments, name) not in (None, False)]
    if given:
        raise UsageError(f"--{option.replace('_', '-')} stands alone: leave out {', '.join(given)}.")


def _show_sql(sql: str) -> None:
    display({"text/html": sql_html(sql), "text/plain": sql_text(sql)}, raw=True)
