"""Coverage of the suite by room: `python -m tests.coverage_by_room FOLDER`, after a run that wrote its data there.

A run is measured when COVERAGE_PROCESS_START names `pyproject.toml` and COVERAGE_FILE a file in the folder: coverage
then starts in every Python process of the run, kernels and workers included. Processes that a test kills write nothing.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections import Counter
from pathlib import Path

from coverage import Coverage
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent


def measured(folder: Path) -> dict[str, Counter[str]]:
    """Return what was found in each room: statements and branches, and how many of them ran."""
    coverage = Coverage(data_file=str(folder / "data"), config_file=str(ROOT / "pyproject.toml"))
    coverage.combine([str(folder)], keep=True)
    report = folder / "report.json"
    with contextlib.redirect_stdout(io.StringIO()):
        coverage.json_report(outfile=str(report))
    rooms: dict[str, Counter[str]] = {}
    for name, found in json.loads(report.read_text())["files"].items():
        room = Path(name).parts[1]
        summary = found["summary"]
        rooms.setdefault(room, Counter()).update(
            statements=summary["num_statements"],
            statements_run=summary["covered_lines"],
            branches=summary["num_branches"],
            branches_run=summary["covered_branches"],
        )
    return rooms


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def main(folder: str) -> None:
    rooms = measured(Path(folder))
    table = Table(title="Coverage by room, kernels in child processes included")
    for heading in ("room", "statements", "run", "branches", "run"):
        table.add_column(heading, justify="left" if heading == "room" else "right")
    total: Counter[str] = sum(rooms.values(), Counter())
    for room, found in [*sorted(rooms.items()), ("all", total)]:
        table.add_row(
            room,
            f"{found['statements']:,}",
            percent(found["statements_run"], found["statements"]),
            f"{found['branches']:,}",
            percent(found["branches_run"], found["branches"]),
            style="bold" if room == "all" else None,
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main(*sys.argv[1:])
