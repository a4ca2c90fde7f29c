"""`context`: metadata - who, why, from where - for the events that a block of code causes.

The open context is the value of a context variable, so threads and async tasks never share it; `session_settings` sends
it to the server. A block inside another one adds to the same context, which lasts until the outermost block ends. A
task that was started inside a context inherits it, and adds to a context of its own.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from types import TracebackType
from typing import Any, NamedTuple, TypeVar
from weakref import ref

from django.core.serializers.json import DjangoJSONEncoder

from pgmagic.compile.event_values import CONTEXT_ID_SETTING, CONTEXT_METADATA_SETTING
from pgmagic.db.runtime import session_settings
from pgmagic.db.runtime.blocks import Block, check_parentheses
from pgmagic.declare.event_fields import imported, setting
from pgmagic.errors import ContextError

F = TypeVar("F", bound=Callable[..., Any])

# An escaped NUL after an even number of backslashes: JSON allows it, jsonb refuses it.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class Metadata(dict[str, Any]):
    """The metadata of a context: what is written into it while the context is open holds from the next statement on."""


def _sent_when_called(name: str) -> Callable[..., Any]:
    """Return a method of dicts that makes the open context send the changed metadata.

    It raises ContextError if the new metadata cannot be stored, and changes nothing then.
    """
    method = getattr(dict, name)

    @wraps(method)
    def change(self: Metadata, *args: Any, **kwargs: Any) -> Any:
        before = dict(self)
        returned = method(self, *args, **kwargs)
        opened = _open.get()
        if opened is not None and opened.context.metadata is self:
            try:
                _open.set(_Open.of(opened.context))
            except ContextError:
                dict.clear(self)
                dict.update(self, before)
                raise
        return returned

    return change


for _name in ("__setitem__", "__delitem__", "__ior__", "update", "pop", "popitem", "setdefault", "clear"):
    setattr(Metadata, _name, _sent_when_called(_name))


class Context(NamedTuple):
    """An open context: its id, and the metadata that it has by now."""

    id: uuid.UUID
    metadata: dict[str, Any]


@dataclass(frozen=True)
class _Open:
    """The state of an open context.

    encoded: the metadata as JSON, key by key. settings: the values of the two settings, made once for each state.
    task: the async task that opened it, if any; held weakly.
    """

    context: Context
    encoded: Mapping[str, str]
    settings: tuple[str, str]
    task: ref[asyncio.Task[Any]] | None

    @classmethod
    def start(cls, metadata: Mapping[str, Any], encoded: Mapping[str, str]) -> _Open:
        """Return a new context."""
        return cls._make(Context(time_ordered_id(), Metadata(metadata)), encoded)

    @classmethod
    def of(cls, context: Context) -> _Open:
        """Return the state of a context as its metadata is now."""
        return cls._make(context, _encode(context.metadata))

    @classmethod
    def _make(cls, context: Context, encoded: Mapping[str, str]) -> _Open:
        text = ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {value}" for key, value in encoded.items())
        task = _current_task()
        return cls(context, encoded, (str(context.id), f"{{{text}}}"), ref(task) if task else None)

    def plus(self, metadata: Mapping[str, Any], encoded: Mapping[str, str]) -> _Open:
        """Return the state with more metadata: of the same context, or of a new one if this is another task."""
        merged = {**self.encoded, **encoded}
        task = _current_task()
        if task is not None and (self.task is None or self.task() is not task):
            # Another task than the one that opened it.
            return self.start({**self.context.metadata, **metadata}, merged)
        # In place: whoever holds the context sees what was added later.
        dict.update(self.context.metadata, metadata)
        return self if merged == self.encoded else self._make(self.context, merged)


def time_ordered_id() -> uuid.UUID:
    """Return a UUID of version 7, which begins with the time, exact to a quarter of a microsecond.

    So the contexts of successive events are neighbours in an index, and Postgres expects it to read few pages.

    Source: https://www.rfc-editor.org/rfc/rfc9562#section-5.7, #section-6.2 (method 3)
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = (rest << 12) // 1_000_000
    return uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | secrets.randbits(62))


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        # No event loop runs in this thread.
        return None


_open: ContextVar[_Open | None] = ContextVar("pgmagic_context", default=None)
# The state before each block that is open in this task, the innermost block last.
_before: ContextVar[tuple[_Open | None, ...]] = ContextVar("pgmagic_contexts_before", default=())


def _reader(place: int) -> Callable[[str], str]:
    """Return the function that reads a setting of the open context; it is the same for every database."""

    def value(_alias: str) -> str:
        opened = _open.get()
        return "" if opened is None else opened.settings[place]

    return value


session_settings.carry(
    session_settings.Carried(CONTEXT_ID_SETTING, _reader(0)),
    session_settings.Carried(CONTEXT_METADATA_SETTING, _reader(1)),
)


def open_context() -> Context | None:
    """Return the context that is open in this thread or task now, or None."""
    opened = _open.get()
    return None if opened is None else opened.context


def replace_context(replacement: Context | None) -> None:
    """Open a context that has an id already, or close the open one, without a block: it lasts until it is replaced.

    Raises:
        ContextError: if its metadata cannot be stored; nothing is changed.
    """
    _open.set(None if replacement is None else _Open.of(replacement))
    session_settings.send_to_open_connections()


class context(Block):  # noqa: N801 - upstream's name
    """Attaches metadata to every event that a block of code causes, in this thread or async task.

    As a context manager (`with` or `async with`) or a decorator it opens a context, or adds to the open one; called by
    itself it only adds to an open context. A row of the table of contexts is written when the first event needs it. It
    takes no lock and needs no transaction.

    Args:
        unnamed: Must be empty: metadata is given by name.
        metadata: What `PGHISTORY_JSON_ENCODER` (by default Django's encoder) can encode; a key that is given again
            replaces the former value.

    Returns:
        The value of the block is a `Context`, with the `id` (a UUID) and the `metadata` that it has by now.

    Raises:
        ContextError: if a value cannot be encoded, or Postgres cannot store it; nothing is changed.
        DeclarationError: if it decorates a function without parentheses.

    Example:
        >>> with pghistory.context(user="ann"):
        ...     post.title = "Hello again"
        ...     post.save()
        >>> post.events.order_by("pgh_id").last().pgh_context.metadata
        {'user': 'ann'}
    """

    def __init__(self, *unnamed: object, **metadata: Any) -> None:
        check_parentheses("pghistory.context", unnamed)
        if unnamed:
            raise ContextError(
                f'pghistory.context takes metadata by name, but {unnamed[0]!r} was given: write context(user="ann").'
            )
        self.metadata = metadata
        self._encoded = _encode(metadata)
        # A plain call adds at once; `with` begins with the same call, so what was open before is kept.
        self._added: tuple[_Open, _Open] | None = None
        opened = _open.get()
        if opened is not None:
            self._added = opened, opened.plus(metadata, self._encoded)
            _open.set(self._added[1])

    def __enter__(self) -> Context:
        before = _open.get()
        if before is None:
            now = _Open.start(self.metadata, self._encoded)
        elif self._added is not None and self._added[1] is before:
            before, now = self._added
        else:
            now = before.plus(self.metadata, self._encoded)
        former = _before.get()
        _before.set((*former, before))
        _open.set(now)
        try:
            session_settings.send_to_open_connections()
        except BaseException:
            _open.set(before)
            _before.set(former)
            raise
        return now.context

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Empty if the block was entered in another task: then nothing is open in this task.
        *outer, before = _before.get() or (None,)
        _before.set(tuple(outer))
        now = _open.get()
        if before is None or (now is not None and before.context.id != now.context.id):
            _open.set(before)
            session_settings.send_to_open_connections()

    def __call__(self, function: F) -> F:
        """Return a function, sync or async, each call of which runs in the context."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ContextError(
                f"{function.__name__} is a generator, whose body runs outside the decorator: open the context inside "
                f"it, with `with pghistory.context(...)`."
            )
        return super().__call__(function)


def _encode(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return each value as JSON.

    Raises:
        ContextError: if a value cannot be encoded, or Postgres cannot store it; the message names the key.
    """
    encoder = imported(setting("PGHISTORY_JSON_ENCODER", DjangoJSONEncoder))
    encoded = {}
    for key, value in metadata.items():
        try:
            text = json.dumps(value, cls=encoder, ensure_ascii=False, allow_nan=False)
            text.encode()
            key.encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise ContextError(
                f'The context\'s "{key}" cannot be stored as JSON ({error}): give text, numbers, dates, lists and '
                f"dicts, or name an encoder in PGHISTORY_JSON_ENCODER."
            ) from error
        if _NUL.search(text) or "\x00" in key:
            raise ContextError(f'The context\'s "{key}" has a NUL character in it, which Postgres cannot store.')
        encoded[key] = text
    return encoded
