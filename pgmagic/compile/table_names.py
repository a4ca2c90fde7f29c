"""Which names a table, its columns and its triggers may have."""

from __future__ import annotations

from typing import Final

from pgmagic.declare import registry
from pgmagic.declare.conditions import table_fields
from pgmagic.declare.model_types import Model
from pgmagic.declare.names import MAX_NAME_BYTES, is_storable
from pgmagic.declare.trigger import Trigger
from pgmagic.errors import DeclarationError

# The length of the suffix that tells the triggers of one declaration apart.
_SUFFIX_BYTES: Final = 2


def check_table_name(model: Model) -> None:
    """Refuse names that Django cannot quote, and names that Postgres would cut or cannot store.

    Raises:
        DeclarationError: if the name of the table, of a column, or of the table of a many-to-many field is refused.
    """
    names = [("db_table", model._meta.db_table)]
    names += [(f"db_column of {field.name}", str(field.column)) for field in table_fields(model)]
    for relation in model._meta.local_many_to_many:
        through = relation.remote_field.through
        if isinstance(through, type) and through._meta.auto_created:
            names.append((f"db_table of {relation.name}", through._meta.db_table))
    for what, name in names:
        reason = _reason_against(name)
        if reason:
            raise DeclarationError(
                f"The {what} of {model._meta.object_name} is {name!r}: {reason}, so choose another name."
            )


def check_trigger_name(trigger: Trigger, model: Model) -> None:
    """Check the name in Postgres that a subclass itself chose for a trigger.

    Raises:
        DeclarationError: if Postgres would not keep the name, or another trigger has it.
    """
    if type(trigger).get_pgid is Trigger.get_pgid:
        return
    name: object = trigger.get_pgid(model)
    uri = trigger.get_uri(model)
    if not isinstance(name, str) or not name or "\x00" in name or not is_storable(name):
        raise DeclarationError(f"The get_pgid of {uri} returned {name!r}, which is not a name in Postgres.")
    if len(name.encode()) > MAX_NAME_BYTES - _SUFFIX_BYTES:
        raise DeclarationError(
            f"The get_pgid of {uri} returned a name of {len(name.encode())} bytes: Postgres keeps {MAX_NAME_BYTES}, "
            f"and needs {_SUFFIX_BYTES} of them to tell the parts of a trigger apart."
        )
    for other_model, other in registry.registered():
        other_uri = other.get_uri(other_model)
        is_own_name = type(other).get_pgid is not Trigger.get_pgid
        if is_own_name and other_uri != uri and other.get_pgid(other_model) == name:
            raise DeclarationError(
                f"{uri} and {other_uri} have the same name in Postgres, {name}, and so would share one function: let "
                f"get_pgid return different names."
            )


def _reason_against(name: str) -> str | None:
    if any(character in name for character in '"%$\x00'):
        return "Django cannot quote a name with a quote, a percent sign, a dollar sign or a NUL in it"
    if name.startswith("pgmagic_"):
        return "names that begin with pgmagic_ are pgmagic's own"
    if name == "*":
        return "Django reads it as all columns"
    if not is_storable(name):
        return "Postgres cannot store half a character"
    size = len(name.encode())
    if size > MAX_NAME_BYTES:
        return f"Postgres keeps {MAX_NAME_BYTES} bytes of a name, and this one has {size}"
    return None
