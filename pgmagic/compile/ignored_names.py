"""How a session tells triggers that it ignores them."""

from __future__ import annotations

from pgmagic.compile.qualified import DIFFERS, EQUALS
from pgmagic.compile.sql import Fragment, compose, literal

# The setting in which a session names the triggers that it ignores: `:name:name:`, or `*` for all of them.
IGNORE_SETTING = "pgmagic.ignore"
IGNORE_ALL = "*"

# What a name must not have in that setting, or in the line of a body that asks; and what stands for it.
_CODED = {
    ord(character): f"%{ord(character):02x}" for character in (*map(chr, range(32)), "%", ":", IGNORE_ALL)
}

# The line of a body that asks, as a regular expression of Postgres.
ASKING_LINE = (
    r"\nIF \(coalesce\(pg_catalog\.current_setting\('pgmagic\.ignore'[^\n]* THEN [^\n]* END IF;(?=\n)"
)


def told_as(pgid: str) -> str:
    """Return a trigger's name as it is told to a session: one that holds another between colons is not taken for it."""
    return pgid.translate(_CODED)


def ignored(pgid: str) -> Fragment:
    """Return a condition that is true if the session ignores the trigger; the usual case costs one look-up."""
    setting = compose("pg_catalog.current_setting(", literal(IGNORE_SETTING), ", true)")
    return compose(
        "(coalesce(", setting, ", '')", DIFFERS, "'' AND (", setting, EQUALS, literal(IGNORE_ALL),
        " OR pg_catalog.strpos(", setting, ", ", literal(f":{told_as(pgid)}:"), ")", DIFFERS, "0))",
    )  # fmt: skip
