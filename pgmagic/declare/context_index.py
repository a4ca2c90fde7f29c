"""The index that finds the events of a context at no cost for recording them.

A B-tree took a tenth of the time of a bulk insert in a context. Events of one context are written together, so that it
is enough to know for each few pages which contexts are in them: a BRIN index with a Bloom filter, which does not ask
that ids be in the order of time, as a minimum and a maximum would. Ids that were random before stay findable.

VACUUM, also the automatic one, makes the filters; pages that were written since are read. `autosummarize` would make
them sooner, but keeps no more than 256 requests, and writes each further one of a bulk insert to the server's log.

Source: https://www.postgresql.org/docs/current/brin.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.db import models

# A filter is 480 bytes then: from 510 on, Postgres would compress it, and read it again for each event that is put
# into space that pruning left. Eight pages hold some 400 events, at most each with a context of its own.
_OPERATORS: Final = "uuid_bloom_ops(n_distinct_per_range=400)"
_OPTIONS: Final = "pages_per_range = 8"


class ContextIndex(models.Index):
    """An index on the context of events, which leaves out the events without one. Migrations name it by its path.

    fields: the one field. name: that of the index.
    """

    suffix = "brin"

    def __init__(self, *, fields: Sequence[str], name: str) -> None:
        [field] = fields
        known = models.Q(**{f"{field}__isnull": False})
        super().__init__(fields=[field], name=name, condition=known, opclasses=[_OPERATORS])

    def deconstruct(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        """Return the path and the arguments that make it again."""
        path, _args, _kwargs = super().deconstruct()
        return path, (), {"fields": self.fields, "name": self.name}

    def create_sql(self, model: Any, schema_editor: Any, using: str = "", **kwargs: Any) -> Any:
        """Return the statement that creates it."""
        statement: Any = super().create_sql(model, schema_editor, using=f" USING {self.suffix}", **kwargs)
        statement.parts["extra"] = f" WITH ({_OPTIONS}){statement.parts['extra']}"
        return statement
