"""The magics; each parses its line, calls, and returns the result."""

from pgmagic.notebook.magics.magics import PgMagics
from pgmagic.notebook.magics.tracing import TracingMagics
from pgmagic.notebook.magics.triggers import TriggerMagics

__all__ = ["PgMagics", "TracingMagics", "TriggerMagics"]
