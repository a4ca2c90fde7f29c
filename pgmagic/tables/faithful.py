"""Values of the database as pandas arrays that lose nothing, and back."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Values: TypeAlias = Any
    """A pandas extension array or a numpy array; their stubs have too little in common to be of use."""

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
