"""Running the text of a cell."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, TracebackType
from typing import Any, cast

from IPython.core.interactiveshell import InteractiveShell

from pgmagic.errors import CellError


def parse_cell(shell: InteractiveShell, source: str) -> tuple[ast.Module, str]:
    """Return the syntax tree of a cell, IPython's own syntax included, and the name under which tracebacks show it.

    Raises:
        CellError: the text is no Python; names the line, and changes nothing.
    """
    text = shell.transform_cell(source)
    filename = shell.compile.cache(text, shell.execution_count, raw_code=source)
    try:
        tree = ast.parse(text, filename)
        # What only the compiler finds, such as a `return` outside of a function.
        _compiled(shell, tree, filename)
    except SyntaxError as error:
        raise CellError(
            f"SyntaxError in line {error.lineno} of the cell: {error.msg} ({(error.text or '').strip()!r})."
        ) from None
    return tree, filename


def _compiled(shell: InteractiveShell, tree: ast.Module, filename: str) -> CodeType:
    # With the `__future__` imports of the kernel's cells, not with those of this file.
    return cast("CodeType", compile(tree, filename, "exec", flags=shell.compile.flags, dont_inherit=True))


def frames_of_cell(traceback: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback that is the cell's, without what called it; all of it for any other error."""
    found = traceback
    while found is not None:
        if found.tb_frame.f_code is execute.__code__:
            return found.tb_next
        found = found.tb_next
    return traceback


def execute(shell: InteractiveShell, statements: list[ast.stmt], filename: str) -> None:
    """Execute statements in the user's namespace."""
    code = _compiled(shell, ast.Module(body=statements, type_ignores=[]), filename)
    exec(code, shell.user_ns)  # noqa: S102 - running the user's cell is what this is for


@contextmanager
def namespace_restored_on_error(shell: InteractiveShell) -> Iterator[dict[str, Any]]:
    """Take back the names that the block binds in the user's namespace, if it raises."""
    before = dict(shell.user_ns)
    try:
        yield shell.user_ns
    except BaseException:
        for name in set(shell.user_ns) - set(before):
            del shell.user_ns[name]
        shell.user_ns.update(before)
        raise
