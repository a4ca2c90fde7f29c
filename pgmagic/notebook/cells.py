"""Running the text of a cell."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import CodeType, TracebackType
from typing import cast

from IPython.core.interactiveshell import InteractiveShell

from pgmagic.errors import CellError
from pgmagic.notebook.awaiting import run_to_end, synchronous_work_in_place


def parse_cell(shell: InteractiveShell, source: str) -> tuple[ast.Module, str]:
    """Return the syntax tree of a cell, IPython's own syntax included, and the name under which tracebacks show it.

    Raises:
        CellError: if the text is not Python; the message names the line, and nothing is changed.
    """
    text = shell.transform_cell(source)
    filename = shell.compile.cache(text, shell.execution_count, raw_code=source)
    try:
        tree = ast.parse(text, filename)
        # Some errors only the compiler finds, such as a `return` outside of a function.
        _compiled(shell, tree, filename)
    except SyntaxError as error:
        raise CellError(
            f"SyntaxError in line {error.lineno} of the cell: {error.msg} ({(error.text or '').strip()!r})."
        ) from None
    return tree, filename


def _compiled(shell: InteractiveShell, tree: ast.Module, filename: str) -> CodeType:
    # With the `__future__` imports of the kernel's cells, not with those of this file.
    flags = shell.compile.flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    return cast("CodeType", compile(tree, filename, "exec", flags=flags, dont_inherit=True))


def frames_of_cell(traceback: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback that is the cell's, without what called it; all of it if no cell was running.

    Returns None if an interrupt came while no code of the cell was running: an event loop was waiting.
    """
    found = traceback
    waiting = False
    while found is not None:
        if found.tb_frame.f_code in _RUNNING_CELLS:
            return found.tb_next
        waiting |= found.tb_frame.f_code is run_to_end.__code__
        found = found.tb_next
    return None if waiting else traceback


def execute(shell: InteractiveShell, statements: list[ast.stmt], filename: str) -> list[str]:
    """Execute statements in the user's namespace, as one block; top-level `await` works in them.

    Returns:
        The names of the tasks that they left pending, which were cancelled.
    """
    block = ast.Module(body=statements, type_ignores=[])
    return _execute([_compiled(shell, block, filename)], shell.user_ns, nullcontext)


def execute_each(
    shell: InteractiveShell,
    statements: Sequence[ast.stmt],
    filename: str,
    step: Callable[[], AbstractContextManager[object]],
) -> list[str]:
    """Execute statements in the user's namespace one by one, each inside a block that `step` makes.

    All of them share one event loop if one of them awaits, so that a task made in one step is awaited in another.

    Returns:
        The names of the tasks that they left pending, which were cancelled after the last step.
    """
    codes = [_compiled(shell, ast.Module(body=[statement], type_ignores=[]), filename) for statement in statements]
    return _execute(codes, shell.user_ns, step)


def _execute(
    codes: Sequence[CodeType], namespace: dict[str, object], step: Callable[[], AbstractContextManager[object]]
) -> list[str]:
    if any(map(_awaits, codes)):
        return run_to_end(_run_awaiting(codes, namespace, step))
    with synchronous_work_in_place():
        _run(codes, namespace, step)
    return []


def _awaits(code: CodeType) -> bool:
    return code.co_flags & inspect.CO_COROUTINE != 0


def _run(
    codes: Sequence[CodeType], namespace: dict[str, object], step: Callable[[], AbstractContextManager[object]]
) -> None:
    for code in codes:
        with step():
            exec(code, namespace)  # noqa: S102 - running the user's cell is what this is for


async def _run_awaiting(
    codes: Sequence[CodeType], namespace: dict[str, object], step: Callable[[], AbstractContextManager[object]]
) -> None:
    for code in codes:
        with step():
            result = eval(code, namespace)  # noqa: S307 - as above; it returns a coroutine where the code awaits
            if _awaits(code):
                await result


# Functions that call the code of a cell, or wait for it.
_RUNNING_CELLS = (_run.__code__, _run_awaiting.__code__)


def pending_note(tasks: Sequence[str]) -> list[str]:
    """Return a sentence about tasks that a cell left pending, if it did."""
    if not tasks:
        return []
    were = "1 task was" if len(tasks) == 1 else f"{len(tasks):,} tasks were"
    names = ", ".join(sorted(set(tasks)))
    return [f"{were} still pending at the end of the cell, and cancelled: {names}. `await` tasks that are to finish."]


@contextmanager
def namespace_restored_on_error(shell: InteractiveShell) -> Iterator[dict[str, object]]:
    """Take back the names that the block binds in the user's namespace, if it raises."""
    before = dict(shell.user_ns)
    try:
        yield shell.user_ns
    except BaseException:
        for name in set(shell.user_ns) - set(before):
            del shell.user_ns[name]
        shell.user_ns.update(before)
        raise
