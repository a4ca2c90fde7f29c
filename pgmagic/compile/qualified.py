"""Operators that are Postgres's own under any `search_path`.

A path that ends in `pg_catalog` finds somebody else's `=` first; `IS DISTINCT FROM`, `IN`, `nullif` and a CASE with a
value look for one along the path, too.

Source: https://www.postgresql.org/docs/current/sql-expressions.html#SQL-EXPRESSIONS-OPERATOR-CALLS
"""

from __future__ import annotations

from typing import Final, LiteralString

EQUALS: Final[LiteralString] = " OPERATOR(pg_catalog.=) "
DIFFERS: Final[LiteralString] = " OPERATOR(pg_catalog.<>) "
JOINED: Final[LiteralString] = " OPERATOR(pg_catalog.||) "
