"""The function that returns the time of an event."""

from __future__ import annotations

import re
from typing import Final

from pgmagic.compile.sql import Fragment, verbatim
from pgmagic.declare.event_fields import setting

# Source: https://www.postgresql.org/docs/current/functions-datetime.html#FUNCTIONS-DATETIME-CURRENT
_BUILT_IN: Final = re.compile(r"(?:pg_catalog\.)?((?:clock|statement|transaction)_timestamp|now)\(\s*\)", re.IGNORECASE)


def clock_sql() -> Fragment:
    """Return the call of the function: qualified if it is Postgres's own, otherwise as the project wrote it."""
    configured = created_at_function()
    found = _BUILT_IN.fullmatch(configured)
    return verbatim(f"pg_catalog.{found[1].lower()}()" if found else configured)


def is_built_in() -> bool:
    """Return whether the function is Postgres's own under any `search_path`."""
    return _BUILT_IN.fullmatch(created_at_function()) is not None


def created_at_function() -> str:
    """Return the SQL of an event's time, as the project wrote it."""
    return str(setting("PGHISTORY_CREATED_AT_FUNCTION", "NOW()"))
