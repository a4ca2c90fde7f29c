"""What `ignore`, `schema` and `context` have in common: each is a context manager, sync or async, and a decorator."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Sequence
from types import TracebackType
from typing import Any, Protocol, TypeVar, cast

from asgiref.sync import iscoroutinefunction
from django.db import connections

from pgmagic.errors import DeclarationError, UnknownDatabaseError

F = TypeVar("F", bound=Callable[..., Any])


class Block(ABC):
    """A block that can be entered again while it is open: by itself, in other threads, in other tasks."""

    @abstractmethod
    def __enter__(self) -> object: ...

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    async def __aenter__(self) -> object:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __call__(self, function: F) -> F:
        """Return a function, sync or async, whose body runs in the block; the body of a generator whenever it runs."""
        wrapped: Callable[..., object]
        if inspect.isasyncgenfunction(function):
            wrapped = around_async_generator(function, self)
        elif inspect.isgeneratorfunction(function):
            wrapped = around_generator(function, self)
        elif iscoroutinefunction(function):

            @functools.wraps(function)
            async def wrapped(*args: object, **kwargs: object) -> object:
                with self:
                    return await function(*args, **kwargs)

        else:

            @functools.wraps(function)
            def wrapped(*args: object, **kwargs: object) -> object:
                with self:
                    return function(*args, **kwargs)

        return cast("F", wrapped)


def check_parentheses(block: str, arguments: Sequence[object]) -> None:
    """Check that a block was not used as a decorator without parentheses: then the function is its only argument.

    block: its name, as users write it.

    Raises:
        DeclarationError: if it was.
    """
    if len(arguments) == 1 and callable(arguments[0]):
        name = getattr(arguments[0], "__name__", repr(arguments[0]))
        raise DeclarationError(
            f"{block} was given the function {name}, because its parentheses are missing: write @{block}() above it."
        )


class Entered(Protocol):
    """What is kept about a block while it is open."""

    @property
    def block(self) -> Block:
        """The block that was entered."""


E = TypeVar("E", bound=Entered)


def without_innermost(entered: Sequence[E], block: Block) -> tuple[E, ...] | None:
    """Return what stays open when a block is left: everything except the last time that it was entered.

    None if the block was entered in another task, and so is not open in this task.
    """
    for place in reversed(range(len(entered))):
        if entered[place].block is block:
            return (*entered[:place], *entered[place + 1 :])
    return None


def around_generator(
    function: Callable[..., Generator[object, object, object]], block: Block
) -> Callable[..., Generator[object, object, object]]:
    """Return a generator function that is in the block whenever its body runs."""

    @functools.wraps(function)
    def generate(*args: object, **kwargs: object) -> Generator[object, object, object]:
        generator = function(*args, **kwargs)
        step: Callable[[], object] = functools.partial(next, generator)
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


def around_async_generator(
    function: Callable[..., AsyncGenerator[object, object]], block: Block
) -> Callable[..., AsyncGenerator[object, object]]:
    """Return an async generator function that is in the block whenever its body runs."""

    @functools.wraps(function)
    async def generate(*args: object, **kwargs: object) -> AsyncGenerator[object, object]:
        generator = function(*args, **kwargs)
        step: Callable[[], Awaitable[object]] = generator.__anext__
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
    """Return the aliases of databases; None stands for all of them.

    Raises:
        DeclarationError: if `databases` is a text, whose letters would be taken for aliases.
        UnknownDatabaseError: if DATABASES does not have one of the databases.
    """
    if databases is None:
        return None
    if isinstance(databases, str):
        raise DeclarationError(f'Expected a list of databases, got "{databases}": write databases=["{databases}"].')
    aliases = frozenset(databases)
    for alias in sorted(aliases - set(connections.settings)):
        known = ", ".join(sorted(connections.settings))
        raise UnknownDatabaseError(f"The connection '{alias}' doesn't exist; DATABASES has: {known}.")
    return aliases
