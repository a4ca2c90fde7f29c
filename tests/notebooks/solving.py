"""The exercises of the notebooks, their checks and their solutions."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

from nbformat.v4 import new_code_cell

_BLOCK = re.compile(r"^```python\n(.*?)\n```$", re.MULTILINE | re.DOTALL)


def cell_of(notebook: Any, name: str) -> Any:
    """Return the cell of a name."""
    return next(cell for cell in notebook.cells if cell.id == name)


def solved(notebook: Any) -> Any:
    """Return a notebook in which the reader solved the exercise as its solution says, and ran the check again."""
    found = deepcopy(notebook)
    solution = cell_of(found, "solution")
    assert "<details>" in solution.source
    cells = [new_code_cell(source) for source in _BLOCK.findall(solution.source)]
    found.cells += [*cells, new_code_cell(cell_of(found, "check").source, id="check-again")]
    return found


def verdict(notebook: Any, name: str) -> str:
    """Return what an executed check says, as text."""
    outputs = cell_of(notebook, name).outputs
    return "\n".join(output.data["text/plain"] for output in outputs if "data" in output)
