"""The history frame: the events of tracked objects."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from pgmagic.tables.faithful import Kind, faithful, kept
from pgmagic.tables.frame import ResultFrame

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

Side = Literal["OLD", "NEW", "MIXED"]
"""Which image of the row the events of a label hold: before the change, after it, or - once frames that
disagree were concatenated - either."""

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
        pgh_obj_id (Int64, or the dtype of the primary key): the object that the event is about.
        pgh_context_id (object): a `uuid.UUID`, or None outside any context.
        context (object): a dict, or None.
        then every tracked field, with the dtype that `faithful` gives its kind.

    Attributes:
        sides: label -> the side of the row that its events hold; a label that is not listed holds NEW rows.
            None where pandas lost it, which `diff_frame` refuses to guess about.
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
            for label in _labels(frame):
                side: Side = (getattr(frame, "sides", None) or {}).get(label, "NEW")
                joined[label] = side if joined.get(label, side) == side else "MIXED"
        self.sides = joined


def _labels(frame: pd.DataFrame) -> list[str]:
    """Return the labels that a frame has events of, or has been told the side of."""
    told = getattr(frame, "sides", None) or {}
    found = frame["pgh_label"].dropna().unique() if "pgh_label" in frame.columns else ()
    return list(dict.fromkeys([*told, *found]))


def history_frame(
    columns: Mapping[str, Sequence[Any]],
    kinds: Mapping[str, Kind],
    *,
    sides: Mapping[str, Side] | None = None,
    caption: str | None = None,
    notes: Iterable[str] = (),
) -> HistoryFrame:
    """Return events, given column by column as Python values, as a `HistoryFrame` in their order.

    `kinds` says what each tracked field is, and what `pgh_obj_id` is where the primary key is not an integer. An
    event column that is not given is missing throughout. `sides` need only list the labels that record OLD rows.

    Raises:
        ValueError: a tracked field has no kind, or an unknown one.
    """
    fields = [name for name in columns if name not in EVENT_KINDS]
    if unknown := [name for name in fields if name not in kinds]:
        raise ValueError(
            f"A history frame needs the kind of every tracked field; {', '.join(unknown)} has none."
        )
    length = len(next(iter(columns.values()), ()))
    arrays = {
        name: kept(faithful(columns.get(name, [None] * length), kinds.get(name) or EVENT_KINDS[name]))
        for name in [*EVENT_KINDS, *fields]
    }
    return HistoryFrame(arrays, sides=sides or {}, caption=caption, notes=notes)
