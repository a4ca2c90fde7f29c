"""`ignore`: a block of code for which triggers do not fire."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType

from pgmagic.compile.calling import calls_another
from pgmagic.compile.ignored_names import IGNORE_ALL, IGNORE_SETTING, coded_name
from pgmagic.db.runtime.blocks import Block, check_parentheses, checked_aliases, without_innermost
from pgmagic.db.runtime.session_settings import Carried, carry, send_to_open_connections
from pgmagic.declare import registry
from pgmagic.errors import DeclarationError


@dataclass(frozen=True)
class _Ignored:
    """What one entered block ignores: the names that the setting has, and on which databases (None: on all)."""

    block: ignore
    names: frozenset[str]
    databases: frozenset[str] | None

    def holds_for(self, alias: str) -> bool:
        return self.databases is None or alias in self.databases


class _Open:
    """The blocks that are open in this task, outermost first; the setting is computed once for each database."""

    def __init__(self, *blocks: _Ignored) -> None:
        self.blocks = blocks
        self._sent: dict[str, str] = {}

    def sent(self, alias: str) -> str:
        """Return `:name:name:`, `*` for all triggers, or an empty text for none."""
        if alias not in self._sent:
            names = {name for block in self.blocks if block.holds_for(alias) for name in block.names}
            joined = f":{':'.join(sorted(names))}:" if names else ""
            self._sent[alias] = IGNORE_ALL if IGNORE_ALL in names else joined
        return self._sent[alias]


_open: ContextVar[_Open] = ContextVar("pgmagic_ignored", default=_Open())  # noqa: B039 - it never changes

carry(Carried(IGNORE_SETTING, lambda alias: _open.get().sent(alias)))


class ignore(Block):  # noqa: N801 - upstream's name
    """Keeps triggers from firing for what a block of code does, in this thread or async task alone.

    A context manager (`with` or `async with`) and a decorator, also of async functions and generators. Blocks nest.
    The function of a trigger asks a setting of the session before it does anything, so no lock is taken and other
    sessions are not affected. The block survives rollbacks inside it. A deferred trigger fires at COMMIT: it is ignored
    only if the block is still open then. It needs no transaction.

    Args:
        uris: `app_label.Model:trigger_name`; without a URI, all triggers that can be ignored.
        databases: Aliases of DATABASES on which the triggers are ignored; None means all of them.

    Raises:
        UnknownTriggerError: on entering, if nothing is registered under a URI.
        DeclarationError: on entering, if a named trigger cannot be ignored; at once, if `databases` is a text, or if it
            decorates a function without parentheses.
        UnknownDatabaseError: if DATABASES does not have one of the databases.

    Example:
        >>> with pgtrigger.ignore("notebook.Post:keep_published"):
        ...     Post.objects.create(title="Old", status="published").delete()
        (1, {'notebook.Post': 1})
    """

    def __init__(self, *uris: str, databases: Iterable[str] | None = None) -> None:
        check_parentheses("pgtrigger.ignore", uris)
        self.uris = uris
        self.databases = checked_aliases(databases)

    def __enter__(self) -> None:
        former = _open.get()
        _open.set(_Open(*former.blocks, _Ignored(self, ignored_names(self.uris), self.databases)))
        try:
            send_to_open_connections(self.databases)
        except BaseException:
            _open.set(former)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        blocks = without_innermost(_open.get().blocks, self)
        if blocks is not None:
            _open.set(_Open(*blocks))
            send_to_open_connections(self.databases)

    @staticmethod
    def session(databases: Iterable[str] | None = None) -> AbstractContextManager[None]:
        """Do nothing for a block of code; in django-pgtrigger it makes `ignore` blocks inside it cheaper.

        Here each block costs two short messages to the server in any case.

        Args:
            databases: Aliases of DATABASES; None means all of them.

        Raises:
            UnknownDatabaseError: if DATABASES does not have one of the databases.
        """
        checked_aliases(databases)
        return nullcontext()


def ignored_names(uris: Sequence[str]) -> frozenset[str]:
    """Return the names that the setting has for triggers that are to be ignored.

    Raises:
        UnknownTriggerError: if nothing is registered under a URI.
        DeclarationError: if a trigger cannot be ignored.
    """
    if not uris:
        return frozenset([IGNORE_ALL])
    named = registry.registered(*uris)
    for model, trigger in named:
        if not trigger.ignorable:
            raise DeclarationError(f"{trigger.get_uri(model)} cannot be ignored: its class has `ignorable = False`.")
        if calls_another(trigger, model):
            raise DeclarationError(
                f"{trigger.get_uri(model)} cannot be ignored: the function that it calls does not check the setting."
            )
    return frozenset(coded_name(trigger.get_pgid(model)) for model, trigger in named)


def is_ignored(uri: str) -> bool:
    """Return whether a trigger is ignored in this thread or async task now, on at least one database.

    Args:
        uri: `app_label.Model:trigger_name`.

    Returns:
        True inside a block of `ignore` that names the trigger or no trigger at all; always False for a trigger that
        cannot be ignored.

    Raises:
        UnknownTriggerError: if nothing is registered under the URI.

    Example:
        >>> with pgtrigger.ignore():
        ...     pgtrigger.is_ignored("notebook.Post:keep_published")
        True
    """
    [(model, trigger)] = registry.registered(uri)
    name = coded_name(trigger.get_pgid(model))
    return (
        trigger.ignorable
        and not calls_another(trigger, model)
        and any(name in entered.names or IGNORE_ALL in entered.names for entered in _open.get().blocks)
    )
