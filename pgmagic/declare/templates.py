"""The text of a trigger's function, as a template over the model's table and columns."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from pgmagic.declare.model_types import Model
from pgmagic.errors import DeclarationError

# A name, then attributes: what may stand between braces. Everything else in braces is PL/pgSQL's own.
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*(?:\.\w+)*)\}")


class Func:
    """A PL/pgSQL body with `{meta.db_table}`, `{fields.name}`, `{columns.name}` and what a trigger class adds.

    Braces that hold none of these names are PL/pgSQL's own (`'{}'::jsonb`) and need no doubling. A text that is a
    whole template in `str.format`'s sense, doubled braces and all, keeps that meaning, so that a body written for
    the upstream package reads the same here.
    """

    def __init__(self, func: str) -> None:
        self.func = func

    def __repr__(self) -> str:
        return f"pgtrigger.Func({self.func!r})"

    def render(self, **kwargs: Any) -> str:
        """Return the text with the names in `kwargs` filled in."""
        if _is_format_template(self.func, kwargs):
            return "".join(
                literal + (_value(name, kwargs) if name else "")
                for literal, name, _spec, _conversion in string.Formatter().parse(self.func)
            )
        return _PLACEHOLDER.sub(
            lambda match: _value(match[1], kwargs) if match[1].partition(".")[0] in kwargs else match[0],
            self.func,
        )


def _is_format_template(text: str, kwargs: Mapping[str, Any]) -> bool:
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    except ValueError:
        return False
    return all(name.partition(".")[0] in kwargs for name in names)


def _value(path: str, kwargs: Mapping[str, Any]) -> str:
    root, *attributes = path.split(".")
    value = kwargs[root]
    for attribute in attributes:
        try:
            value = getattr(value, attribute)
        except AttributeError:
            raise DeclarationError(
                f'The function\'s text asks for "{{{path}}}", but {root} has no "{attribute}".'
            ) from None
    return str(value)


def table_kwargs(model: Model) -> dict[str, Any]:
    """Return what the text of every function may name: `meta`, `fields` and `columns`."""
    fields = {field.name: field for field in model._meta.fields}
    columns = {name: field.column for name, field in fields.items()}
    return {"meta": model._meta, "fields": SimpleNamespace(**fields), "columns": SimpleNamespace(**columns)}
