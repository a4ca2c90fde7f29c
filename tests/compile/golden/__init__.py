"""Golden files: SQL as it was read and approved. `PGMAGIC_WRITE_GOLDEN=1` writes them anew, to be read in the diff."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(__file__).parent


def assert_golden(name: str, sql: str) -> None:
    """Compare SQL with the golden file of a name."""
    path = FOLDER / f"{name}.sql"
    if os.environ.get("PGMAGIC_WRITE_GOLDEN"):
        path.write_text(sql + "\n")
    assert sql + "\n" == path.read_text()
