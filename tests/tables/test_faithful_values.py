from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from pgmagic.tables.frame import KINDS, faithful, python_values

NAIVE = datetime(2020, 2, 29, 1, 2, 3, 4)  # noqa: DTZ001
ODD_ZONE = timezone(timedelta(hours=5, minutes=45))
A_UUID = uuid.UUID(int=7)

CASES = [
    ("integer", "Int64", [2**63 - 1, None, -(2**63)]),
    ("boolean", "boolean", [True, None, False]),
    ("text", "string", ["", None, "\u202eabc"]),
    (
        "timestamp",
        "datetime64[us, UTC]",
        [datetime(9999, 12, 31, 23, 59, 59, 999999, UTC), None, datetime(1, 1, 1, tzinfo=UTC)],
    ),
    ("timestamp", "datetime64[us]", [NAIVE, None]),
    ("date", "datetime64[s]", [date(1, 1, 1), None, date(9999, 12, 31)]),
    ("decimal", "object", [Decimal("1.10"), None, Decimal("1e-30")]),
    ("json", "object", [[1, 2], None, {"a": [1]}, [3, 4]]),
    ("uuid", "object", [A_UUID, None]),
    ("other", "object", [(1, 2), None, (3, 4)]),
]


@pytest.mark.parametrize(("kind", "dtype", "values"), CASES, ids=[f"{kind} {dtype}" for kind, dtype, _ in CASES])
def test_faithful_returns_the_dtype_and_loses_nothing(kind, dtype, values):
    array = faithful(values, kind)
    assert str(array.dtype).replace("[python]", "") == dtype
    assert list(pd.isna(pd.Series(array))) == [value is None for value in values]
    back = list(python_values(array))
    assert back == values
    assert [type(value) for value in back] == [type(value) for value in values]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_faithful_gives_an_empty_list_the_dtype_of_missing_values(kind):
    assert faithful([], kind).dtype == faithful([None], kind).dtype
    assert len(faithful([], kind)) == 0


def test_equal_lists_do_not_become_a_matrix():
    assert faithful([[1, 2], [3, 4]], "json").shape == (2,)


def test_zones_are_converted_to_utc():
    [value] = faithful([datetime(2020, 1, 1, 5, 45, tzinfo=ODD_ZONE)], "timestamp")
    assert value == datetime(2020, 1, 1, tzinfo=UTC)


def test_nan_of_the_database_is_not_null():
    array = faithful([float("nan"), None, 1.5], "float")
    assert list(pd.isna(array)) == [False, True, False]
    values = python_values(array)
    assert np.isnan(values[0])
    assert list(values[1:]) == [None, 1.5]


def test_decimal_nan_is_a_value():
    array = faithful([Decimal("NaN"), float("nan")], "decimal")
    for [value, missing] in (array, python_values(array), python_values(pd.Series(array).array)):
        assert value.is_nan()
        assert missing is None


def test_unknown_kind_is_named():
    with pytest.raises(ValueError, match=r"'integr'.*integer"):
        faithful([1], "integr")  # type: ignore[arg-type]
