"""Tab completion of names of fields and tables: in conditions, in lookups, and in the SQL of `%%pgsql`.

Nothing here connects: the names come from the text of the cell and from the registry of models.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from django.apps import apps
from django.db.models import Model

from pgmagic.declare.model_registry import cell_labels

# A keyword of Q or F in which a row is named: `Q(old__ti`, `Q(old__a=1, new__ti`, `F("old__ti`.
_ROW = re.compile(r"\b[QF]\((?:[^()]|\([^()]*\))*?\b(?P<word>(?:old|new)__\w*)$", re.DOTALL)
# An argument of a lookup on a manager: `Post.objects.filter(ti`.
_LOOKUP = re.compile(
    r"\b(?P<model>[^\W\d]\w*)\.objects\b(?:[^\n()]|\([^()]*\))*?"
    r"\.(?:filter|exclude|get|create|update|get_or_create|update_or_create)\((?:[^()]*,)?\s*(?P<word>\w*)$"
)
_CLASS = re.compile(r"^[ \t]*class[ \t]+(?P<name>\w+)[ \t]*\(", re.MULTILINE)
_FIELD = re.compile(r"^[ \t]+(?P<name>\w+)[ \t]*(?::[^=\n]+)?=[ \t]*models\.\w+\(", re.MULTILINE)
# Where a statement goes on with a table.
_TABLE = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE|TABLE|ONLY|ON|TRUNCATE)\s+$", re.IGNORECASE)


def names_for(before: str, namespace: Mapping[str, object]) -> tuple[str, list[str]]:
    """Return the word at the end of a text, and what it can become; before: the cell up to the cursor."""
    if before.lstrip().startswith("%%pgsql"):
        return _tables(before)
    row = _ROW.search(before)
    if row is not None:
        word = row["word"]
        prefix = word[:5]
        return word, _beginning(word, [prefix + name for name in _fields_near(before)])
    lookup = _LOOKUP.search(before)
    model = namespace.get(lookup["model"]) if lookup else None
    if lookup is None or not (isinstance(model, type) and issubclass(model, Model)):
        return "", []
    return lookup["word"], _beginning(lookup["word"], [f"{name}=" for name in _fields_of(model)])


def _tables(before: str) -> tuple[str, list[str]]:
    found = re.search(r"\w*$", before)
    word = found[0] if found else ""
    if "\n" not in before or not (word or _TABLE.search(before)):
        return "", []
    tables = {model._meta.db_table for model in apps.get_models(include_auto_created=True)}
    return word, _beginning(word, sorted(tables))


def _fields_near(before: str) -> list[str]:
    """Return the fields of the class in which the cursor is; without one, those of every model that a cell declared."""
    classes = list(_CLASS.finditer(before))
    models = [model for label in cell_labels() for model in apps.get_app_config(label).get_models()]
    written = []
    if classes:
        written = ["id", *(found["name"] for found in _FIELD.finditer(before, classes[-1].end()))]
        models = [model for model in models if model.__name__ == classes[-1]["name"]]
    return list(dict.fromkeys([*written, *(name for model in models for name in _fields_of(model))]))


def _fields_of(model: type[Model]) -> list[str]:
    return [field.name for field in model._meta.fields]


def _beginning(word: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(word) and name != word]
