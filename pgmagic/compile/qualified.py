"""Operators that are Postgres's own under any `search_path`.

If `pg_catalog` is last in the path, Postgres finds somebody else's `=` first; `IS DISTINCT FROM`, `IN`, `nullif` and a
CASE with a value search the path for `=`, too.

Source: https://www.postgresql.org/docs/current/sql-expressions.html#SQL-EXPRESSIONS-OPERATOR-CALLS
"""

from __future__ import annotations

from typing import Final, LiteralString

EQUALS: Final[LiteralString] = " OPERATOR(pg_catalog.=) "
DIFFERS: Final[LiteralString] = " OPERATOR(pg_catalog.<>) "
JOINED: Final[LiteralString] = " OPERATOR(pg_catalog.||) "
