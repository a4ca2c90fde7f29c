"""`%config PgMagic`: what a user may set for a kernel."""

from __future__ import annotations

from IPython.core.interactiveshell import InteractiveShell
from traitlets import Integer, Unicode
from traitlets.config import Configurable

from pgmagic.tables.grid import LIMIT


class PgMagic(Configurable):
    """Settings of pgmagic in a kernel: `%config PgMagic` lists them, `%config PgMagic.max_rows = 50` sets one.

    A configuration file of IPython's may set them for every kernel: `c.PgMagic.max_rows = 50`.
    """

    app_label = Unicode("notebook", help="The app label of the models in a %%pgtrigger cell without --app.").tag(
        config=True
    )
    max_rows = Integer(LIMIT, min=0, help="How many rows of a table are shown; the total is always shown.").tag(
        config=True
    )


def add_settings(shell: InteractiveShell) -> PgMagic:
    """Return a kernel's settings, and let `%config` list them."""
    settings = PgMagic(parent=shell)
    shell.configurables.append(settings)  # type: ignore[arg-type]  # its type is too narrow
    return settings


def remove_settings(shell: InteractiveShell, settings: PgMagic) -> None:
    """Let `%config` forget the settings."""
    shell.configurables.remove(settings)  # type: ignore[arg-type]
