"""Blocks as decorators: the body of functions, coroutines and generators runs inside, wherever it is called."""

from __future__ import annotations

import asyncio
from contextlib import closing

import pytest
from django.utils.connection import ConnectionDoesNotExist

from pgmagic import pgtrigger
from pgmagic.db.runtime.blocks import Block, checked_aliases
from pgmagic.errors import DeclarationError, UnknownDatabaseError


class Recording(Block):
    """A block that knows how deep it is open."""

    def __init__(self):
        self.depth = 0
        self.entered = 0

    def __enter__(self):
        self.depth += 1
        self.entered += 1

    def __exit__(self, kind, error, traceback):
        self.depth -= 1


@pytest.fixture
def block():
    found = Recording()
    yield found
    assert found.depth == 0


def test_function_runs_inside_and_keeps_its_name(block):
    @block
    def run(a, *, b):
        """Say so."""
        return block.depth, a, b

    assert run(1, b=2) == (1, 1, 2)
    assert (run.__name__, run.__doc__) == ("run", "Say so.")


def test_recursion_enters_again(block):
    @block
    def run(left):
        return [block.depth, *(run(left - 1) if left else [])]

    assert run(2) == [1, 2, 3]


def test_coroutine_runs_inside_until_it_is_done(block):
    @block
    async def run():
        before = block.depth
        await asyncio.sleep(0)
        return before, block.depth

    waiting = run()
    assert block.depth == 0
    assert asyncio.run(waiting) == (1, 1)
    assert asyncio.iscoroutinefunction(run)


def test_method_can_be_decorated(block):
    class Service:
        @block
        def run(self):
            return block.depth, type(self)

    assert Service().run() == (1, Service)


def test_generator_runs_inside_and_its_reader_outside(block):
    @block
    def produce():
        sent = yield block.depth
        try:
            yield sent, block.depth
        except KeyError:
            yield "caught", block.depth
        return block.depth

    generator = produce()
    assert block.entered == 0
    assert (next(generator), block.depth) == (1, 0)
    assert (generator.send("a"), block.depth) == (("a", 1), 0)
    assert (generator.throw(KeyError()), block.depth) == (("caught", 1), 0)
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert stop.value.value == 1


def test_generator_cleans_up_inside(block):
    seen = []

    @block
    def produce():
        try:
            yield 1
        finally:
            seen.append(block.depth)

    with closing(produce()) as generator:
        next(generator)
    assert seen == [1]
    with pytest.raises(ZeroDivisionError):
        list(_failing(block))


def _failing(block):
    @block
    def produce():
        yield 1
        raise ZeroDivisionError

    return produce()


def test_async_generator_runs_inside_and_its_reader_outside(block):
    seen = []

    @block
    async def produce():
        try:
            sent = yield block.depth
            await asyncio.sleep(0)
            try:
                yield sent, block.depth
            except KeyError:
                yield "caught", block.depth
        finally:
            seen.append(block.depth)

    async def main():
        generator = produce()
        seen.append((await anext(generator), block.depth))
        seen.append((await generator.asend("a"), block.depth))
        seen.append((await generator.athrow(KeyError()), block.depth))
        await generator.aclose()
        seen.append([value async for value in produce()])

    asyncio.run(main())
    assert seen == [(1, 0), (("a", 1), 0), (("caught", 1), 0), 1, 1, [1, (None, 1)]]


def test_databases_are_checked():
    assert checked_aliases(None) is None
    assert checked_aliases([]) == frozenset()
    assert checked_aliases(("default",)) == {"default"}
    with pytest.raises(UnknownDatabaseError, match=r"'nope' doesn't exist; DATABASES has: default\.") as error:
        checked_aliases(["default", "nope"])
    assert isinstance(error.value, ConnectionDoesNotExist)
    with pytest.raises(DeclarationError, match=r'write databases=\["default"\]'):
        checked_aliases("default")


@pytest.mark.parametrize("make", [pgtrigger.ignore, pgtrigger.schema], ids=["ignore", "schema"])
def test_unknown_database_is_refused_when_the_block_is_made(make):
    with pytest.raises(UnknownDatabaseError):
        make(databases=["nope"])
    with pytest.raises(UnknownDatabaseError):
        make.session(databases=["nope"])
    with make.session() as value:
        assert value is None
