"""What `ignore`, `schema` and `context` have in common: each is a block, sync or async, and a decorator."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from types import TracebackType
from typing import Any, Protocol, TypeVar

from asgiref.sync import iscoroutinefunction
from django.db import connections

from pgmagic.errors import DeclarationError, UnknownDatabaseError

F = TypeVar("F", bound=Callable[..., Any])


class Block(ABC):
    """A block that can be entered again while it is open: by itself, in other threads, in other tasks."""

    @abstractmethod
    def __enter__(self) -> Any: ...

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def __aenter__(self) -> Any:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __call__(self, function: F) -> F:
        """Return a function, sync or async, whose body runs in the block; that of a generator whenever it runs."""
        return _wrapped(function, self)  # type: ignore[return-value]


class Entered(Protocol):
    """What is kept of a block for as long as it is open."""

    @property
    def block(self) -> Block:
        """The block that was entered."""


E = TypeVar("E", bound=Entered)


def without_innermost(entered: Sequence[E], block: Block) -> tuple[E, ...] | None:
    """Return what stays open when a block is left: all but the last time that it was entered.

    None where the block is left in another task than it was entered in: then it is not open here.
    """
    for place in reversed(range(len(entered))):
        if entered[place].block is block:
            return (*entered[:place], *entered[place + 1 :])
    return None


def _wrapped(function: Callable[..., Any], block: Block) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(function):
        return _around_async_generator(function, block)
    if inspect.isgeneratorfunction(function):
        return _around_generator(function, block)
    if iscoroutinefunction(function):

        @functools.wraps(function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            with block:
                return await function(*args, **kwargs)

        return call_async

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with block:
            return function(*args, **kwargs)

    return call


def _around_generator(function: Callable[..., Any], block: Block) -> Callable[..., Any]:
    @functools.wraps(function)
    def generate(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = function(*args, **kwargs)
        step: Callable[[], Any] = functools.partial(next, generator)
        try:
            while True:
                with block:
                    try:
                        value = step()
                    except StopIteration as stop:
                        return stop.value
                try:
                    step = functools.partial(generator.send, (yield value))
                except Exception as thrown:  # noqa: BLE001 - it is the generator's to handle
                    step = functools.partial(generator.throw, thrown)
        finally:
            with block:
                generator.close()

    return generate


def _around_async_generator(function: Callable[..., Any], block: Block) -> Callable[..., Any]:
    @functools.wraps(function)
    async def generate(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator = function(*args, **kwargs)
        step: Callable[[], Any] = generator.__anext__
        try:
            while True:
                with block:
                    try:
                        value = await step()
                    except StopAsyncIteration:
                        return
                try:
                    step = functools.partial(generator.asend, (yield value))
                except Exception as thrown:  # noqa: BLE001 - it is the generator's to handle
                    step = functools.partial(generator.athrow, thrown)
        finally:
            with block:
                await generator.aclose()

    return generate


def checked_aliases(databases: Iterable[str] | None) -> frozenset[str] | None:
    """Return the aliases of databases; None stands for all.

    Raises:
        DeclarationError: it is one text, whose letters would be taken for aliases.
        UnknownDatabaseError: DATABASES has no such alias.
    """
    if databases is None:
        return None
    if isinstance(databases, str):
        raise DeclarationError(
            f'Expected a list of databases, got "{databases}": write databases=["{databases}"].'
        )
    aliases = frozenset(databases)
    for alias in sorted(aliases - set(connections.settings)):
        known = ", ".join(sorted(connections.settings))
        raise UnknownDatabaseError(f"The connection '{alias}' doesn't exist; DATABASES has: {known}.")
    return aliases
