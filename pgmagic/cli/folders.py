"""Find the notebooks."""

from __future__ import annotations

from pathlib import Path

import pgmagic
from pgmagic.errors import PgMagicError

FOLDER = "notebooks"


def notebooks_folder() -> Path | None:
    """Return the folder `notebooks` here, or else that of the checkout from which pgmagic is imported, or None."""
    for base in (Path.cwd(), Path(pgmagic.__file__).resolve().parents[1]):
        if (base / FOLDER).is_dir():
            return base / FOLDER
    return None


def chosen_notebooks(named: list[Path]) -> list[Path]:
    """Return the absolute paths of the notebooks to execute: the named ones, or else all in the folder.

    Raises:
        PgMagicError: there are no notebooks, or a named notebook does not exist.
    """
    if named:
        for path in named:
            if not path.is_file():
                raise PgMagicError(f"There is no notebook {path}.")
        return [path.resolve() for path in named]
    folder = notebooks_folder()
    found = sorted(folder.glob("*.ipynb")) if folder else []
    if not found:
        raise PgMagicError(
            f"There is no notebook in {Path.cwd() / FOLDER}: run this command beside the folder {FOLDER}, or name "
            "the notebooks."
        )
    return found
