"""What the middleware attaches while a response is made, while it is sent, and when it fails."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.test import RequestFactory

from pgmagic import pghistory
from pgmagic.db.runtime.context import open_context
from pgmagic.pghistory.middleware import HistoryMiddleware
from tests.history_support import History, model

SEEN = {"user": 3, "url": "/path/"}


def asked(method: str = "post") -> Any:
    request = getattr(RequestFactory(), method)("/path/")
    request.user = User(pk=3)
    return request


def metadata() -> Any:
    opened = open_context()
    return opened and dict(opened.metadata)


def test_stream_is_sent_in_the_context_of_its_request():
    found: list[Any] = []

    def parts() -> Any:
        for number in range(2):
            found.append((open_context().id if open_context() else None, metadata()))
            yield f"{number}"

    def view(_request: Any) -> StreamingHttpResponse:
        found.append((open_context().id, metadata()))
        return StreamingHttpResponse(parts())

    response = HistoryMiddleware(view)(asked())
    assert metadata() is None
    with pghistory.context(other=1):
        assert next(iter(response)) == b"0"
        assert metadata() == {"other": 1}
    assert b"".join(response) == b"1"
    assert metadata() is None
    assert [seen for _, seen in found] == [SEEN] * 3
    assert len({key for key, _ in found}) == 1
    response.close()


def test_stream_of_a_class_of_the_projects_own_is_sent_in_the_context_of_its_request():
    class Stream(HttpResponse):
        streaming = True

    found: list[Any] = []

    def parts() -> Any:
        found.append(metadata())
        yield b"0"

    def view(_request: Any) -> HttpResponse:
        response = Stream()
        response.streaming_content = parts()
        return response

    assert list(HistoryMiddleware(view)(asked()).streaming_content) == [b"0"]
    assert found == [SEEN]


def test_async_stream_is_sent_in_the_context_of_its_request():
    found: list[Any] = []

    async def parts() -> Any:
        for number in range(2):
            await asyncio.sleep(0)
            found.append((open_context().id if open_context() else None, metadata()))
            yield f"{number}"

    async def view(_request: Any) -> StreamingHttpResponse:
        found.append((open_context().id, metadata()))
        return StreamingHttpResponse(parts())

    async def serve() -> bytes:
        response = await HistoryMiddleware(view)(asked())
        assert metadata() is None
        return b"".join([part async for part in response])

    assert asyncio.run(serve()) == b"01"
    assert [seen for _, seen in found] == [SEEN] * 3
    assert len({key for key, _ in found}) == 1


def test_stream_of_another_method_is_sent_as_it_is():
    response = HistoryMiddleware(lambda _request: StreamingHttpResponse(str(metadata()) for _ in "x"))(asked("options"))
    assert b"".join(response) == b"None"


def test_file_response_is_sent_as_it_is():
    response = HistoryMiddleware(lambda _request: FileResponse(io.BytesIO(b"file")))(asked("get"))
    assert response.file_to_stream is not None
    assert b"".join(response) == b"file"


@pytest.mark.parametrize("asynchronous", [False, True], ids=["wsgi", "asgi"])
def test_failing_view_leaves_no_context(asynchronous):
    def view(_request: Any) -> HttpResponse:
        assert metadata() == SEEN
        raise LookupError

    async def async_view(request: Any) -> HttpResponse:
        return view(request)

    async def serve() -> None:
        with pytest.raises(LookupError):
            await HistoryMiddleware(async_view)(asked())
        assert metadata() is None

    if asynchronous:
        asyncio.run(serve())
    else:
        with pytest.raises(LookupError):
            HistoryMiddleware(view)(asked())
    assert metadata() is None


def test_events_of_a_stream_have_the_context(history: History):
    from django.db import models

    thing = history.declare(lambda: pghistory.track()(model("Thing", n=models.IntegerField())))

    def parts() -> Any:
        thing.objects.create(n=2)
        yield "x"

    def view(_request: Any) -> StreamingHttpResponse:
        thing.objects.create(n=1)
        return StreamingHttpResponse(parts())

    response = HistoryMiddleware(view)(asked())
    thing.objects.create(n=0)
    list(response)
    thing.objects.create(n=0)
    events = thing.pgh_event_model.objects.order_by("pgh_id").select_related("pgh_context")
    assert [event.pgh_context and event.pgh_context.metadata for event in events] == [SEEN, None, SEEN, None]
    assert len({event.pgh_context_id for event in events}) == 2
