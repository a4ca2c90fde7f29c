"""How results look in a notebook and in a terminal: IPython shows result frames by `tables/`."""

from __future__ import annotations

from IPython.core.interactiveshell import InteractiveShell

from pgmagic.notebook.settings import PgMagic
from pgmagic.tables.frame import ResultFrame
from pgmagic.tables.html import html
from pgmagic.tables.text import text


def register(shell: InteractiveShell, settings: PgMagic) -> None:
    """Show result frames as tables, with as many rows as the settings say."""
    formatters = shell.display_formatter.formatters  # type: ignore[union-attr]
    formatters["text/html"].for_type(ResultFrame, lambda frame: html(frame, settings.max_rows))
    formatters["text/plain"].for_type(
        ResultFrame, lambda frame, printer, cycle: printer.text(text(frame, settings.max_rows))
    )


def unregister(shell: InteractiveShell) -> None:
    """Show result frames as pandas does."""
    formatters = shell.display_formatter.formatters  # type: ignore[union-attr]
    for kind in ("text/html", "text/plain"):
        formatters[kind].pop(ResultFrame, None)
