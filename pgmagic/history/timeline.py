"""How long each state of each object was valid: `pgmagic.timeline(...)`."""

from __future__ import annotations

from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pgmagic.declare.event_trigger import New
from pgmagic.history.diff import differing, old_sides, ranks
from pgmagic.history.event_labels import end_labels, labels_apart, old_update_labels, records_every
from pgmagic.history.reading import read_history
from pgmagic.history.targets import Target, event_model_of, instant, named, resolve, tracked_model
from pgmagic.tables.frame import ResultFrame, kept

if TYPE_CHECKING:
    from collections.abc import Collection

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from pgmagic.history.reading import HistoryFrame
    from pgmagic.tables.frame import Values

    Positions = NDArray[np.intp]
    Flags = NDArray[np.bool_]

_NEVER = np.iinfo(np.int64).min
"""NaT, in microseconds."""


class TimelineFrame(ResultFrame):
    """One row for each state of each object, ordered by object, then by time.

    States that began and ended in one transaction are left out; equal states that follow each other are one row.

    Columns:
        pgh_obj_id (Int64, or the dtype of the primary key): the object.
        valid_from (datetime64[us, UTC]): when the state began; missing if it began before any event.
        valid_to (datetime64[us, UTC]): when the state ended; missing if it is still valid.
        then every tracked field, as in `HistoryFrame`.
    """

    columns_contract = MappingProxyType(
        {"pgh_obj_id": "Int64", "valid_from": "datetime64[us, UTC]", "valid_to": "datetime64[us, UTC]"}
    )

    @property
    def fields(self) -> list[str]:
        """The names of the tracked fields that the frame still has, in order."""
        return [name for name in self.columns if name not in self.columns_contract]

    def plot(  # type: ignore[override]
        self,
        field: str | None = None,
        *,
        lane: str | None = None,
        limit: int = 30,
        until: datetime | date | None = None,
        ax: Axes | None = None,
    ) -> Axes:
        """Draw the timeline with matplotlib: a lane for each object, coloured by the values of a field.

        If there is a single object and no field is named, there is a lane for each field that changed.

        Args:
            field: The field that colours the lanes; by default the changing field with the fewest values.
            lane: The field whose latest values name the lanes, instead of the primary key.
            limit: At most this many objects, those that changed most; the title says how many there are.
            until: The end of the lanes that are still valid; now by default, in UTC if it has no time zone.
            ax: The axes to draw on; new axes by default.

        Returns:
            The axes.

        Raises:
            ValueError: There is no such field, or the timeline has no rows.

        Example:
            >>> axes = pgmagic.timeline(Post).plot("status")
            >>> axes.get_title(loc="left")
            'status'
        """
        # matplotlib takes a while to import, and is needed for this alone.
        from pgmagic.history.timeline_plot import bars_of, draw

        for name in (field, lane):
            if name is not None and name not in self.fields:
                raise ValueError(
                    f"The timeline has no field {name!r} to draw; its fields are {', '.join(self.fields)}."
                )
        if self.empty:
            raise ValueError("There is nothing to draw: the timeline has no rows.")
        end = pd.Timestamp(datetime.now(UTC) if until is None else until)
        end = end.tz_localize("UTC") if end.tzinfo is None else end.tz_convert("UTC")
        return draw(*bars_of(self, field, lane, limit), end, ax)


def timeline(
    target: Target,
    *,
    since: datetime | date | None = None,
    until: datetime | date | None = None,
    using: str = "default",
) -> TimelineFrame:
    """Return how long each state of each object was valid, from the events of a model or of one object.

    All events are read, by one query; no lock is taken but that of a SELECT.

    Args:
        target: A tracked model or one of its event models, an object, or the name of a model.
        since: Only states that were still valid after this time. A date is its midnight; a time without a zone is in
            Django's current time zone.
        until: Only states that began before this time.
        using: The database.

    Returns:
        A `TimelineFrame`, one row for each state, in the order of the objects, then of time: `pgh_obj_id` (Int64, or
        the dtype of the primary key), `valid_from` and `valid_to` (datetime64[us, UTC]; missing if the state began
        before any event, or is still valid), then the tracked fields, as in `history`. `.plot()` draws it.

    Raises:
        HistoryError: The target is not a tracked model, nor an object of a tracked model.

    Example:
        >>> _ = Post.objects.update(status="published")
        >>> states = pgmagic.timeline(post)
        >>> states["status"].tolist(), states["valid_to"].isna().tolist()
        (['draft', 'published'], [False, True])
    """
    model, obj_ids = resolve(target)
    event_model = event_model_of(model)
    records_new_rows = records_every(event_model, "UPDATE", New)
    frame = timeline_frame(
        read_history(model, obj_ids, using=using),
        ends=end_labels(event_model),
        apart=labels_apart(event_model),
        updates_are_new=records_new_rows,
    )
    if since is not None:
        frame = frame[frame["valid_to"].isna() | (frame["valid_to"] > instant(since))]
    if until is not None:
        frame = frame[frame["valid_from"].isna() | (frame["valid_from"] < instant(until))]
    frame = frame.reset_index(drop=True)
    frame.caption = f"Timeline of {named(tracked_model(model), obj_ids)}"
    if old_update_labels(event_model) and not records_new_rows:
        frame.notes.append("These events hold rows as they were; how they are now is in the table, not here.")
    return frame


def timeline_frame(
    history: HistoryFrame, *, ends: Collection[str] = (), apart: Collection[str] = (), updates_are_new: bool = True
) -> TimelineFrame:
    """Return the intervals in which the states of a history were valid.

    An event with the NEW row begins a state, which the next event ends. An event with the OLD row ends a state that
    began with the event before. ends: labels of deletes. apart: labels of events that are left out. updates_are_new:
    whether each update has an event with its NEW row, so that an OLD row only means a delete.
    """
    events = _Events(history, ends=ends, apart=apart, updates_are_new=updates_are_new)
    rows, begins, finishes = events.intervals()
    if len(rows) > 1:
        # Equal states that follow each other are one row.
        objects = events.objects
        adjoining = (objects[rows[1:]] == objects[rows[:-1]]) & (begins[1:] == finishes[:-1])
        asked = np.flatnonzero(adjoining)
        goes_on = np.zeros(len(rows), dtype=bool)
        goes_on[asked + 1] = ~_rows_differ(history, rows[asked], rows[asked + 1])
        first = np.flatnonzero(~goes_on)
        last = np.append(first[1:], len(rows)) - 1
        rows, begins, finishes = rows[first], begins[first], finishes[last]
    columns = {
        "pgh_obj_id": history["pgh_obj_id"].array.take(rows),
        "valid_from": _times(begins),
        "valid_to": _times(finishes),
        **{name: history[name].array.take(rows) for name in history.fields},
    }
    return TimelineFrame({name: kept(values) for name, values in columns.items()})


class _Events:
    """The events that count, sorted by object and `pgh_id`; `order[i]` is the position of the i-th in the history."""

    def __init__(
        self, history: HistoryFrame, *, ends: Collection[str], apart: Collection[str], updates_are_new: bool
    ) -> None:
        self.objects, _ = pd.factorize(history["pgh_obj_id"], sort=True)
        labels = history["pgh_label"]
        self.old = old_sides(history)
        self.is_end = labels.isin(list(ends)).to_numpy(dtype=bool, copy=True)
        counts = (self.objects >= 0) & ~labels.isin(list(apart)).to_numpy(dtype=bool)
        order = np.lexsort((ranks(history["pgh_id"]), self.objects))
        self.order: Positions = order[counts[order]]
        stamps = history["pgh_created_at"].to_numpy(dtype="datetime64[us]").view(np.int64)
        # A transaction that began earlier may change an object later; its state is valid after the state it replaced.
        groups = self.objects[self.order]
        self.times = pd.Series(stamps[self.order]).groupby(groups).cummax().to_numpy()
        if not updates_are_new:
            return
        # The OLD rows of updates, which have a NEW row beside them, are dropped; other OLD rows are ends of objects.
        old, end = self.old[self.order], self.is_end[self.order]
        beside_next = self._same_moment(1) & ~np.append(old[1:], True)
        beside_previous = self._same_moment(-1) & ~np.insert(old[:-1], 0, True)
        asked = np.flatnonzero(beside_previous & old & ~end & ~beside_next)
        differs = np.zeros(len(old), dtype=bool)
        differs[asked] = _rows_differ(history, self.order[asked - 1], self.order[asked])
        redundant = old & ~end & (beside_next | differs)
        self.is_end[self.order[old & ~redundant]] = True
        self.order, self.times = self.order[~redundant], self.times[~redundant]

    def _same_moment(self, step: int) -> Flags:
        """Return whether the next (1) or the previous (-1) event has the same object and transaction."""
        found = self._follows() & (np.diff(self.times) == 0)
        return np.append(found, False) if step > 0 else np.insert(found, 0, False)

    def _follows(self) -> Flags:
        """Return whether each event but the last is followed by an event of the same object."""
        groups = self.objects[self.order]
        same: Flags = groups[1:] == groups[:-1]
        return same

    def intervals(self) -> tuple[Positions, NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of the states, by position in the history, and when each began and ended."""
        old, end = self.old[self.order], self.is_end[self.order]
        if not len(old):
            return self.order, self.times, self.times
        followed = np.append(self._follows(), False)
        next_time = np.where(followed, np.append(self.times[1:], _NEVER), _NEVER)
        preceded = np.insert(self._follows(), 0, False)
        earlier = np.where(preceded, np.insert(self.times[:-1], 0, _NEVER), _NEVER)
        after_new = preceded & np.insert(~old[:-1], 0, False)
        after_end = preceded & np.insert(end[:-1], 0, False)
        begins = np.where(old, np.where(after_end, _NEVER, earlier), self.times)
        finishes = np.where(old, self.times, next_time)
        # An OLD row after a NEW row adds nothing.
        kept_ = ~(old & after_new) & ~((begins == finishes) & (begins != _NEVER))
        return self.order[kept_], begins[kept_], finishes[kept_]


def _rows_differ(history: HistoryFrame, first: Positions, second: Positions) -> Flags:
    """Return where two rows of a history differ in a tracked field."""
    found = np.zeros(len(first), dtype=bool)
    for name in history.fields:
        found |= differing(history[name], first, second)
    return found


def _times(stamps: NDArray[np.int64]) -> Values:
    return pd.DatetimeIndex(stamps.view("datetime64[us]")).tz_localize("UTC").array
