"""Result frames: pandas DataFrames with a fixed set of columns, a caption, notes, and lines attached to rows.

The values in their columns are those of the database, in arrays that lose nothing.
"""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, TypeAlias, get_args

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    Values: TypeAlias = Any
    """A pandas extension array or a numpy array; their stubs have too little in common to be of use."""

LINE = "line"
"""The name of the row index of a frame whose rows may have lines attached.

pandas drops the name whenever it replaces the labels (`reset_index`, `set_index`, `ignore_index=True`), so the name
shows whether the labels in `ResultFrame.attached` still belong to the rows that they were written for.
"""

Role = Literal[
    "text", "code", "verdict", "count", "duration", "pairs", "before", "after", "changes", "clauses", "value"
]
"""What the values of a column are, so that they can be shown accordingly.

`code` is source text; `verdict` a word of a fixed vocabulary; `count` a number of things; `duration` milliseconds;
`pairs` a dict of short facts; `before` and `after` the two sides of a change; `changes` a dict of `[before, after]` by
field; `clauses` a dict of conditions with True, False, None for NULL, or the text of an error; `value` a value of the
database, for which missing means NULL; `text` everything else.
"""


class ResultRow(Protocol):
    """One row of a result: an attribute for each column, and the lines shown under the row."""

    @property
    def lines(self) -> Sequence[str]:
        """The lines shown under the row, such as `NOTICE: checked`."""


class ResultFrame(pd.DataFrame):
    """A DataFrame with a documented set of columns, a caption, notes, and lines attached to single rows.

    Filtering, sorting, copying, pickling and concatenating keep the class, the caption, the notes and the lines; each
    frame has its own copy of them. Selecting a single column returns an ordinary Series.

    Attributes:
        columns_contract: column -> dtype, in order; every newly made frame has these columns, even an empty one.
        columns_roles: column -> `Role`, for the columns that are not plain text or numbers.
        caption: one line above the table, or None.
        notes: sentences shown under the table, in order.
        attached: row label -> lines shown under that row, in order; the index with the labels is named `line`.
    """

    columns_contract: ClassVar[Mapping[str, str]] = MappingProxyType({})
    columns_roles: ClassVar[Mapping[str, Role]] = MappingProxyType({})

    _metadata = ["caption", "notes", "attached"]
    caption: str | None
    notes: list[str]
    attached: dict[Hashable, list[str]]

    def __init__(
        self,
        *args: Any,
        caption: str | None = None,
        notes: Iterable[str] = (),
        attached: Mapping[Hashable, Iterable[str]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.caption = caption
        self.notes = list(notes)
        self.attached = {label: list(lines) for label, lines in (attached or {}).items()}
        if self.attached:
            self.index = self.index.rename(LINE)

    @classmethod
    def from_rows(cls, rows: Iterable[ResultRow], *, caption: str | None = None, notes: Iterable[str] = ()) -> Self:
        """Return a frame with one row for each of `rows`, its columns and dtypes as in the contract.

        The index is named `line` and counts from 0; a row's `lines` are attached to its label. None means missing
        data.
        """
        listed = list(rows)
        columns = {
            name: pd.Series([getattr(row, name) for row in listed], dtype=dtype)
            for name, dtype in cls.columns_contract.items()
        }
        return cls(
            columns,
            index=pd.RangeIndex(len(listed), name=LINE),
            caption=caption,
            notes=notes,
            attached={label: row.lines for label, row in enumerate(listed) if row.lines},
        )

    def role_of(self, column: Hashable) -> Role:
        """Return what the values of a column are."""
        return self.columns_roles.get(str(column), "text")

    @property
    def _constructor(self) -> type[Self]:
        return type(self)

    def lines_of(self, label: Hashable) -> list[str]:
        """Return the lines attached to the row with this label; an empty list if the labels were replaced."""
        return list(self.attached.get(label, ())) if self.index.name == LINE else []

    def loose_lines(self) -> list[str]:
        """Return the attached lines whose rows are no longer known, because the labels were replaced."""
        if self.index.name == LINE:
            return []
        return [line for lines in self.attached.values() for line in lines]

    def __finalize__(self, other: Any, method: str | None = None, **kwargs: Any) -> Self:
        super().__finalize__(other, method=method, **kwargs)  # type: ignore[misc, unused-ignore]
        if method == "concat":
            # pandas copies no metadata here. Version 3 calls the concatenated objects `input_objs`, version 2 `objs`.
            objects = getattr(other, "input_objs", None) or other.objs
            self._join_metadata([frame for frame in objects if isinstance(frame, ResultFrame)])
        elif isinstance(other, ResultFrame):
            # pandas shares the lists themselves: a note added to a filtered frame would show up on its parent.
            for name in self._metadata:
                object.__setattr__(self, name, deepcopy(getattr(self, name)))
        return self

    def _join_metadata(self, frames: Sequence[ResultFrame]) -> None:
        """Take over the caption, notes and lines of `frames`, whose concatenation this frame is."""
        captions = {frame.caption for frame in frames}
        self.caption = captions.pop() if len(captions) == 1 else None
        self.notes = list(dict.fromkeys(note for frame in frames for note in frame.notes))
        self.attached = {}
        keeps_labels = self.index.name == LINE and self.index.is_unique
        for frame in frames:
            for label, lines in frame._lines_of_own_rows():
                if keeps_labels:
                    known = self.attached.setdefault(label, [])
                    # A label comes twice only when columns are concatenated, and often with the same lines.
                    known.extend(line for line in lines if line not in known)
                else:
                    # Two rows have the label, or none has: better under the table than under a wrong row.
                    self.notes.extend(lines)

    def _lines_of_own_rows(self) -> list[tuple[Hashable, list[str]]]:
        """Return label and lines of the rows that are here; a filtered frame has its parent's lines as well."""
        if self.index.name != LINE:
            return list(self.attached.items())
        return [(label, lines) for label, lines in self.attached.items() if label in self.index]


Kind = Literal["integer", "boolean", "timestamp", "date", "text", "decimal", "float", "json", "uuid", "other"]
KINDS: frozenset[str] = frozenset(get_args(Kind))


def faithful(values: Sequence[Any], kind: Kind) -> Values:
    """Return `values` as an array of the dtype that holds this kind of value without loss.

    | kind | dtype | missing |
    | --- | --- | --- |
    | integer | Int64 | NA |
    | boolean | boolean | NA |
    | float | Float64; NaN is a value, not missing | NA |
    | text | string | NA |
    | timestamp | datetime64[us, UTC]; datetime64[us] if the values have no time zone | NaT |
    | date | datetime64[s], at midnight and without a time zone | NaT |
    | decimal, json, uuid, other | object: the Python values themselves | None |

    Raises:
        ValueError: `kind` is not in the table.
    """
    match kind:
        case "integer":
            return pd.array(values, dtype="Int64")
        case "boolean":
            return pd.array(values, dtype="boolean")
        case "text":
            return pd.array(values, dtype="string")
        case "float":
            return _floats(values)
        case "timestamp":
            return _timestamps(values)
        case "date":
            return pd.DatetimeIndex(_numpy_times(values, "D").astype("datetime64[s]")).array
        case "decimal" | "json" | "uuid" | "other":
            return _objects(values)
    raise ValueError(f"Unknown kind of values {kind!r}; the kinds are {', '.join(get_args(Kind))}.")


def python_values(values: Values) -> NDArray[np.object_]:
    """Return the Python values of an array: None for a missing value, a `date` for a date."""
    if pd.api.types.is_object_dtype(values.dtype):
        return _objects(np.asarray(values))
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        times = pd.DatetimeIndex(values)
        found = times.date if times.dtype == np.dtype("datetime64[s]") else times.to_pydatetime()
    else:
        found = values.astype(object)
    found[np.asarray(pd.isna(values))] = None
    return np.asarray(found)


def kept(values: Values) -> pd.Series[Any]:
    """Return `values` as a Series of the same dtype, which `DataFrame` then keeps.

    From a bare array of objects `DataFrame` would infer a dtype, and turn datetimes into Timestamps and None into NaT.
    """
    series: pd.Series[Any] = pd.Series(values, dtype=values.dtype)
    return series


def is_missing(value: object) -> bool:
    """Return whether a value in a column of Python values means "missing".

    A float NaN does, because pandas writes it for a missing value; a `Decimal("NaN")` is a value of the database.
    """
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


def _objects(values: Sequence[Any] | NDArray[Any]) -> NDArray[np.object_]:
    # np.array(values, dtype=object) would turn lists of equal length into a second dimension.
    found = np.fromiter(values, dtype=object, count=len(values))
    # pd.isna is fast, but it also finds a Decimal("NaN"), which is a value.
    for position in np.flatnonzero(pd.isna(found)):
        if is_missing(found[position]):
            found[position] = None
    return found


def _floats(values: Sequence[Any]) -> Values:
    # pd.array(..., dtype="Float64") would turn a NaN of the database into a NULL.
    absent = np.array([value is None or value is pd.NA for value in values], dtype=bool)
    present = [0.0 if gone else value for value, gone in zip(values, absent, strict=True)]
    return pd.arrays.FloatingArray(np.array(present, dtype=float), absent)


def _timestamps(values: Sequence[Any]) -> Values:
    first = next((value for value in values if not is_missing(value)), None)
    if first is not None and first.tzinfo is None:
        return pd.DatetimeIndex(_numpy_times(values, "us")).array
    try:
        return pd.array(values, dtype="datetime64[us, UTC]")
    except (pd.errors.OutOfBoundsDatetime, TypeError, ValueError):
        # pandas 2 converts by way of nanoseconds, which end in the year 2262.
        pass
    in_utc = [None if is_missing(value) else value.astimezone(UTC).replace(tzinfo=None) for value in values]
    return pd.DatetimeIndex(_numpy_times(in_utc, "us")).tz_localize("UTC").array


def _numpy_times(values: Sequence[Any], unit: str) -> NDArray[np.datetime64]:
    # numpy keeps the unit; pandas 2 converts by way of nanoseconds, which end in the year 2262.
    return np.array([None if is_missing(value) else value for value in values], dtype=f"datetime64[{unit}]")
