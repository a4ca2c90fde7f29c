"""Top-level `await` in the cells of magics: an event loop of the cell's own, in the thread of the cell's connection.

A magic is called while the kernel's own event loop is running, which cannot be entered again. So the cell gets a loop
of its own, in the same thread, and the kernel's is set aside until the cell ends. What Django does for `acreate()` and
its like - hand the synchronous work to another thread, where another database connection waits - is done in this thread
instead: everything happens on one connection and in one transaction.

Source: https://docs.python.org/3/library/asyncio-extending.html
        https://docs.djangoproject.com/en/stable/topics/async/#asgiref.sync.sync_to_async (thread sensitivity)
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, TypeVar

from asgiref.sync import AsyncToSync
from django.db import connections

T = TypeVar("T")

_UNSET = object()


class _InPlace(Executor):
    """Calls what it is given at once, in the thread that asks for it."""

    def __init__(self) -> None:
        # What a nested `async_to_sync` looks at in the executor above its own: this one never waits for work.
        self._work_ready = threading.Condition()
        self._broken = True
        self._old_executor = None

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Return a future that is done; an interrupt is raised."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - whatever the user's function raises
            future.set_exception(error)
        return future


@contextmanager
def synchronous_work_in_place() -> Iterator[None]:
    """Let `sync_to_async`, and with it Django's asynchronous ORM, work in the calling thread inside the block."""
    _share_connections()
    executors: Any = AsyncToSync.executors
    former = getattr(executors, "current", None)
    executors.current = _InPlace()
    try:
        yield
    finally:
        executors.current = former


def _share_connections() -> None:
    """Let code in an event loop find this thread's own connections.

    Django keeps two sets of them in a thread: one for code outside of event loops, and one for code inside, which the
    tasks of a context inherit.
    """
    own = {alias: connections[alias] for alias in connections}
    running = asyncio._get_running_loop()
    # Any loop will do: it only has to exist.
    loop = running or asyncio.new_event_loop()
    asyncio._set_running_loop(loop)
    try:
        for alias, connection in own.items():
            connections[alias] = connection
    finally:
        asyncio._set_running_loop(running)
        if running is None:
            loop.close()


def run_to_end(main: Coroutine[Any, Any, None]) -> list[str]:
    """Run a coroutine in a loop of its own until it is done; return the names of the tasks that it left pending.

    Pending tasks are cancelled, and have ended when this returns. Context variables that the coroutine sets are set in
    the caller's context, as by a function that is called. An interrupt is raised at once, from the statement under way
    or from the wait. Every task ends before an exception leaves.
    """
    with synchronous_work_in_place(), _running_loop_set_aside():
        context = copy_context()
        loop = asyncio.new_event_loop()
        try:
            try:
                loop.run_until_complete(loop.create_task(main, context=context))
            finally:
                left = _end_tasks(loop)
                loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()
            for variable, value in context.items():
                if variable.get(_UNSET) is not value:
                    variable.set(value)
    return left


def _end_tasks(loop: asyncio.AbstractEventLoop) -> list[str]:
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    return [getattr(task.get_coro(), "__qualname__", task.get_name()) for task in tasks]


@contextmanager
def _running_loop_set_aside() -> Iterator[None]:
    """Let another event loop run in this thread inside the block."""
    loop = asyncio._get_running_loop()
    task = asyncio.current_task(loop) if loop is not None else None
    if loop is not None and task is not None:
        asyncio._leave_task(loop, task)
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
        if loop is not None and task is not None:
            asyncio._enter_task(loop, task)
