"""`%pghistory`: the recorded history of a model or an object."""

from __future__ import annotations

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_magic, magics_class
from IPython.core.magic_arguments import argument

from pgmagic.history.as_of import as_of
from pgmagic.history.reading import diff, history
from pgmagic.notebook.magics.lines import OUTPUT, in_one_line, instant, keep, key_and_value, manual, parsed
from pgmagic.tables.frame import ResultFrame


@magics_class
class HistoryMagics(Magics):
    """The magic that reads events."""

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self.kernel = shell

    @manual()
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
        "--as-of", type=instant, metavar="TIME", help="show the table as it stood at this time, instead of its events"
    )
    @OUTPUT
    @line_magic
    @in_one_line
    def pghistory(self, line: str) -> ResultFrame:
        """Show the events of a model or of one object, what each event changed, or the table as it stood.

        Returns one of three frames. Times are in UTC; a time on the line without an offset is in Django's time zone.

        - The events, in the order in which they happened: `pgh_id`, `pgh_created_at`, `pgh_label`, `pgh_obj_id`,
          `pgh_context_id`, `context`, and every tracked field.
        - With `--diff`, one row for each field that an event changed: `pgh_created_at`, `pgh_obj_id`, `pgh_label`,
          `field`, `before`, `after`, `context`.
        - With `--as-of`, one row for each object of that time, with its tracked fields. It stands alone.

        It is an error if the target is neither a tracked model nor an object of one. Only reads, in the transaction
        that is open, if there is one; locks no row.

        Example:
            %pghistory Post --diff

            %pghistory post --since 2024-05-01 --limit 10
        """
        arguments = parsed(self.pghistory, line)
        target = self.kernel.user_ns.get(arguments.target, arguments.target)
        if arguments.as_of is not None:
            others = ("label", "since", "until", "context", "limit", "diff")
            given = [f"--{name}" for name in others if getattr(arguments, name) not in (None, False)]
            if given:
                raise UsageError(f"--as-of stands alone: leave out {', '.join(given)}.")
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
