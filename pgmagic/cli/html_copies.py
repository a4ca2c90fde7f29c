"""Write HTML copies of executed notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pgmagic.cli.execute import Execution
from pgmagic.errors import PgMagicError


def check_names(paths: list[Path]) -> None:
    """Check that each notebook would be written to a different HTML file.

    Raises:
        PgMagicError: two notebooks have the same file name.
    """
    seen: dict[str, Path] = {}
    for path in paths:
        if path.stem in seen:
            raise PgMagicError(
                f"{seen[path.stem]} and {path} would both become {path.stem}.html: run them one at a time, with "
                f"different --html folders."
            )
        seen[path.stem] = path


def write_html(execution: Execution, folder: Path) -> None:
    """Write a notebook, as far as it was executed, to `folder`, which is made if necessary.

    Raises:
        PgMagicError: the file cannot be written.
    """
    if execution.notebook is None:
        return
    from nbconvert import HTMLExporter

    name = execution.path.stem
    exporter: Any = HTMLExporter  # its package has no types
    body, _ = exporter().from_notebook_node(execution.notebook, {"metadata": {"name": name}})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.html").write_text(body, encoding="utf-8")
    except OSError as error:
        raise PgMagicError(f"{folder / name}.html cannot be written ({error.strerror}).") from error
