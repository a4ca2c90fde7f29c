from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pandas as pd
import pytest

from pgmagic.history.reading import EVENT_KINDS, history_frame
from pgmagic.tables.frame import python_values

NOON = datetime(2020, 1, 1, 12, tzinfo=UTC)
CONTEXT = uuid.UUID(int=1)


def test_history_has_event_columns_then_fields_in_order():
    history = history_frame(
        {
            "price": [Decimal("1.10")],
            "pgh_obj_id": [7],
            "pgh_id": [1],
            "day": [date(2020, 1, 1)],
            "pgh_created_at": [NOON],
            "pgh_label": ["snapshot"],
            "pgh_context_id": [CONTEXT],
            "context": [{"user": 1}],
            "pgh_id_like": ["a field of the model"],
        },
        {"price": "decimal", "day": "date", "pgh_id_like": "text"},
    )
    assert list(history.columns) == [*EVENT_KINDS, "price", "day", "pgh_id_like"]
    assert history.fields == ["price", "day", "pgh_id_like"]
    assert [python_values(history[name].array)[0] for name in history.columns] == [
        1,
        NOON,
        "snapshot",
        7,
        CONTEXT,
        {"user": 1},
        Decimal("1.10"),
        date(2020, 1, 1),
        "a field of the model",
    ]


def test_columns_not_given_are_missing_throughout():
    history = history_frame({"pgh_id": [1, 2]}, {})
    assert history["pgh_context_id"].isna().all()
    assert len(history) == 2


def test_key_may_be_of_another_kind():
    history = history_frame({"pgh_obj_id": ["a"]}, {"pgh_obj_id": "text"})
    assert history["pgh_obj_id"].tolist() == ["a"]


def test_field_without_kind_is_named():
    with pytest.raises(ValueError, match="price"):
        history_frame({"price": [1]}, {})


def test_concat_joins_sides():
    one = history_frame({"pgh_id": [1], "pgh_label": ["a"]}, {}, sides={"a": "OLD"})
    two = history_frame({"pgh_id": [2], "pgh_label": ["b"]}, {})
    assert pd.concat([one, two]).sides == {"a": "OLD", "b": "NEW"}


def test_concat_of_contradicting_sides_says_so():
    one = history_frame({"pgh_id": [1], "pgh_label": ["a"]}, {}, sides={"a": "OLD"})
    two = history_frame({"pgh_id": [2], "pgh_label": ["a"]}, {})
    assert pd.concat([one, two]).sides == {"a": "MIXED"}


def test_filtering_keeps_sides_and_shares_none():
    history = history_frame({"pgh_id": [1, 2], "pgh_label": ["a", "a"]}, {}, sides={"a": "OLD"})
    derived = history[history["pgh_id"] > 1]
    assert derived.sides == {"a": "OLD"}
    derived.sides["a"] = "NEW"
    assert history.sides == {"a": "OLD"}


def test_objects_are_not_looked_into():
    history = history_frame({"pgh_id": [1, 2], "length": [timedelta(1), None]}, {"length": "other"})
    assert history["length"].tolist() == [timedelta(1), None]
    assert history["length"].dtype == object
