from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from pgmagic.tables import progress
from pgmagic.tables.progress import Bar


def shown(bar: Bar, terminal: bool) -> str:
    """Return what a bar writes while something comes to its end."""
    out = StringIO()
    bar.console = Console(file=out, force_terminal=terminal, width=80)
    with bar:
        for done in range(0, 1200, 100):
            bar.show(done, 1000)
    return out.getvalue()


def test_bar_is_shown_when_something_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(Bar("Reading"), terminal=True) == ""
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    assert "Reading" in shown(Bar("Reading"), terminal=True)
    assert shown(Bar("Reading"), terminal=False) == ""
