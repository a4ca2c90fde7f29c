"""Pages of a list whose rows nobody counts to the last: a table of events may hold millions."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.utils.functional import cached_property

# How far rows are counted, and pages offered; filters lead further.
LIMIT = 10_000


class _AtLeast(int):
    """A number that stands for itself and more."""

    def __str__(self) -> str:
        return f"{int(self)}+"


class LimitedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts to `LIMIT` and no further."""

    @cached_property
    def count(self) -> int:
        """How many rows there are; from the limit on, it is written with a plus."""
        rows: Any = self.object_list
        # An order would have to be established for all rows before the first is counted.
        found = rows.order_by().values("pgh_id")[: LIMIT + 1].count()
        return _AtLeast(LIMIT) if found > LIMIT else int(found)
