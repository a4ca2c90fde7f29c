"""Execute one notebook in a kernel of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from pgmagic.cli.kernel import ThisPythonKernelManager, private_transport
from pgmagic.notebook.session import NOTEBOOK_VARIABLE

# nbclient would log what the result already says.
_quiet = logging.getLogger("pgmagic.cli.execute")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


@dataclass(frozen=True)
class Failure:
    """Why a notebook could not be executed to its end.

    cell: number of the cell, counted from 1 over all cells; None if the failure belongs to no cell.
    error: may contain a terminal's colours.
    """

    error: str
    cell: int | None = None
    source: str = ""


@dataclass(frozen=True)
class Execution:
    """A notebook that was executed. notebook: with its outputs; None if it could not be read."""

    path: Path
    cells: int
    elapsed_s: float
    notebook: Any
    failure: Failure | None


async def execute(path: Path, timeout: int, advance: Callable[[int, int], None]) -> Execution:
    """Execute a notebook to its end or its first error; the file is only read.

    timeout: seconds that a cell may take.
    advance: called with the number of cells done and of all cells.
    """
    started = time.perf_counter()
    try:
        notebook = await asyncio.to_thread(nbformat.read, path, as_version=4)
    except Exception as error:  # noqa: BLE001 - a broken file can raise any exception in nbformat
        unreadable = Failure(f"This notebook cannot be read ({type(error).__name__}: {error}).")
        return Execution(path, 0, time.perf_counter() - started, None, unreadable)
    total = len(notebook.cells)
    failure = await _execute_cells(notebook, path, timeout, lambda done: advance(done, total))
    return Execution(path, total, time.perf_counter() - started, notebook, failure)


async def _execute_cells(notebook: Any, path: Path, timeout: int, advance: Callable[[int], None]) -> Failure | None:
    """Execute the cells in order; return the failure that ended the execution, or None."""
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_manager_class=ThisPythonKernelManager,
        resources={"metadata": {"path": str(path.parent)}},
        log=_quiet,
    )
    number, cell = 0, None
    try:
        async with _kernel(client, {**os.environ, NOTEBOOK_VARIABLE: str(path)}):
            for number, cell in enumerate(notebook.cells, 1):
                advance(number - 1)
                await client.async_execute_cell(cell, number - 1, execution_count=client.code_cells_executed + 1)
            advance(number)
    except CellExecutionError as error:
        return Failure(_text_of(cell, error), number, _source(cell))
    except CellTimeoutError:
        return Failure(f"The cell took longer than {timeout} seconds (--timeout).", number, _source(cell))
    except (DeadKernelError, RuntimeError) as error:
        # When this task is cancelled, nbclient reports that the kernel died.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError from None
        return Failure(f"The kernel ended ({error}).", number or None, _source(cell))
    return None


@contextlib.asynccontextmanager
async def _kernel(client: NotebookClient, environment: dict[str, str]) -> AsyncIterator[None]:
    """Keep a kernel running for a client, and always end it.

    nbclient's own function for this handles SIGINT itself, and continues as if the kernel had died.
    """
    manager = client.create_kernel_manager()
    client.reset_execution_trackers()
    with private_transport(manager):
        try:
            await client.async_start_new_kernel(env=environment)
            await client.async_start_new_kernel_client()
            yield
        except BaseException:
            # A cell may still be running, and would not react to a request to end.
            await _end(client, manager, now=True)
            raise
        await _end(client, manager, now=False)


async def _end(client: NotebookClient, manager: Any, *, now: bool) -> None:
    """End the kernel, if it was started, and the client's channels to it."""
    if client.kc is not None:
        client.kc.stop_channels()
    if manager.has_kernel:
        await manager.shutdown_kernel(now=now)


def _text_of(cell: Any, error: CellExecutionError) -> str:
    """Return what the notebook shows of an error: the traceback, or else the error's name and message."""
    for output in cell.outputs if cell is not None else ():
        if output.output_type == "error" and output.traceback:
            return "\n".join(output.traceback)
    return f"{error.ename}: {error.evalue}"


def _source(cell: Any) -> str:
    return cell.source if cell is not None else ""
