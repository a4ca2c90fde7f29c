"""The timeline frame: how long each state of each object was valid."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pgmagic.history.diff import differing, old_sides, ranks
from pgmagic.tables.faithful import kept
from pgmagic.tables.frame import ResultFrame

if TYPE_CHECKING:
    from collections.abc import Collection

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from pgmagic.history.event_frame import HistoryFrame

    Positions = NDArray[np.intp]
    Flags = NDArray[np.bool_]

_NEVER = np.iinfo(np.int64).min
"""What stands for NaT among microseconds."""


class TimelineFrame(ResultFrame):
    """One row for each state of each object, ordered by object, then by time.

    States that began and ended in one transaction are left out, and equal ones that follow each other are one.

    Columns:
        pgh_obj_id (Int64, or the dtype of the primary key): the object.
        valid_from (datetime64[us, UTC]): when the state began; missing where that was before any event.
        valid_to (datetime64[us, UTC]): when it ended; missing where it has not.
        then every tracked field, as in the history.
    """

    columns_contract = MappingProxyType(
        {
            "pgh_obj_id": "Int64",
            "valid_from": "datetime64[us, UTC]",
            "valid_to": "datetime64[us, UTC]",
        }
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
        until: Any = None,
        ax: Axes | None = None,
    ) -> Axes:
        """Draw the timeline with matplotlib: a lane for each object, coloured by the values of a field.

        Of a single object there is a lane for each field that changed, unless a field is named. field: the one with the
        fewest values that changed unless given. lane: the field whose values name the lanes, instead of the key. limit:
        so many objects, those that changed most; the title says of how many. until: where the lanes end that are still
        valid, now unless given. ax: where to draw.

        Raises:
            ValueError: there is no such field, or nothing to draw.
        """
        from pgmagic.history.timeline_plot import draw

        return draw(self, field, lane=lane, limit=limit, until=until, ax=ax)


def timeline_frame(
    history: HistoryFrame,
    *,
    ends: Collection[str] = (),
    apart: Collection[str] = (),
    updates_are_new: bool = True,
) -> TimelineFrame:
    """Return the intervals in which the states of a history were valid.

    An event with the NEW row begins a state, and any later one ends it. An event with the OLD row ends one that began
    with the event before. ends: labels of deletes. apart: labels of events that say nothing of how rows stood.
    updates_are_new: whether each update has an event with its NEW row, so that an OLD one only tells a delete.
    """
    events = _Events(history, ends=ends, apart=apart, updates_are_new=updates_are_new)
    rows, begins, finishes = events.intervals()
    rows, begins, finishes = _merged(history, events.objects, rows, begins, finishes)
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
        self._sort(history, counts)
        if updates_are_new:
            self._drop_sides_of_updates(history)

    def _sort(self, history: HistoryFrame, counts: Flags) -> None:
        order = np.lexsort((ranks(history["pgh_id"]), self.objects))
        self.order: Positions = order[counts[order]]
        stamps = history["pgh_created_at"].to_numpy(dtype="datetime64[us]").view(np.int64)
        # A transaction that began earlier may change an object later: its state is not valid before the one replaced.
        groups = self.objects[self.order]
        self.times = pd.Series(stamps[self.order]).groupby(groups).cummax().to_numpy()

    def _drop_sides_of_updates(self, history: HistoryFrame) -> None:
        """Let an OLD row count only as the end of its object; the OLD row of an update has a NEW one beside it."""
        old, end = self.old[self.order], self.is_end[self.order]
        beside_next = self._same_moment(1) & ~np.append(old[1:], True)
        beside_previous = self._same_moment(-1) & ~np.insert(old[:-1], 0, True)
        asked = np.flatnonzero(beside_previous & old & ~end & ~beside_next)
        told = np.zeros(len(old), dtype=bool)
        told[asked] = _rows_differ(history, self.order[asked - 1], self.order[asked])
        redundant = old & ~end & (beside_next | told)
        self.is_end[self.order[old & ~redundant]] = True
        self.order, self.times = self.order[~redundant], self.times[~redundant]

    def _same_moment(self, step: int) -> Flags:
        """Return whether the next (1) or the former (-1) event is of the same object and transaction."""
        found = self._follows() & (np.diff(self.times) == 0)
        return np.append(found, False) if step > 0 else np.insert(found, 0, False)

    def _follows(self) -> Flags:
        """Return whether each event but the last has one of the same object behind it."""
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
        # What an OLD row tells is known already where a NEW one came before.
        kept_ = ~(old & after_new) & ~((begins == finishes) & (begins != _NEVER))
        return self.order[kept_], begins[kept_], finishes[kept_]


def _merged(
    history: HistoryFrame,
    objects: Positions,
    rows: Positions,
    begins: NDArray[np.int64],
    finishes: NDArray[np.int64],
) -> tuple[Positions, NDArray[np.int64], NDArray[np.int64]]:
    """Return intervals of which those that go on with an equal state are one."""
    if len(rows) < 2:
        return rows, begins, finishes
    adjoining = (objects[rows[1:]] == objects[rows[:-1]]) & (begins[1:] == finishes[:-1])
    asked = np.flatnonzero(adjoining)
    goes_on = np.zeros(len(rows), dtype=bool)
    goes_on[asked + 1] = ~_rows_differ(history, rows[asked], rows[asked + 1])
    first = np.flatnonzero(~goes_on)
    last = np.append(first[1:], len(rows)) - 1
    return rows[first], begins[first], finishes[last]


def _rows_differ(history: HistoryFrame, first: Positions, second: Positions) -> Flags:
    """Return where two rows of a history differ in a tracked field."""
    found = np.zeros(len(first), dtype=bool)
    for name in history.fields:
        found |= differing(history[name], first, second)
    return found


def _times(stamps: NDArray[np.int64]) -> Any:
    return pd.DatetimeIndex(stamps.view("datetime64[us]")).tz_localize("UTC").array
