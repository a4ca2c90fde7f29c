"""The state of a model as JSON: what its table was made from, so that a later declaration can be compared with it.

Only what the database knows of is kept: no choices, validators, help texts or Python defaults. Reading a state back
constructs nothing but what can deconstruct itself (fields, indexes, constraints, expressions), out of modules that
are imported already; a state is data from a database, not code.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import sys
import uuid
from collections.abc import Callable
from typing import Any

from django.db import models
from django.db.migrations.state import ModelState

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

_TEXTS: dict[str, tuple[type, Callable[[str], Any]]] = {
    "decimal": (decimal.Decimal, decimal.Decimal),
    "datetime": (datetime.datetime, datetime.datetime.fromisoformat),
    "date": (datetime.date, datetime.date.fromisoformat),
    "time": (datetime.time, datetime.time.fromisoformat),
    "uuid": (uuid.UUID, uuid.UUID),
}


def dump_state(model: type[models.Model]) -> str:
    """Return the state of a model as JSON; the same declaration gives the same text."""
    state = ModelState.from_model(model)
    fields = [[name, _dump_field(field)] for name, field in state.fields.items()]
    options = {
        name: _dump(value) for name, value in sorted(state.options.items()) if name in _DATABASE_OPTIONS
    }
    bases = [base for base in state.bases if isinstance(base, str)]
    return json.dumps(
        {"app": state.app_label, "name": state.name, "fields": fields, "options": options, "bases": bases}
    )


def with_renamed_model(text: str, former: str, label: str) -> str:
    """Return a state in which relations and bases that name a model by its former label name it by the new one."""

    def renamed(value: Any) -> Any:
        return label.lower() if isinstance(value, str) and value.lower() == former.lower() else value

    def walk(value: Any) -> Any:
        if isinstance(value, list):
            if len(value) == 2 and value[0] in ("to", "through") and isinstance(value[1], str):
                return [value[0], renamed(value[1])]
            return [walk(item) for item in value]
        return {key: walk(item) for key, item in value.items()} if isinstance(value, dict) else value

    state = walk(json.loads(text))
    return json.dumps({**state, "bases": [renamed(base) for base in state["bases"]]})


def load_state(text: str) -> ModelState:
    """Return the state that `dump_state` wrote.

    Raises:
        SchemaError: it needs a class that is not to be found any more.
    """
    found = json.loads(text)
    return ModelState(
        found["app"],
        found["name"],
        [(name, _load(field)) for name, field in found["fields"]],
        {name: _load(value) for name, value in found["options"].items()},
        tuple(found["bases"]) or (models.Model,),
    )


def _dump_field(field: Any) -> Any:
    _, path, args, kwargs = field.deconstruct()
    kept = {name: value for name, value in kwargs.items() if name not in _PYTHON_ARGUMENTS}
    return _dump_object(path, args, kept)


def _dump_object(path: str, args: Any, kwargs: dict[str, Any]) -> Any:
    return {"make": path, "args": [_dump(arg) for arg in args], "kwargs": _dump_items(kwargs)}


def _dump_items(items: dict[Any, Any]) -> list[Any]:
    return [[key, _dump(value)] for key, value in sorted(items.items(), key=lambda item: str(item[0]))]


def _dump(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    for name, (kind, _) in _TEXTS.items():
        if type(value) is kind:
            return {name: value.isoformat() if hasattr(value, "isoformat") else str(value)}
    if isinstance(value, list | tuple | set | frozenset):
        return {"list" if isinstance(value, list) else "tuple": [_dump(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": _dump_items(value)}
    if isinstance(value, models.Field):
        return _dump_field(value)
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
        return _construct(value)
    [(kind, content)] = value.items()
    if kind in _TEXTS:
        return _TEXTS[kind][1](content)
    if kind in ("list", "tuple"):
        items = [_load(item) for item in content]
        return items if kind == "list" else tuple(items)
    if kind == "dict":
        return {key: _load(item) for key, item in content}
    return _find(content) if kind == "name" else content


def _construct(value: dict[str, Any]) -> Any:
    made = _find(value["make"])
    if not (isinstance(made, type) and hasattr(made, "deconstruct")):
        raise SchemaError(
            f"The remembered model state names {value['make']}, which is no field, index, constraint or expression."
        )
    return made(*map(_load, value["args"]), **{name: _load(item) for name, item in value["kwargs"]})


def _find(path: str) -> Any:
    """Return what a dotted path names, in a module that is imported already."""
    module = path.rpartition(".")[0]
    while module and module not in sys.modules:
        module = module.rpartition(".")[0]
    found: Any = sys.modules.get(module)
    try:
        for name in path[len(module) + 1 :].split("."):
            found = getattr(found, name)
    except AttributeError:
        raise SchemaError(
            f"A table was made from {path}, which is not here any more: run the cell that defines it first."
        ) from None
    return found
