"""Comparing two values of one field, documents key by key."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from functools import lru_cache
from itertools import zip_longest
from typing import Any
from uuid import UUID

import pandas as pd

_PLAIN_KEY = re.compile(r"[^\W\d][\w-]*")

COMPARABLE = frozenset({str, int, float, Decimal, UUID, type(None)})
"""Types whose values are the same if `==` says so; for a bool or a document `==` is not strict enough."""

Change = tuple[str, Any, Any]
"""A path, the value before and the value after; `pd.NA` on the side where the path does not exist."""


def changes(path: str, before: Any, after: Any) -> list[Change]:
    """Return the innermost changes between two values of the field `path`, in the order of the documents.

    Two dicts are compared key by key (`field.key`, or `field["odd key"]`), two lists item by item
    (`field[0]`); anything else is compared whole, as Postgres would: None equals None, NaN equals NaN, and
    inside a document `true` is not `1`, though Python says so.
    """
    found: list[Change] = []
    if not _plainly_same(before, after):
        _compare(path, before, after, found)
    return found


def _compare(path: str, before: Any, after: Any, found: list[Change]) -> None:
    if isinstance(before, dict) and isinstance(after, dict):
        _compare_dicts(path, before, after, found)
    elif isinstance(before, list) and isinstance(after, list):
        for index, (old, new) in enumerate(zip_longest(before, after, fillvalue=pd.NA)):
            if not _plainly_same(old, new):
                _compare(f"{path}[{index}]", old, new, found)
    elif before is pd.NA or after is pd.NA or not _same_leaf(before, after):
        found.append((path, before, after))


def _compare_dicts(path: str, before: dict[str, Any], after: dict[str, Any], found: list[Change]) -> None:
    for key, old in before.items():
        new = after.get(key, pd.NA)
        if not _plainly_same(old, new):
            _compare(f"{path}{_step(key)}", old, new, found)
    for key, new in after.items():
        if key not in before:
            found.append((f"{path}{_step(key)}", pd.NA, new))


def _plainly_same(before: Any, after: Any) -> bool:
    """Return whether two values are the same at a glance; so most paths need not be made."""
    return before is after or (type(before) is type(after) and type(before) in COMPARABLE and before == after)


def _same_leaf(before: Any, after: Any) -> bool:
    if isinstance(before, bool) or isinstance(after, bool):
        return False  # there are only two bools, and these two values are not the same object
    return bool(before == after) or bool(before != before and after != after)


@lru_cache(maxsize=4096)
def _step(key: str) -> str:
    # A key that looks like several steps, or like an index, is quoted: two paths never read alike.
    return f".{key}" if _PLAIN_KEY.fullmatch(key) else f"[{json.dumps(key, ensure_ascii=False)}]"
