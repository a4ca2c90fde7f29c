"""The indexes that find events at next to no cost for recording them: by their context, and by their time.

Events lie in the order in which they were recorded, and those of one context together. So it is enough to know for each
few pages what is in them: that is a BRIN index. The classes are not those of `django.contrib.postgres`, which an app
that tracks would have to install (Django 6 checks it). Migrations name them by their paths.

Source: https://www.postgresql.org/docs/current/brin.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Statement

from pgmagic.declare.event_fields import Kwargs
from pgmagic.declare.model_types import Model

# A filter is 480 bytes then: from 510 on, Postgres would compress it, and read it again for each event that is put
# into space that pruning left. Eight pages hold about 400 events, each with a context of its own at most.
_OPERATORS: Final = "uuid_bloom_ops(n_distinct_per_range=400)"


class _BrinIndex(models.Index):
    """A BRIN index on one field, with the storage parameters of its class."""

    suffix = "brin"
    parameters: ClassVar[str]

    def deconstruct(self) -> tuple[str, tuple[()], Kwargs]:
        """Return the path and the arguments that make it again."""
        path, _args, _kwargs = super().deconstruct()
        return path, (), {"fields": self.fields, "name": self.name}

    def create_sql(
        self, model: Model, schema_editor: BaseDatabaseSchemaEditor, using: str = "", **kwargs: object
    ) -> Statement:
        """Return the statement that creates it."""
        statement = super().create_sql(model, schema_editor, using=f" USING {self.suffix}", **kwargs)
        # Django's types know no text here.
        statement.parts["extra"] = f" WITH ({self.parameters}){statement.parts['extra']}"  # type: ignore[assignment]
        return statement


class ContextIndex(_BrinIndex):
    """An index on the context of events, which leaves out the events without one.

    A B-tree took a tenth of the time of a bulk insert in a context. A Bloom filter does not need ids in the order
    of time, as a minimum and a maximum would: random ids of former versions are still found.

    VACUUM, also the automatic one, makes the filters; pages that were written later are read. `autosummarize` would
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
    """An index on the times of events: a filter on them reads a hundredth of the table.

    The newest events are found by `pgh_id`, without sorting.

    fields: the one field. name: that of the index.
    """

    parameters = "autosummarize = on, pages_per_range = 128"

    def __init__(self, *, fields: Sequence[str], name: str) -> None:
        super().__init__(fields=list(fields), name=name)
