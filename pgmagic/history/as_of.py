"""The as-of frame: a table as it stood at an instant."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pandas as pd

from pgmagic.tables.faithful import Kind, faithful, kept, python_values
from pgmagic.tables.frame import ResultFrame

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class AsOfFrame(ResultFrame):
    """One row for each object that was there, in the order of the primary keys.

    The index is the primary key, named as its field is; of a composite key it has a level for each of its fields.

    Columns:
        every other tracked field, by name, with the dtype that `faithful` gives its kind; a foreign key is the key
        that it refers to. Of a related row that was asked for, `author__name` and so on; missing where there was none.
    """

    columns_contract = MappingProxyType({})


def as_of_frame(
    columns: Mapping[str, Sequence[Any]],
    kinds: Mapping[str, Kind],
    keys: Sequence[str],
    *,
    caption: str | None = None,
    notes: Iterable[str] = (),
) -> AsOfFrame:
    """Return rows, given column by column as Python values, as an `AsOfFrame` in their order.

    keys: the names of the columns that are the primary key.
    """
    arrays = {name: kept(faithful(values, kinds[name])) for name, values in columns.items()}
    index = [pd.Index(arrays[name], name=name) for name in keys]
    frame = AsOfFrame(
        {name: array for name, array in arrays.items() if name not in keys}, caption=caption, notes=notes
    )
    frame.index = index[0] if len(index) == 1 else pd.MultiIndex.from_arrays(index, names=list(keys))
    return frame


def with_related(frame: AsOfFrame, field: str, related: AsOfFrame) -> AsOfFrame:
    """Return a frame with the columns of the rows that a foreign key refers to, each called `field__column`."""
    found = related.reindex(frame[field])
    # Where there is no such row, pandas leaves a NaN among Python values.
    columns = {
        f"{field}__{name}": kept(
            python_values(found[name].array) if found[name].dtype == object else found[name].array
        )
        for name in found.columns
    }
    added = pd.DataFrame(columns).set_axis(frame.index)
    joined = AsOfFrame(pd.concat([pd.DataFrame(frame), added], axis=1), caption=frame.caption)
    joined.notes = [*frame.notes, *(note for note in related.notes if note not in frame.notes)]
    return joined
