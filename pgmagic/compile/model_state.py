"""The state of a model as JSON, kept for its table, so that a later declaration can be compared with it.

The state holds only what matters to the database: no choices, validators, help texts or Python defaults. Reading a
state constructs only objects that can deconstruct themselves (fields, indexes, constraints, expressions), from modules
that are imported already; a state is data from a database, not code.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from django.db import models
from django.db.migrations.state import ModelState

from pgmagic.declare.model_types import AnyField, Model
from pgmagic.declare.names import PARTITION_OPTION
from pgmagic.errors import SchemaError

_DATABASE_OPTIONS = {
    "constraints",
    "db_table",
    "db_table_comment",
    "db_tablespace",
    "indexes",
    "index_together",
    "managed",
    "order_with_respect_to",
    PARTITION_OPTION,
    "proxy",
    "unique_together",
}
_PYTHON_ARGUMENTS = {
    "auto_created",
    "choices",
    "default",
    "editable",
    "error_messages",
    "help_text",
    "limit_choices_to",
    "related_name",
    "related_query_name",
    "serialize",
    "validators",
    "verbose_name",
}

# What `json` reads and writes.
Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

# Types that are written as text, and the functions that read the text.
_TEXTS: dict[str, tuple[type, Callable[[str], object]]] = {
    "decimal": (decimal.Decimal, decimal.Decimal),
    "datetime": (datetime.datetime, datetime.datetime.fromisoformat),
    "date": (datetime.date, datetime.date.fromisoformat),
    "time": (datetime.time, datetime.time.fromisoformat),
    "uuid": (uuid.UUID, uuid.UUID),
}


def dump_state(model: Model) -> str:
    """Return the state of a model as JSON; the same declaration gives the same text."""
    state = ModelState.from_model(model)
    fields = [[name, _dump_field(field)] for name, field in state.fields.items()]
    options = {name: _dump(value) for name, value in sorted(state.options.items()) if name in _DATABASE_OPTIONS}
    bases = [base for base in state.bases if isinstance(base, str)]
    return json.dumps(
        {"app": state.app_label, "name": state.name, "fields": fields, "options": options, "bases": bases}
    )


def with_renamed_model(text: str, former: str, label: str) -> str:
    """Return a state whose relations and bases name a model by its new label instead of the former one."""

    def renamed(name: str) -> str:
        return label.lower() if name.lower() == former.lower() else name

    def walk(value: Json) -> Json:
        match value:
            case ["to" | "through" as relation, str(name)]:
                return [relation, renamed(name)]
            case list():
                return [walk(item) for item in value]
            case dict():
                return {key: walk(item) for key, item in value.items()}
        return value

    state = json.loads(text)
    return json.dumps(
        {**{key: walk(value) for key, value in state.items()}, "bases": [renamed(base) for base in state["bases"]]}
    )


def load_state(text: str) -> ModelState:
    """Return the state that `dump_state` wrote.

    Raises:
        SchemaError: if the state needs a class that does not exist any more.
    """
    found = json.loads(text)
    return ModelState(
        found["app"],
        found["name"],
        [(name, _load(field)) for name, field in found["fields"]],
        {name: _load(value) for name, value in found["options"].items()},
        tuple(found["bases"]) or (models.Model,),
    )


def _dump_field(field: AnyField) -> Json:
    _, path, args, kwargs = field.deconstruct()
    kept = {name: value for name, value in kwargs.items() if name not in _PYTHON_ARGUMENTS}
    return _dump_object(path, args, kept)


def _dump_object(path: str, args: Iterable[object], kwargs: Mapping[str, object]) -> Json:
    return {"make": path, "args": [_dump(arg) for arg in args], "kwargs": _dump_items(kwargs)}


def _dump_items(items: Mapping[Any, object]) -> Json:
    return [[key, _dump(value)] for key, value in sorted(items.items(), key=lambda item: str(item[0]))]


def _dump(value: object) -> Json:
    if isinstance(value, enum.Enum):
        value = value.value
    for name, (kind, _) in _TEXTS.items():
        if type(value) is kind:
            return {name: value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)}
    match value:
        case None | bool() | int() | float() | str():
            return value
        case list() | tuple() | set() | frozenset():
            return {"list" if isinstance(value, list) else "tuple": [_dump(item) for item in value]}
        case dict():
            return {"dict": _dump_items(value)}
        case models.Field():
            return _dump_field(value)
    return _dump_other(value)


def _dump_other(value: object) -> Json:
    """Return what a state holds of an object: how to construct it, its name, or its text."""
    if hasattr(value, "deconstruct") and not isinstance(value, type):
        path, args, kwargs = value.deconstruct()[-3:]
        return _dump_object(path, args, kwargs)
    if hasattr(value, "__qualname__"):
        return {"name": f"{value.__module__}.{value.__qualname__}"}
    return {"text": repr(value)}


def _load(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "make" in value:
        made = _find_constructible(value["make"])
        return made(*map(_load, value["args"]), **{name: _load(item) for name, item in value["kwargs"]})
    [(kind, content)] = value.items()
    if kind in _TEXTS:
        return _TEXTS[kind][1](content)
    if kind in ("list", "tuple"):
        items = [_load(item) for item in content]
        return items if kind == "list" else tuple(items)
    if kind == "dict":
        return {key: _load(item) for key, item in content}
    return _find(content) if kind == "name" else content


def _find_constructible(path: str) -> Callable[..., object]:
    found = _find(path)
    if isinstance(found, type) and hasattr(found, "deconstruct"):
        return found
    raise SchemaError(
        f"The remembered model state names {path}, which is not a field, index, constraint or expression."
    )


def _find(path: str) -> object:
    """Return the object that a dotted path names, in a module that is imported already."""
    module = path.rpartition(".")[0]
    while module and module not in sys.modules:
        module = module.rpartition(".")[0]
    found: object = sys.modules.get(module)
    try:
        for name in path[len(module) + 1 :].split("."):
            found = getattr(found, name)
    except AttributeError:
        raise SchemaError(
            f"A table was made from {path}, which does not exist any more: run the cell that defines it first."
        ) from None
    return found
