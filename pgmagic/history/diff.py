"""What changed from event to event, field by field: the diff frames."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pgmagic.history.comparing import COMPARABLE, changes
from pgmagic.tables.frame import ResultFrame, kept, python_values

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from pgmagic.history.comparing import Change
    from pgmagic.history.reading import HistoryFrame
    from pgmagic.tables.frame import Values

    Positions = NDArray[np.intp]

_NEEDED = ("pgh_id", "pgh_created_at", "pgh_label", "pgh_obj_id")


class DiffFrame(ResultFrame):
    """One row for each changed field of each event, ordered by the event's `pgh_id`, then by field.

    Columns:
        pgh_created_at (datetime64[us, UTC]), pgh_label (string), context (object): as in the event.
        pgh_obj_id (Int64, or the dtype of the primary key): the object that changed.
        field (string): the field, followed by the path inside it if a document changed (`data.tags[0]`).
        before, after (object): Python values; None for NULL, `pd.NA` on the side that lacks the path.
    """

    columns_contract = MappingProxyType(
        {
            "pgh_created_at": "datetime64[us, UTC]",
            "pgh_obj_id": "Int64",
            "pgh_label": "string",
            "field": "string",
            "before": "object",
            "after": "object",
            "context": "object",
        }
    )
    columns_roles = MappingProxyType({"field": "code", "before": "before", "after": "after", "context": "pairs"})


class WideDiffFrame(ResultFrame):
    """One row for each event, ordered by `pgh_id`.

    Columns:
        pgh_id (Int64), pgh_created_at (datetime64[us, UTC]), pgh_label (string), context (object): as in the event.
        pgh_obj_id (Int64, or the dtype of the primary key): the object that changed.
        pgh_diff (object): `{field: [before, after]}`, paths and values as in `DiffFrame`; `{}` if nothing changed,
            None without an earlier event to compare with.
    """

    columns_contract = MappingProxyType(
        {
            "pgh_id": "Int64",
            "pgh_created_at": "datetime64[us, UTC]",
            "pgh_obj_id": "Int64",
            "pgh_label": "string",
            "pgh_diff": "object",
            "context": "object",
        }
    )
    columns_roles = MappingProxyType({"pgh_diff": "changes", "context": "pairs"})


def diff_frame(history: HistoryFrame, *, of: Collection[int] | None = None) -> DiffFrame:
    """Return what changed from event to event, one row for each changed field.

    An event is compared with the previous event (by `pgh_id`) of the same object that holds the same side of the
    row: an OLD row against a NEW row would show a change that another event already shows. The first event of an
    object on a side has no rows, nor has an event whose object is NULL. Only the events in the frame are compared.
    of: the `pgh_id` of the events that get rows; the other events are only compared with.

    Raises:
        ValueError: a column that the comparison needs is missing, or the sides of the labels are not known.
    """
    pairs = _pairs(history)
    found = _changes(history, pairs)
    if of is not None:
        found = found.only(history["pgh_id"].isin(of).to_numpy(dtype=bool)[pairs.events][found.event])
    events = pairs.events[found.event]
    return DiffFrame(
        {
            "pgh_created_at": history["pgh_created_at"].array.take(events),
            "pgh_obj_id": history["pgh_obj_id"].array.take(events),
            "pgh_label": history["pgh_label"].array.take(events),
            "field": pd.array(found.field, dtype="string"),
            "before": kept(found.before),
            "after": kept(found.after),
            "context": kept(_contexts(history)[events]),
        }
    )


def wide_diff_frame(history: HistoryFrame) -> WideDiffFrame:
    """Return what changed at each event, one row for each event; compared, and refused, as in `diff_frame`."""
    pairs = _pairs(history)
    found = _changes(history, pairs)
    diffs = np.empty(len(pairs.events), dtype=object)
    for event in pairs.compared:
        diffs[event] = {}
    for event, field, before, after in zip(found.event, found.field, found.before, found.after, strict=True):
        diffs[event][field] = [before, after]
    columns = {name: history[name].array.take(pairs.events) for name in _NEEDED}
    columns |= {"pgh_diff": kept(diffs), "context": kept(_contexts(history)[pairs.events])}
    return WideDiffFrame({name: columns[name] for name in WideDiffFrame.columns_contract})


@dataclass(frozen=True)
class _Pairs:
    """The events in the order of `pgh_id`, and which events are compared.

    `events[i]` is the position in the history of the i-th event. For each k, in no order, the event `compared[k]`
    (an index into `events`) follows the event at the position `previous[k]` of the history.
    """

    events: Positions
    compared: Positions
    previous: Positions


@dataclass(frozen=True)
class _Changes:
    """Changed fields, in order: the index into `_Pairs.events`, the path, the values before and after."""

    event: Positions
    field: NDArray[np.object_]
    before: NDArray[np.object_]
    after: NDArray[np.object_]

    def only(self, kept: NDArray[np.bool_]) -> _Changes:
        """Return the changes at which `kept` is true."""
        return _Changes(self.event[kept], self.field[kept], self.before[kept], self.after[kept])


def _pairs(history: HistoryFrame) -> _Pairs:
    if gone := [name for name in _NEEDED if name not in history.columns]:
        raise ValueError(f"A diff needs the column {', '.join(gone)}, which this frame no longer has.")
    order = ranks(history["pgh_id"])
    objects, _ = pd.factorize(history["pgh_obj_id"])
    sides = old_sides(history)
    # Sorted by object, then side, then time, each event follows the event to compare it with.
    sorted_ = np.lexsort((order, sides, objects))
    following, previous = sorted_[1:], sorted_[:-1]
    paired = (
        (objects[following] == objects[previous])
        & (sides[following] == sides[previous])
        & (objects[following] >= 0)  # -1 stands for NULL
    )
    events = np.argsort(order, kind="stable")
    rank = np.empty_like(events)
    rank[events] = np.arange(len(events))
    return _Pairs(events, rank[following[paired]], previous[paired])


def ranks(ids: pd.Series[Any]) -> Positions:
    """Return the rank of each id."""
    codes, _ = pd.factorize(ids, sort=True)
    return codes


def old_sides(history: HistoryFrame) -> NDArray[np.bool_]:
    """Return whether each event holds the OLD row."""
    if history.sides is None:
        raise ValueError(
            "This frame no longer says which labels record OLD rows: take the diff of the original frame, "
            "or set the attribute `sides`."
        )
    labels = history["pgh_label"]
    mixed = [label for label, side in history.sides.items() if side == "MIXED"]
    if confused := sorted(set(mixed) & set(labels.dropna())):
        raise ValueError(
            f"The label {', '.join(confused)} records OLD rows in one of the concatenated frames and NEW rows in "
            "another: take their diffs one by one."
        )
    return labels.isin([label for label, side in history.sides.items() if side == "OLD"]).to_numpy(dtype=bool)


def _changes(history: HistoryFrame, pairs: _Pairs) -> _Changes:
    following = pairs.events[pairs.compared]
    parts = [_field_changes(name, history[name], following, pairs.previous, pairs.compared) for name in history.fields]
    if not parts:
        nothing = np.empty(0, dtype=object)
        return _Changes(np.empty(0, dtype=np.intp), nothing, nothing, nothing)
    event = np.concatenate([part.event for part in parts])
    # The parts are in the order of the fields, and a stable sort keeps it within each event.
    order = np.argsort(event, kind="stable")
    return _Changes(
        event[order],
        np.concatenate([part.field for part in parts])[order],
        np.concatenate([part.before for part in parts])[order],
        np.concatenate([part.after for part in parts])[order],
    )


def differing(values: pd.Series[Any], first: Positions, second: Positions) -> NDArray[np.bool_]:
    """Return where a field's values at two positions differ, as `diff_frame` sees it."""
    found = np.zeros(len(first), dtype=bool)
    found[_field_changes("", values, second, first, np.arange(len(first))).event] = True
    return found


def _field_changes(
    name: str, values: pd.Series[Any], following: Positions, previous: Positions, compared: Positions
) -> _Changes:
    before, after = values.array.take(previous), values.array.take(following)
    if values.dtype == object:
        before, after = python_values(before), python_values(after)
        if not {*map(type, before), *map(type, after)} <= COMPARABLE:
            events: list[int] = []
            found: list[Change] = []
            for event, old, new in zip(compared.tolist(), before, after, strict=True):
                parts = changes(name, old, new)
                found += parts
                events += [event] * len(parts)
            columns = (np.fromiter((change[i] for change in found), object, len(found)) for i in range(3))
            return _Changes(np.array(events, dtype=np.intp), *columns)
    changed = np.flatnonzero(_unequal(before, after))
    return _Changes(
        compared[changed],
        np.full(len(changed), name, dtype=object),
        python_values(before[changed]),
        python_values(after[changed]),
    )


def _unequal(before: Values, after: Values) -> NDArray[np.bool_]:
    """Return where two arrays of one dtype differ; missing equals missing, and NaN equals NaN."""
    if before.dtype == object:  # None is a value like any other here
        return np.asarray((before != after) & ~((before != before) & (after != after)), dtype=bool)
    gone_before, gone_after = np.asarray(pd.isna(before)), np.asarray(pd.isna(after))
    if pd.api.types.is_float_dtype(before.dtype):
        # Compared as numbers, since NaN is a value that equals itself in Postgres, and differs from NULL.
        numbers = [array.to_numpy(dtype=float, na_value=np.nan) for array in (before, after)]
        unequal = (numbers[0] != numbers[1]) & ~(np.isnan(numbers[0]) & np.isnan(numbers[1]))
    else:
        unequal = np.asarray(pd.Series(before != after, dtype="boolean").fillna(False), dtype=bool)
    different: NDArray[np.bool_] = (gone_before != gone_after) | (unequal & ~gone_before & ~gone_after)
    return different


def _contexts(history: HistoryFrame) -> NDArray[np.object_]:
    if "context" in history.columns:
        return python_values(history["context"].array)
    return np.full(len(history), None, dtype=object)
