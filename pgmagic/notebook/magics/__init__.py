"""The magics; each parses its line, calls, and returns the result."""

from pgmagic.notebook.magics.history_magics import HistoryMagics
from pgmagic.notebook.magics.session_magics import SessionMagics
from pgmagic.notebook.magics.trigger_magics import TriggerMagics
from pgmagic.notebook.magics.watch_magics import WatchMagics

__all__ = ["HistoryMagics", "SessionMagics", "TriggerMagics", "WatchMagics"]
