"""Loading and unloading pgmagic in a kernel."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics

from pgmagic.aliases import add_aliases, remove_aliases
from pgmagic.notebook.django_setup import configure_django

if TYPE_CHECKING:
    from pgmagic.notebook.session import Session
    from pgmagic.notebook.settings import PgMagic

_ASYNC_VARIABLE = "DJANGO_ALLOW_ASYNC_UNSAFE"


@dataclass
class _Loaded:
    """What loading changed, so that unloading can undo it."""

    session: Session
    settings: PgMagic
    magics: list[Magics]
    names: dict[str, ModuleType]
    async_unsafe: str | None


_loaded: dict[int, _Loaded] = {}


def load(shell: InteractiveShell) -> None:
    """Configure Django unless a project did, bind `models`, `pgtrigger` and `pghistory`, and add the magics."""
    if id(shell) in _loaded:
        return
    async_unsafe = os.environ.get(_ASYNC_VARIABLE)
    # Jupyter runs cells inside an event loop, where Django refuses its synchronous ORM.
    os.environ[_ASYNC_VARIABLE] = "true"
    own = configure_django()
    real = add_aliases()
    if real:
        print(
            f"The installed {' and '.join(real)} is already imported here and stays; "
            f"pgmagic's own is `from pgmagic import {', '.join(real)}`.",
            file=sys.stderr,
        )

    # These import models, so that Django has to be ready.
    from django.db import models

    from pgmagic import pghistory, pgtrigger
    from pgmagic.notebook import completion, display, tracebacks
    from pgmagic.notebook.magics import HistoryMagics, SessionMagics, TriggerMagics, WatchMagics
    from pgmagic.notebook.session import Session
    from pgmagic.notebook.settings import add_settings

    session = Session(shell, own)
    session.start()
    settings = add_settings(shell)
    magics: list[Magics] = [
        SessionMagics(shell, session),
        TriggerMagics(shell, settings),
        WatchMagics(shell),
        HistoryMagics(shell),
    ]
    names = {"models": models, "pgtrigger": pgtrigger, "pghistory": pghistory}
    shell.push(names)
    shell.register_magics(*magics)
    shell.events.register("pre_run_cell", session.reopen_lost_connection)
    display.register(shell, settings)
    completion.register(shell)
    tracebacks.show_short_tracebacks(shell)
    _loaded[id(shell)] = _Loaded(session, settings, magics, names, async_unsafe)


def unload(shell: InteractiveShell) -> None:
    """Remove the magics and names, and disconnect."""
    loaded = _loaded.pop(id(shell), None)
    if loaded is None:
        return
    from pgmagic.notebook import completion, display, tracebacks
    from pgmagic.notebook.settings import remove_settings

    shell.events.unregister("pre_run_cell", loaded.session.reopen_lost_connection)
    display.unregister(shell)
    remove_settings(shell, loaded.settings)
    completion.unregister(shell)
    tracebacks.show_full_tracebacks(shell)
    for magics in loaded.magics:
        for kind, names in magics.magics.items():
            for name in names:
                shell.magics_manager.magics[kind].pop(name, None)
    for name, value in loaded.names.items():
        if shell.user_ns.get(name) is value:
            del shell.user_ns[name]
    remove_aliases()
    loaded.session.stop()
    if loaded.async_unsafe is None:
        os.environ.pop(_ASYNC_VARIABLE, None)
    else:
        os.environ[_ASYNC_VARIABLE] = loaded.async_unsafe
