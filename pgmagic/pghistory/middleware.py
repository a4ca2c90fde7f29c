"""`HistoryMiddleware`: who and from where, for the events that a request causes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextvars import Context, copy_context
from typing import Any, ClassVar

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import FileResponse, HttpRequest

from pgmagic.db.runtime.context import context
from pgmagic.declare.event_fields import setting

_END = object()
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class HistoryMiddleware:
    """Opens a context with the user's primary key (`user`) and the path (`url`) for each request, sync or async.

    `PGHISTORY_MIDDLEWARE_METHODS` says for which methods. A view that sets `request.user` later, as token
    authentication does, changes the context with it. What a streaming response writes while it is sent is in the
    context, too. A subclass may extend `get_context`.
    """

    sync_capable: ClassVar[bool] = True
    async_capable: ClassVar[bool] = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def get_context(self, request: HttpRequest) -> dict[str, Any]:
        """Return the metadata of a request's context."""
        return {"user": _key(getattr(request, "user", None)), "url": request.path}

    def __call__(self, request: HttpRequest) -> Any:
        """Answer a request in its context."""
        if iscoroutinefunction(self.get_response):
            return self._answer(request)
        if request.method not in setting("PGHISTORY_MIDDLEWARE_METHODS", _METHODS):
            return self.get_response(request)
        with context(**self.get_context(request)):
            _watch(request)
            return _streamed_in_context(self.get_response(request))

    async def _answer(self, request: HttpRequest) -> Any:
        get_response: Callable[[HttpRequest], Awaitable[Any]] = self.get_response
        if request.method not in setting("PGHISTORY_MIDDLEWARE_METHODS", _METHODS):
            return await get_response(request)
        auser = getattr(request, "auser", None)
        if auser is not None:
            # Loads the user without blocking; `request.user` gives the same one from now on.
            request.user = await auser()
        async with context(**self.get_context(request)):
            _watch(request)
            return _streamed_in_context(await get_response(request))


def _streamed_in_context(response: Any) -> Any:
    """Let a response that is produced while it is sent, after the block has ended, go on in the context."""
    if getattr(response, "streaming", False) and not isinstance(response, FileResponse):
        steps = _run_async_steps if response.is_async else _run_steps
        response.streaming_content = steps(response.streaming_content, copy_context())
    return response


def _run_steps(content: Iterable[Any], opened: Context) -> Iterator[Any]:
    iterator = iter(content)
    while (part := opened.run(next, iterator, _END)) is not _END:
        yield part


async def _run_async_steps(content: AsyncIterable[Any], opened: Context) -> AsyncIterator[Any]:
    iterator = aiter(content)

    async def step() -> Any:
        return await anext(iterator, _END)

    # What runs in a context variable's context of its own is a task.
    while (part := await asyncio.get_running_loop().create_task(step(), context=opened)) is not _END:
        yield part


class _Watched:
    """Makes a request tell the open context of a user that is set on it."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "user":
            context(user=_key(value))


def _watch(request: HttpRequest) -> None:
    kind = type(request)
    request.__class__ = type(kind.__name__, (_Watched, kind), {"__module__": kind.__module__})


def _key(user: Any) -> Any:
    return getattr(user, "pk", None)
