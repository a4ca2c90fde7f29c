"""How a session tells triggers that it ignores them."""

from __future__ import annotations

from pgmagic.compile.sql import Fragment, compose, literal

# The setting in which a session names the triggers that it ignores: `:name:name:`, or `*` for all of them.
IGNORE_SETTING = "pgmagic.ignore"
IGNORE_ALL = "*"

# The line of a body that asks, as a regular expression of Postgres.
ASKING_LINE = r"\nIF \(coalesce\(current_setting\('pgmagic\.ignore'[^\n]* THEN [^\n]* END IF;(?=\n)"


def ignored(pgid: str) -> Fragment:
    """Return a condition that is true if the session ignores the trigger; the usual case costs one look-up."""
    setting = compose("current_setting(", literal(IGNORE_SETTING), ", true)")
    return compose(
        "(coalesce(", setting, ", '') <> '' AND (", setting, " = ", literal(IGNORE_ALL), " OR strpos(", setting, ", ",
        literal(f":{pgid}:"), ") > 0))",
    )  # fmt: skip
