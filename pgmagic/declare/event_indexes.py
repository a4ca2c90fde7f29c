"""The indexes that find events at next to no cost for recording them: by their context, and by their time.

Events lie in the order in which they were recorded, and those of one context together. So it is enough to know for each
few pages what is in them: that is a BRIN index. These are not of `django.contrib.postgres`, which an app that tracks
would have to install for that (Django 6 checks it). Migrations name them by their paths.

Source: https://www.postgresql.org/docs/current/brin.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from django.db import models

# A filter is 480 bytes then: from 510 on, Postgres would compress it, and read it again for each event that is put
# into space that pruning left. Eight pages hold some 400 events, at most each with a context of its own.
_OPERATORS: Final = "uuid_bloom_ops(n_distinct_per_range=400)"


class _BrinIndex(models.Index):
    """A BRIN index on one field, with the storage parameters of its class."""

    suffix = "brin"
    parameters: ClassVar[str]

    def deconstruct(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        """Return the path and the arguments that make it again."""
        path, _args, _kwargs = super().deconstruct()
        return path, (), {"fields": self.fields, "name": self.name}

    def create_sql(self, model: Any, schema_editor: Any, using: str = "", **kwargs: Any) -> Any:
        """Return the statement that creates it."""
        statement: Any = super().create_sql(model, schema_editor, using=f" USING {self.suffix}", **kwargs)
        statement.parts["extra"] = f" WITH ({self.parameters}){statement.parts['extra']}"
        return statement


class ContextIndex(_BrinIndex):
    """An index on the context of events, which leaves out the events without one.

    A B-tree took a tenth of the time of a bulk insert in a context. A Bloom filter does not ask that ids be in the
    order of time, as a minimum and a maximum would: ids that were random before stay findable.

    VACUUM, also the automatic one, makes the filters; pages that were written since are read. `autosummarize` would
    make them sooner, but keeps no more than 256 requests, and writes each further one of a bulk insert to the
    server's log.

    fields: the one field. name: that of the index.
    """

    parameters = "pages_per_range = 8"

    def __init__(self, *, fields: Sequence[str], name: str) -> None:
        [field] = fields
        known = models.Q(**{f"{field}__isnull": False})
        super().__init__(fields=[field], name=name, condition=known, opclasses=[_OPERATORS])


class TimeIndex(_BrinIndex):
    """An index on the times of events: a filter on them reads a hundredth of what it would.

    Which events are the newest is told by `pgh_id`, which needs no sorting.

    fields: the one field. name: that of the index.
    """

    parameters = "autosummarize = on, pages_per_range = 128"

    def __init__(self, *, fields: Sequence[str], name: str) -> None:
        super().__init__(fields=list(fields), name=name)
