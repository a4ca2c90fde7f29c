"""Pages of a list that is not counted to its end: a table of events may hold millions of rows."""

from __future__ import annotations

from typing import cast

from django.core.paginator import Paginator
from django.db import models
from django.utils.functional import cached_property

# Rows are counted, and pages offered, up to this number; filters reach the rest.
LIMIT = 10_000


class _AtLeast(int):
    """A number that means itself and more."""

    def __str__(self) -> str:
        return f"{int(self)}+"


class LimitedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts up to `LIMIT` rows and no further."""

    @cached_property
    def count(self) -> int:
        """Return the number of rows; from the limit on, it is written with a plus."""
        rows = cast("models.QuerySet[models.Model]", self.object_list)
        # With an order, Postgres would sort all rows before it counts the first.
        found = rows.order_by().values("pgh_id")[: LIMIT + 1].count()
        return _AtLeast(LIMIT) if found > LIMIT else found
