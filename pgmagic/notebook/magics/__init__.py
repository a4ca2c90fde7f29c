"""The magics; each parses its line, calls, and returns the result."""

from pgmagic.notebook.magics.pg_magics import PgMagics
from pgmagic.notebook.magics.trigger_magics import TriggerMagics
from pgmagic.notebook.magics.watch_magics import TracingMagics

__all__ = ["PgMagics", "TracingMagics", "TriggerMagics"]
