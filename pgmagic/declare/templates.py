"""The text of a trigger's function, as a template over the model's table and columns."""

from __future__ import annotations

import re
import string
from types import SimpleNamespace

from pgmagic.declare.model_types import Model
from pgmagic.errors import DeclarationError

# A name, then attributes: what may stand between braces. Everything else in braces is PL/pgSQL's own.
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*(?:\.\w+)*)\}")


class Func:
    """A PL/pgSQL body with `{meta.db_table}`, `{fields.name}`, `{columns.name}` and what a trigger class adds.

    Braces that hold none of these names are PL/pgSQL's own (`'{}'::jsonb`) and need no doubling. A text that is a
    whole template in `str.format`'s sense, doubled braces and all, keeps that meaning, so that a body written for
    the upstream package means the same here.

    Args:
        func: the PL/pgSQL between BEGIN and END.

    Example:
        >>> trim = pgtrigger.Trigger(
        ...     name="trim", when=pgtrigger.Before, operation=pgtrigger.Insert,
        ...     func=pgtrigger.Func("NEW.{columns.title} := trim(NEW.{columns.title}); RETURN NEW;"))
        >>> trim.render_func(Post)
        'NEW.title := trim(NEW.title); RETURN NEW;'
    """

    def __init__(self, func: str) -> None:
        self.func = func

    def __repr__(self) -> str:
        return f"pgtrigger.Func({self.func!r})"

    def render(self, **kwargs: object) -> str:
        """Return the text with the names in `kwargs` filled in.

        Raises:
            DeclarationError: if the text names an attribute that does not exist.
        """
        try:
            parts = list(string.Formatter().parse(self.func))
        except ValueError:
            parts = []
        if parts and all(name is None or name.partition(".")[0] in kwargs for _, name, _, _ in parts):
            return "".join(text + (_value(name, kwargs) if name else "") for text, name, _, _ in parts)
        return _PLACEHOLDER.sub(
            lambda match: _value(match[1], kwargs) if match[1].partition(".")[0] in kwargs else match[0], self.func
        )


def _value(path: str, kwargs: dict[str, object]) -> str:
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


def table_kwargs(model: Model) -> dict[str, object]:
    """Return what the text of every function may name: `meta`, `fields` and `columns`."""
    fields = {field.name: field for field in model._meta.fields}
    columns = {name: field.column for name, field in fields.items()}
    return {"meta": model._meta, "fields": SimpleNamespace(**fields), "columns": SimpleNamespace(**columns)}
