"""Names: a trigger's URI, and the name in Postgres that is derived from it."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

from pgmagic.errors import DeclarationError

# The longest name that Postgres keeps (NAMEDATALEN - 1).
# Source: https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS
MAX_NAME_BYTES = 63
# The option of an event model that says how its table is partitioned: "month".
PARTITION_OPTION = "pgh_partition_by"
_PREFIX = "pgtrigger_"
_DIGEST_LENGTH = 8
# A few bytes stay free, so that a probe can be given a name that sorts right after a trigger's.
_SPARE = 4


def trigger_uri(app_label: str, object_name: str, trigger_name: str) -> str:
    """Return `app_label.ModelName:trigger_name`."""
    return f"{app_label}.{object_name}:{trigger_name}"


def split_uri(uri: str) -> tuple[str, str]:
    """Return the model's label and the trigger's name of a URI.

    Raises:
        DeclarationError: if the text is not a URI.
    """
    label, colon, name = uri.partition(":") if isinstance(uri, str) else ("", "", "")
    if not colon or label.count(".") != 1 or not name:
        raise DeclarationError(
            f'Trigger URI must be in the format of "app_label.model_name:trigger_name", but {uri!r} was given.'
        )
    return label, name


# Called several times for each trigger.
@lru_cache(maxsize=4096)
def postgres_name(trigger_name: str, uri: str) -> str:
    """Return the name, at most 63 bytes, of a trigger and its function in Postgres.

    It begins with the trigger's own name, because Postgres fires triggers in the order of their names.
    """
    digest = hashlib.sha256(uri.encode()).hexdigest()[:_DIGEST_LENGTH]
    room = MAX_NAME_BYTES - len(_PREFIX) - 1 - _DIGEST_LENGTH - _SPARE
    return f"{_PREFIX}{shorten(trigger_name, room)}_{digest}"


def quote_if_needed(name: str) -> str:
    """Return a name as SQL: quoted, unless it is plain."""
    if re.fullmatch("[a-z_][a-z0-9_]*", name):
        return name
    return '"' + name.replace('"', '""') + '"'


def shorten(name: str, size: int) -> str:
    """Return the longest beginning of `name` that takes at most `size` bytes in UTF-8."""
    return name.encode()[:size].decode(errors="ignore")


def validate_name(name: object, what: str) -> None:
    """Check that a name can be stored in Postgres at all.

    Raises:
        DeclarationError: if it is not a text, is empty, or holds what Postgres cannot store: NUL or half a character.
    """
    if not isinstance(name, str) or not name:
        raise DeclarationError(f'{what} must have "name" attribute: a text that is not empty, got {name!r}.')
    if "\x00" in name or not is_storable(name):
        raise DeclarationError(
            f"{what} has a NUL character or half a character in its name {name!r}, which Postgres cannot store."
        )


def is_storable(name: str) -> bool:
    """Return whether UTF-8 can hold a text: there is no half of a surrogate pair in it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
