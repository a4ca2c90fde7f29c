"""The call of a trigger's function, which a subclass can render itself.

Source: https://www.postgresql.org/docs/current/sql-createtrigger.html (arguments)
"""

from __future__ import annotations

import re

from pgmagic.compile.sql import Fragment, compose, identifier, verbatim
from pgmagic.compile.sql_tokens import unquoted
from pgmagic.declare.model_types import Model
from pgmagic.declare.trigger import Trigger
from pgmagic.errors import DeclarationError

_NAME = r'(?:[^\W\d][\w$]*|"(?:[^"\0]|"")+")'
_ARGUMENT = rf"(?:'(?:[^']|'')*'|[eE]'(?:[^'\\]|''|\\.)*'|[-+]?\d[\w.]*|{_NAME})"
_CALL = re.compile(
    rf"\s*(?:(?P<schema>{_NAME})\s*\.\s*)?(?P<name>{_NAME})\s*"
    rf"\((?P<arguments>\s*(?:{_ARGUMENT}(?:\s*,\s*{_ARGUMENT})*\s*)?)\)\s*;?\s*",
    re.DOTALL,
)


def call_of(trigger: Trigger, model: Model, schema: str | None) -> Fragment:
    """Return the call that follows EXECUTE FUNCTION.

    Raises:
        DeclarationError: if a subclass rendered anything else than the call of a function with literals.
    """
    if type(trigger).render_execute is Trigger.render_execute:
        return compose(identifier(schema, trigger.get_pgid(model)), "()")
    call = _rendered(trigger, model)
    if _calls_itself(call, trigger, model):
        return compose(identifier(schema, trigger.get_pgid(model)), "(", verbatim(call["arguments"]), ")")
    return verbatim(call[0].strip().rstrip(";"))


def calls_another(trigger: Trigger, model: Model) -> bool:
    """Return whether a trigger calls another function than the one that is made for it."""
    if type(trigger).render_execute is Trigger.render_execute:
        return False
    return not _calls_itself(_rendered(trigger, model), trigger, model)


def _rendered(trigger: Trigger, model: Model) -> re.Match[str]:
    rendered: object = trigger.render_execute(model)
    call = _CALL.fullmatch(rendered) if isinstance(rendered, str) else None
    if call is None:
        raise DeclarationError(
            f'The render_execute of "{trigger.name}" returned {rendered!r}, but Postgres expects the call of a '
            f"function with literals for arguments, such as audit('a', 1)."
        )
    return call


def _calls_itself(call: re.Match[str], trigger: Trigger, model: Model) -> bool:
    # The method of the base class returns the name without quotes.
    return call["schema"] is None and trigger.get_pgid(model) in (call["name"], unquoted(call["name"]))
