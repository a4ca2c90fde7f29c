"""`%%pgtrigger` and `%pgtrigger`: triggers declared and installed, and what is installed compared with that."""

from __future__ import annotations

from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence

from django.db import DEFAULT_DB_ALIAS
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import argument
from IPython.display import display

from pgmagic.db import trigger_frames
from pgmagic.db.changes import postgres_alias
from pgmagic.db.evolution.renames import Wishes
from pgmagic.notebook.declaring import install_cell, plan_cell
from pgmagic.notebook.magics.lines import (
    OUTPUT,
    SubCommand,
    database_alias,
    in_one_line,
    keep,
    manual,
    parsed,
    rename,
    sub_commands,
    with_notes,
)
from pgmagic.notebook.settings import PgMagic
from pgmagic.notebook.slips import check_percent_signs
from pgmagic.tables.frame import ResultFrame
from pgmagic.tables.highlighting import sql_html, sql_text
from pgmagic.trial.matrix_frame import try_field


def _postgres(text: str) -> str:
    """Return the name of one of Django's databases that has triggers.

    Raises:
        ArgumentTypeError: if no database has the name, or it is not Postgres.
    """
    if postgres_alias(database_alias(text)) is None:
        raise ArgumentTypeError(f"the database {text!r} is not Postgres, so it has no triggers; choose another")
    return text


# Without the option, it is the default one.
_DATABASE = argument("--database", type=_postgres, metavar="ALIAS", help="which of the project's databases")
_URI = argument("uri", metavar="URI", help="app_label.Model:trigger_name")
_URIS = argument("uris", nargs="*", metavar="URI", help="app_label.Model:trigger_name; without any: all of them")
_FIELD = argument("field", metavar="MODEL.FIELD", help="such as Post.status")
_PATTERN = argument("pattern", nargs="?", help="only those with this in their table or name; * and ? may be in it")

_ALL = argument("--all", action="store_true", help="the triggers of all other schemas of the database, too")


def _about_uris(run: Callable[[Sequence[str], str | None], object], words: str) -> SubCommand:
    return SubCommand(lambda arguments: run(arguments.uris, arguments.database), words, (_URIS, _DATABASE, OUTPUT))


def _try_transitions(arguments: Namespace) -> ResultFrame:
    frame, diagram = try_field(arguments.field, arguments.database or DEFAULT_DB_ALIAS)
    display(diagram.bundle(), raw=True)
    return frame


COMMANDS = {
    "ls": SubCommand(
        lambda arguments: trigger_frames.list_matching(arguments.pattern, arguments.database, everywhere=arguments.all),
        "every trigger in this notebook's schema, whoever installed it, and those that are only declared",
        (_PATTERN, _ALL, _DATABASE, OUTPUT),
    ),
    "sql": SubCommand(
        lambda arguments: trigger_frames.sql_of(arguments.uri), "the SQL that installs a trigger", (_URI, OUTPUT)
    ),
    "diff": _about_uris(trigger_frames.compare, "where triggers in the database differ from their declarations"),
    "install": _about_uris(trigger_frames.install, "install declared triggers, or what changed in them"),
    "uninstall": _about_uris(trigger_frames.uninstall, "drop declared triggers with their functions"),
    "enable": _about_uris(trigger_frames.enable, "let declared triggers fire"),
    "disable": _about_uris(trigger_frames.disable, "keep declared triggers installed, but let them fire for nobody"),
    "fsm": SubCommand(
        _try_transitions,
        "the states of a field as a diagram and a matrix: every pair is tried, and nothing is kept",
        (_FIELD, _DATABASE, OUTPUT),
    ),
    "prune": _about_uris(trigger_frames.prune, "drop what pgmagic installed here and nothing declares any more"),
}


@magics_class
class TriggerMagics(Magics):
    """The magics that declare, install and compare triggers."""

    def __init__(self, shell: InteractiveShell, settings: PgMagic) -> None:
        super().__init__(shell)
        self.kernel = shell
        self.settings = settings

    @manual("pgtrigger")
    @argument("--app", metavar="LABEL", help="the app label of the models (default: notebook, see %%config PgMagic)")
    @argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    @argument("--sql", action="store_true", help="show the SQL, too")
    @argument(
        "--rename",
        type=rename,
        action="append",
        metavar="MODEL[.FIELD]=NEW",
        help="a model or a field has a new name: keep its data under the new name",
    )
    @argument("--allow-data-loss", action="store_true", help="drop columns of removed fields with their data")
    @OUTPUT
    @cell_magic("pgtrigger")  # type: ignore[arg-type]  # its types know the form without a name only
    @in_one_line
    def declare(self, line: str, cell: str) -> ResultFrame:
        """Declare models and triggers in this cell, and install them in one transaction.

        Returns one row for each step, in the order of execution: `object` (a model's label, a trigger's URI), `kind`,
        `action` (`create`, `alter`, `replace`, `drop`, `unchanged`), `status`, `fires`, `condition` (SQL),
        `elapsed_ms` (milliseconds).

        Everything takes effect, or nothing: if the cell raises, the database refuses or you interrupt, then the tables,
        the models and your names are as before. A cell that is run again changes only what differs. It is an error if a
        change would drop data and `--allow-data-loss` is not given.

        Tables that get a trigger or a column are locked against writes until the end of the installation, which waits
        10 seconds at most for locks of other sessions.

        Example:
            %%pgtrigger
            @pghistory.track()
            class Comment(models.Model):
                text = models.TextField()
                class Meta:
                    triggers = [pgtrigger.Protect(name="keep", operation=pgtrigger.Delete)]

            %%pgtrigger --dry-run --sql
            pgtrigger.register(pgtrigger.ReadOnly(name="fixed_title", fields=["title"]))(Post)
        """
        arguments = parsed(self.declare, line)
        run = plan_cell if arguments.dry_run else install_cell
        app_label = arguments.app or self.settings.app_label
        wishes = Wishes.of(app_label, arguments.rename or (), allow_data_loss=arguments.allow_data_loss)
        result = run(self.kernel, cell, app_label, wishes)
        if arguments.sql:
            display({"text/html": sql_html(result.sql), "text/plain": sql_text(result.sql)}, raw=True)
        if result.error is not None:
            display(result.frame)
            sentence = f"{str(result.error).removesuffix('.')}. Nothing of this cell was kept."
            raise UsageError(with_notes(sentence, result.error))
        return keep(self.kernel, arguments.output, result.frame)

    @manual()
    @sub_commands(COMMANDS)
    @line_magic
    @in_one_line
    def pgtrigger(self, line: str) -> object:
        """List the triggers of the database, and install, drop, enable, disable or compare those that are declared.

        Returns, by sub-command:

        - `ls`: one row for each trigger, by table and name: `name`, `state`, `drift`, `enabled`, `table`, `fires`,
          `condition`;
        - `sql`: the text of the SQL;
        - `diff`: one row for each group of lines that differs: `trigger`, `kind`, `line`, `live`, `declared`;
        - `fsm`: a row and a column for each state, with the verdict on each transition, and a diagram;
        - the others: one row for each step, as `%%pgtrigger` does.

        It is an error if nothing is registered under a URI, or if the database refuses. Each change is one transaction:
        it takes effect for all triggers that are named, or for none, and locks their tables against writes meanwhile.
        Only what pgmagic installed is ever changed or dropped.

        Example:
            %pgtrigger ls post

            %pgtrigger fsm Post.status
        """
        check_percent_signs(line)
        arguments = parsed(self.pgtrigger, line)
        return keep(self.kernel, arguments.output, arguments.run(arguments))
