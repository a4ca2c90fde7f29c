"""What `pgmagic run` prints about the notebooks that it executed."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from pgmagic.cli.execute import Execution

_INDENT = " " * 8


def show_execution(console: Console, execution: Execution) -> None:
    """Print one line for a notebook and, if it failed, the failing cell with its error."""
    name, failure = execution.path.name, execution.failure
    if failure is None:
        line = Text.assemble(("passed", "green"), f"  {name}  ({execution.cells} cells, {execution.elapsed_s:.1f} s)")
        console.print(line, soft_wrap=True)
        return
    where = f", cell {failure.cell} of {execution.cells}" if failure.cell else ""
    line = Text.assemble(("FAILED", "bold red"), f"  {name}{where}  ({execution.elapsed_s:.1f} s)")
    console.print(line, soft_wrap=True)
    for text in (Text(failure.source.strip("\n"), style="bold"), Text.from_ansi(failure.error)):
        if text.plain:
            console.print()
            for part in text.split("\n"):
                # Not wrapped at the terminal's width, so that it can be copied.
                console.print(Text.assemble(_INDENT, part), soft_wrap=True)
    console.print()


def show_summary(console: Console, executions: list[Execution], elapsed_s: float) -> None:
    """Print how many notebooks passed and which failed."""
    failed = [execution.path.name for execution in executions if execution.failure]
    count = len(executions)
    noun = "notebook" if count == 1 else "notebooks"
    verdict = f"{len(failed)} of {count} {noun} failed: {', '.join(failed)}"
    text = verdict if failed else f"{count} {noun} passed"
    console.print(f"{text} ({elapsed_s:.1f} s)", markup=False, soft_wrap=True)
