"""`ignore`: triggers that do not fire for what a block does."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType

from pgmagic.compile.calling import calls_another
from pgmagic.compile.ignored_names import IGNORE_ALL, IGNORE_SETTING, coded_name
from pgmagic.db.runtime.blocks import Block, checked_aliases, without_innermost
from pgmagic.db.runtime.session_settings import Carried, carry, tell_open_connections
from pgmagic.declare import registry
from pgmagic.errors import DeclarationError


@dataclass(frozen=True)
class _Ignored:
    """What one entered block ignores: names as they are told, and on which databases (None: on all)."""

    block: ignore
    names: frozenset[str]
    databases: frozenset[str] | None

    def holds_for(self, alias: str) -> bool:
        return self.databases is None or alias in self.databases


class _Open:
    """The blocks that are open in this task, outermost first; what servers are told of them is made once for each."""

    def __init__(self, *blocks: _Ignored) -> None:
        self.blocks = blocks
        self._told: dict[str, str] = {}

    def told(self, alias: str) -> str:
        """Return `:name:name:`, `*` for all triggers, or an empty text for none."""
        if alias not in self._told:
            names = {name for block in self.blocks if block.holds_for(alias) for name in block.names}
            self._told[alias] = IGNORE_ALL if IGNORE_ALL in names else _joined(names)
        return self._told[alias]


def _joined(names: set[str]) -> str:
    return f":{':'.join(sorted(names))}:" if names else ""


_open: ContextVar[_Open] = ContextVar("pgmagic_ignored", default=_Open())  # noqa: B039 - it never changes

carry(Carried(IGNORE_SETTING, lambda alias: _open.get().told(alias)))


class ignore(Block):  # noqa: N801 - upstream's name
    """Ignores triggers, all of them without a URI, for what the block does on the databases (None: on all).

    A context manager (`with` or `async with`) and a decorator, also of async functions and generators. Blocks nest.
    The state belongs to this thread or async task alone, and survives rollbacks inside the block. A deferred trigger
    is ignored only if the block is still open at COMMIT.

    Raises:
        UnknownTriggerError: on entering, nothing is registered under a URI.
        DeclarationError: on entering, a trigger that is named cannot be ignored.
        UnknownDatabaseError: DATABASES does not have one of the databases.
    """

    def __init__(self, *uris: str, databases: Iterable[str] | None = None) -> None:
        self.uris = uris
        self.databases = checked_aliases(databases)

    def __enter__(self) -> None:
        former = _open.get()
        _open.set(_Open(*former.blocks, _Ignored(self, self._names(), self.databases)))
        try:
            tell_open_connections(self.databases)
        except BaseException:
            _open.set(former)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        blocks = without_innermost(_open.get().blocks, self)
        if blocks is not None:
            _open.set(_Open(*blocks))
            tell_open_connections(self.databases)

    def _names(self) -> frozenset[str]:
        if not self.uris:
            return frozenset([IGNORE_ALL])
        named = registry.registered(*self.uris)
        for model, trigger in named:
            if not trigger.ignorable:
                raise DeclarationError(f"{trigger.get_uri(model)} cannot be ignored: its class says so.")
            if calls_another(trigger, model):
                raise DeclarationError(
                    f"{trigger.get_uri(model)} cannot be ignored: it calls a function that does not ask for that."
                )
        return frozenset(coded_name(trigger.get_pgid(model)) for model, trigger in named)

    @staticmethod
    def session(databases: Iterable[str] | None = None) -> AbstractContextManager[None]:
        """Do nothing for a block.

        Upstream's makes many `ignore` blocks inside it cheaper; here each costs two short messages in any case.

        Raises:
            UnknownDatabaseError: DATABASES does not have one of the databases.
        """
        checked_aliases(databases)
        return nullcontext()


def is_ignored(uri: str) -> bool:
    """Return whether a trigger is ignored here and now, on at least one database.

    Raises:
        UnknownTriggerError: nothing is registered under the URI.
    """
    [(model, trigger)] = registry.registered(uri)
    name = coded_name(trigger.get_pgid(model))
    return (
        trigger.ignorable
        and not calls_another(trigger, model)
        and any(name in entered.names or IGNORE_ALL in entered.names for entered in _open.get().blocks)
    )
