"""The magics; each parses its line, calls, and returns the result."""

from pgmagic.notebook.magics.magics import PgMagics

__all__ = ["PgMagics"]
