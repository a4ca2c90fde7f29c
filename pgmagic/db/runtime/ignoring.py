"""`ignore`: triggers that do not fire for what a block does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from pgmagic.compile.ignoring import IGNORE_ALL, IGNORE_SETTING
from pgmagic.db.runtime import session
from pgmagic.declare import registry
from pgmagic.errors import DeclarationError


@dataclass(frozen=True)
class _Ignored:
    """Names in Postgres of ignored triggers, and the databases (None: all) in which they are ignored."""

    names: frozenset[str]
    databases: frozenset[str] | None

    def holds_for(self, alias: str) -> bool:
        return self.databases is None or alias in self.databases


_ignored: ContextVar[tuple[_Ignored, ...]] = ContextVar("pgmagic_ignored", default=())


class _IgnoreState:
    """Carries what this task ignores to the database session."""

    settings: tuple[str, ...] = (IGNORE_SETTING,)

    def values(self, alias: str) -> tuple[str, ...]:
        """Return `:name:name:`, `*` for all triggers, or an empty text for none."""
        blocks = _ignored.get()
        if not blocks:
            return ("",)
        names = {name for block in blocks if block.holds_for(alias) for name in block.names}
        if IGNORE_ALL in names:
            return (IGNORE_ALL,)
        return (f":{':'.join(sorted(names))}:" if names else "",)


session.carry(_IgnoreState())


@contextmanager
def ignoring(*uris: str, databases: Iterable[str] | None = None) -> Iterator[None]:
    """Ignore triggers, all of them without a URI, for what this block does on the databases.

    Blocks nest. The state belongs to this thread or async task alone, and survives rollbacks inside the block.
    A deferred trigger is ignored only if the block is still open at COMMIT.

    Raises:
        UnknownTriggerError: nothing is registered under a URI.
        DeclarationError: a trigger that is named cannot be ignored.
    """
    named = registry.registered(*uris)
    for model, trigger in named if uris else ():
        if not trigger.ignorable:
            raise DeclarationError(f"{trigger.get_uri(model)} cannot be ignored: its class says so.")
    names = frozenset(trigger.get_pgid(model) for model, trigger in named)
    block = _Ignored(names if uris else frozenset([IGNORE_ALL]), frozenset(databases) if databases else None)
    token = _ignored.set((*_ignored.get(), block))
    try:
        session.tell_open_connections(block.databases)
        yield
    finally:
        _ignored.reset(token)
        session.tell_open_connections(block.databases)


def is_ignored(uri: str) -> bool:
    """Return whether a trigger is ignored here and now, on at least one database.

    Raises:
        UnknownTriggerError: nothing is registered under the URI.
    """
    [(model, trigger)] = registry.registered(uri)
    name = trigger.get_pgid(model)
    return any(name in block.names or IGNORE_ALL in block.names for block in _ignored.get())
