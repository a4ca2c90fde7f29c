"""Events as DataFrames: `HistoryFrame`, and `pgmagic.history(...)` and `pgmagic.diff(...)`, which read them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, Literal, overload

import pandas as pd

from pgmagic.declare.model_types import Model
from pgmagic.history.diff import DiffFrame, WideDiffFrame, diff_frame, wide_diff_frame
from pgmagic.history.events import Side, read_events
from pgmagic.history.targets import Target, event_model_of, named, resolve
from pgmagic.tables.frame import Kind, ResultFrame, faithful, kept
from pgmagic.tables.progress import Bar

# Filtering by the keys of more objects than these is not worth it.
_MAX_NAMED_OBJECTS = 1_000

EVENT_KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "pgh_id": "integer",
        "pgh_created_at": "timestamp",
        "pgh_label": "text",
        "pgh_obj_id": "integer",
        "pgh_context_id": "uuid",
        "context": "json",
    }
)
"""The columns that every history frame has, in order; the tracked fields come after them."""


class HistoryFrame(ResultFrame):
    """One row for each event, ordered by `pgh_id`.

    Columns:
        pgh_id (Int64): the order in which the events of one object happened.
        pgh_created_at (datetime64[us, UTC]): the start of the transaction that caused the event.
        pgh_label (string): the tracker's label.
        pgh_obj_id (Int64, or the dtype of the primary key): the object that the event belongs to; missing if the
            events do not record it, a tuple for a composite key.
        pgh_context_id (object): a `uuid.UUID`, or None outside any context.
        context (object): a dict, or None.
        then every tracked field by name, with a dtype that loses nothing (`pgmagic.tables.frame`); a field with the
            name of one of these columns is followed by `_`.

    `.pgh.diff()` returns the changes between the events of the frame.

    Attributes:
        sides: label -> the side of the row that its events hold; a label that is not listed holds NEW rows. None if
            pandas lost it; a diff then raises ValueError.
    """

    columns_contract = MappingProxyType(
        {
            "pgh_id": "Int64",
            "pgh_created_at": "datetime64[us, UTC]",
            "pgh_label": "string",
            "pgh_obj_id": "Int64",
            "pgh_context_id": "object",
            "context": "object",
        }
    )
    columns_roles = MappingProxyType({"context": "pairs"})

    _metadata = [*ResultFrame._metadata, "sides"]
    sides: dict[str, Side] | None

    def __init__(self, *args: Any, sides: Mapping[str, Side] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sides = None if sides is None else dict(sides)

    @property
    def fields(self) -> list[str]:
        """The names of the tracked fields that the frame still has, in order."""
        return [name for name in self.columns if name not in EVENT_KINDS]

    def _join_metadata(self, frames: Sequence[ResultFrame]) -> None:
        super()._join_metadata(frames)
        known = [frame.sides for frame in frames if isinstance(frame, HistoryFrame)]
        if any(sides is None for sides in known):
            self.sides = None
            return
        joined: dict[str, Side] = {}
        for frame in frames:
            sides: Mapping[str, Side] = getattr(frame, "sides", None) or {}
            labels = frame["pgh_label"].dropna().unique() if "pgh_label" in frame.columns else ()
            for label in [*sides, *(label for label in labels if label not in sides)]:
                side = sides.get(label, "NEW")
                joined[label] = side if joined.get(label, side) == side else "MIXED"
        self.sides = joined


@pd.api.extensions.register_dataframe_accessor("pgh")
class HistoryAccessor:
    """The methods of a `HistoryFrame` under `.pgh`.

    Raises:
        AttributeError: the DataFrame is not a `HistoryFrame`.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        if not isinstance(frame, HistoryFrame):
            raise AttributeError(
                f"Only a history frame has .pgh; this is a {type(frame).__name__}. "
                "Frames from pgmagic.history(...) and %pghistory are history frames."
            )
        self._history = frame

    @overload
    def diff(self, *, wide: Literal[False] = False) -> DiffFrame: ...

    @overload
    def diff(self, *, wide: Literal[True]) -> WideDiffFrame: ...

    def diff(self, *, wide: bool = False) -> DiffFrame | WideDiffFrame:
        """Return what changed from event to event, among the events of the frame.

        An event is compared with the previous event of the same object that holds the same side of the row.

        Args:
            wide: One row for each event, instead of one row for each changed field.

        Returns:
            A `DiffFrame` in the order of `pgh_id`, then of the fields: `pgh_created_at` (datetime64[us, UTC]),
            `pgh_obj_id`, `pgh_label` (string), `field` (string), `before` and `after` (object), `context` (object).
            With `wide`, a `WideDiffFrame`: `pgh_id`, then the same without `field`, `before` and `after`, but with
            `pgh_diff` (object), a dict `{field: [before, after]}`; None on the first event of an object.

        Raises:
            ValueError: A column that the comparison needs is missing, or it is not known which labels record old rows.

        Example:
            >>> _ = Post.objects.update(title="Hello again")
            >>> pgmagic.history(Post).pgh.diff(wide=True)["pgh_diff"].tolist()
            [None, {'title': ['Hello', 'Hello again']}]
        """
        return wide_diff_frame(self._history) if wide else diff_frame(self._history)


def history(
    target: Target,
    *,
    label: str | Collection[str] | None = None,
    since: datetime | date | None = None,
    until: datetime | date | None = None,
    context: Mapping[str, object] | None = None,
    limit: int | None = None,
    using: str = "default",
) -> HistoryFrame:
    """Return the events of a tracked model, or of one object, in the order of `pgh_id`.

    Events of the current transaction are included. One query is sent; no lock is taken but that of a SELECT.

    Args:
        target: A tracked model or one of its event models, an object, or the name of a model.
        label: Only events with this label, or with one of several.
        since: Only events from this time on, by `pgh_created_at`. A date is its midnight; a time without a zone is in
            Django's current time zone.
        until: Only events before this time.
        context: Only events whose context has these values under these keys.
        limit: Only this many of the latest events; a note says how many there are.
        using: The database.

    Returns:
        A `HistoryFrame`, one row for each event: `pgh_id` (Int64), `pgh_created_at` (datetime64[us, UTC], the start of
        the transaction), `pgh_label` (string), `pgh_obj_id` (Int64, or the dtype of the primary key), `pgh_context_id`
        (object: uuid.UUID, None without a context), `context` (object: dict or None), then the tracked fields by name,
        with dtypes that lose nothing; NULL is missing.

    Raises:
        HistoryError: The target is not a tracked model or an object of a tracked model, or its events store no context
            and `context` is given.

    Example:
        >>> _ = Post.objects.update(likes=3)
        >>> list(pgmagic.history(post)["pgh_label"])
        ['insert', 'update']
        >>> pgmagic.history("Post", label="update")["likes"].tolist()
        [3]
    """
    model, obj_ids = resolve(target)
    return read_history(
        model, obj_ids, caption=f"History of {named(model, obj_ids)}",
        label=label, since=since, until=until, context=context, limit=limit, using=using,
    )  # fmt: skip


def diff(
    target: Target,
    *,
    label: str | Collection[str] | None = None,
    since: datetime | date | None = None,
    until: datetime | date | None = None,
    context: Mapping[str, object] | None = None,
    limit: int | None = None,
    using: str = "default",
) -> DiffFrame:
    """Return what each event changed against the previous event of the same object, one row for each changed field.

    The previous event holds the same side of the row, and has one of the labels, if any are given; `since`, `context`
    and `limit` choose the events that are shown, not those they are compared with. The first event of an object has no
    rows. At most two queries are sent.

    Args:
        target: A tracked model or one of its event models, an object, or the name of a model.
        label: Only events with this label, or with one of several.
        since: Only changes from this time on; a date or a time without a zone as in `history`.
        until: Only changes before this time.
        context: Only changes by events whose context has these values.
        limit: Only the changes of this many of the latest events.
        using: The database.

    Returns:
        A `DiffFrame` in the order of `pgh_id`, then of the fields: `pgh_created_at` (datetime64[us, UTC]), `pgh_obj_id`
        (Int64, or the dtype of the primary key), `pgh_label` (string), `field` (string; inside a document followed by
        a path, as in `data.tags[0]`), `before` and `after` (object: Python values, None for NULL, `pd.NA` on the side
        that lacks the path), `context` (object: dict or None).

    Raises:
        HistoryError: As `history` does.

    Example:
        >>> with pghistory.context(user="Ann"):
        ...     _ = Post.objects.update(title="Hello again")
        >>> pgmagic.diff(post)[["field", "before", "after", "context"]].values.tolist()
        [['title', 'Hello', 'Hello again', {'user': 'Ann'}]]
    """
    model, obj_ids = resolve(target)
    chosen = history(target, label=label, since=since, until=until, context=context, limit=limit, using=using)
    if since is None and not context and limit is None:
        return diff_frame(chosen)
    if obj_ids is None:
        keys = chosen["pgh_obj_id"]
        if not keys.isna().any() and keys.nunique() <= _MAX_NAMED_OBJECTS:
            obj_ids = keys.unique().tolist()
    compared = read_history(model, obj_ids, label=label, until=until, using=using)
    found = diff_frame(compared, of=set(chosen["pgh_id"]))
    found.notes += chosen.notes
    return found


def read_history(
    model: Model,
    obj_ids: list[object] | None,
    *,
    caption: str | None = None,
    label: str | Collection[str] | None = None,
    since: datetime | date | None = None,
    until: datetime | date | None = None,
    context: Mapping[str, object] | None = None,
    limit: int | None = None,
    using: str = "default",
) -> HistoryFrame:
    """Return the events of a model, or of objects of the model; the filters are those of `read_events`."""
    with Bar("Reading events") as bar:
        events = read_events(
            event_model_of(model), label=label, since=since, until=until, context=context, obj_ids=obj_ids,
            limit=limit, using=using, progress=bar.show,
        )  # fmt: skip
    shown = len(events.columns["pgh_id"])
    notes = [f"The latest {shown:,} of {events.total:,} events."] if shown < events.total else []
    return history_frame(events.columns, events.kinds, sides=events.sides, caption=caption, notes=notes)


def history_frame(
    columns: Mapping[str, Sequence[object]],
    kinds: Mapping[str, Kind],
    *,
    sides: Mapping[str, Side] | None = None,
    caption: str | None = None,
    notes: Iterable[str] = (),
) -> HistoryFrame:
    """Return events, given column by column as Python values, as a `HistoryFrame` in their order.

    kinds: the kind of each tracked field, and of `pgh_obj_id` if the primary key is not an integer. An event column
    that is not given is missing throughout. sides: need only list the labels that record OLD rows.

    Raises:
        ValueError: a tracked field has no kind, or an unknown kind.
    """
    fields = [name for name in columns if name not in EVENT_KINDS]
    if unknown := [name for name in fields if name not in kinds]:
        raise ValueError(f"A history frame needs the kind of every tracked field; {', '.join(unknown)} has none.")
    length = len(next(iter(columns.values()), ()))
    arrays = {
        name: kept(faithful(columns.get(name, [None] * length), kinds.get(name) or EVENT_KINDS[name]))
        for name in [*EVENT_KINDS, *fields]
    }
    return HistoryFrame(arrays, sides=sides or {}, caption=caption, notes=notes)
