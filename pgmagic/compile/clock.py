"""The function that tells when an event happened."""

from __future__ import annotations

import re
from typing import Final

from pgmagic.compile.sql import Fragment, verbatim
from pgmagic.declare.event_fields import setting

# Source: https://www.postgresql.org/docs/current/functions-datetime.html#FUNCTIONS-DATETIME-CURRENT
_BUILT_IN: Final = re.compile(
    r"(?:pg_catalog\.)?((?:clock|statement|transaction)_timestamp|now)\(\s*\)", re.IGNORECASE
)


def clock_sql() -> Fragment:
    """Return the call of the function: one of Postgres's own is qualified, another as the project wrote it."""
    found = _BUILT_IN.fullmatch(_configured())
    return verbatim(f"pg_catalog.{found[1].lower()}()" if found else _configured())


def is_built_in() -> bool:
    """Return whether the function is Postgres's own, whatever the `search_path`."""
    return _BUILT_IN.fullmatch(_configured()) is not None


def _configured() -> str:
    return str(setting("PGHISTORY_CREATED_AT_FUNCTION", "NOW()"))
