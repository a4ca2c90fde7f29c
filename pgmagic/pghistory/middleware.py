"""`HistoryMiddleware`: the user and the path, for the events that a request causes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextvars import Context, copy_context
from typing import ClassVar, TypeAlias, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import FileResponse, HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase

from pgmagic.db.runtime.context import context
from pgmagic.declare.event_fields import setting

Handler: TypeAlias = Callable[[HttpRequest], HttpResponseBase]
AsyncHandler: TypeAlias = Callable[[HttpRequest], Awaitable[HttpResponseBase]]

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class HistoryMiddleware:
    """Opens a context with the user's primary key (`user`) and the path (`url`) for each request, sync or async.

    The setting `PGHISTORY_MIDDLEWARE_METHODS` names the methods: GET, POST, PUT, PATCH and DELETE by default. If a view
    sets `request.user` later, as token authentication does, the context gets the new user. What a streaming response
    writes while it is sent is in the context, too. A subclass may extend `get_context`.

    Args:
        get_response: the next middleware, or the view.

    Example:
        >>> from django.http import HttpResponse
        >>> from django.test import RequestFactory
        >>> from pgmagic.pghistory.middleware import HistoryMiddleware
        >>> def publish(request):
        ...     Post.objects.update(status="published")
        ...     return HttpResponse()
        >>> response = HistoryMiddleware(publish)(RequestFactory().post("/publish/"))
        >>> post.events.latest("pgh_id").pgh_context.metadata["url"]
        '/publish/'
    """

    sync_capable: ClassVar[bool] = True
    async_capable: ClassVar[bool] = True

    def __init__(self, get_response: Handler | AsyncHandler) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def get_context(self, request: HttpRequest) -> dict[str, object]:
        """Return the metadata of a request's context: `user`, None for an anonymous user, and `url`."""
        return {"user": _key(getattr(request, "user", None)), "url": request.path}

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Return the response, made in the request's context."""
        if iscoroutinefunction(self.get_response):
            return self._answer(request, cast("AsyncHandler", self.get_response))
        get_response = cast("Handler", self.get_response)
        if request.method not in setting("PGHISTORY_MIDDLEWARE_METHODS", METHODS):
            return get_response(request)
        with context(**self.get_context(request)):
            _watch(request)
            return _streamed_in_context(get_response(request))

    async def _answer(self, request: HttpRequest, get_response: AsyncHandler) -> HttpResponseBase:
        if request.method not in setting("PGHISTORY_MIDDLEWARE_METHODS", METHODS):
            return await get_response(request)
        auser = getattr(request, "auser", None)
        if auser is not None:
            # Loads the user without blocking; `request.user` is this user from now on.
            request.user = await auser()
        async with context(**self.get_context(request)):
            _watch(request)
            return _streamed_in_context(await get_response(request))


def _streamed_in_context(response: HttpResponseBase) -> HttpResponseBase:
    """Let a response that is produced while it is sent, after the block has ended, go on in the context."""
    # By Django's attribute, which a class of a project's own may have, too.
    if getattr(response, "streaming", False) and not isinstance(response, FileResponse):
        streaming = cast(StreamingHttpResponse, response)
        content = streaming.streaming_content
        opened = copy_context()
        streaming.streaming_content = (
            _run_async_steps(content, opened) if isinstance(content, AsyncIterable) else _run_steps(content, opened)
        )
    return response


def _run_steps(content: Iterable[bytes], opened: Context) -> Iterator[bytes]:
    iterator = iter(content)
    while (part := opened.run(next, iterator, None)) is not None:
        yield part


async def _run_async_steps(content: AsyncIterable[bytes], opened: Context) -> AsyncIterator[bytes]:
    iterator = aiter(content)

    async def step() -> bytes | None:
        return await anext(iterator, None)

    # Only a task runs in a context (of context variables) that it is given.
    while (part := await asyncio.get_running_loop().create_task(step(), context=opened)) is not None:
        yield part


class _Watched:
    """Makes a request pass a user that is set on it to the open context."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "user":
            context(user=_key(value))


def _watch(request: HttpRequest) -> None:
    kind = type(request)
    request.__class__ = type(kind.__name__, (_Watched, kind), {"__module__": kind.__module__})


def _key(user: object) -> object:
    return getattr(user, "pk", None)
