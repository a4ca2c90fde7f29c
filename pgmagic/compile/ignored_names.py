"""The setting by which a session ignores triggers."""

from __future__ import annotations

from pgmagic.compile.qualified import DIFFERS, EQUALS
from pgmagic.compile.sql import Fragment, compose, literal

# The setting in which a session names the triggers that it ignores: `:name:name:`, or `*` for all of them.
IGNORE_SETTING = "pgmagic.ignore"
IGNORE_ALL = "*"

# Characters that a name must not have in the setting, or in the line of a body that reads it, and their codes.
_CODED = {ord(character): f"%{ord(character):02x}" for character in (*map(chr, range(32)), "%", ":", IGNORE_ALL)}

# The line of a body that reads the setting, as a regular expression of Postgres.
ASKING_LINE = r"\nIF \(coalesce\(pg_catalog\.current_setting\('pgmagic\.ignore'[^\n]* THEN [^\n]* END IF;(?=\n)"


def coded_name(pgid: str) -> str:
    """Return a trigger's name as it is written in the setting: coded, so that no name is found inside of another."""
    return pgid.translate(_CODED)


def ignored(pgid: str) -> Fragment:
    """Return a condition that is true if the session ignores the trigger; the usual case costs one call."""
    setting = compose("pg_catalog.current_setting(", literal(IGNORE_SETTING), ", true)")
    return compose(
        "(coalesce(", setting, ", '')", DIFFERS, "'' AND (", setting, EQUALS, literal(IGNORE_ALL),
        " OR pg_catalog.strpos(", setting, ", ", literal(f":{coded_name(pgid)}:"), ")", DIFFERS, "0))",
    )  # fmt: skip
