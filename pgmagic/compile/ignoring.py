"""How a session tells triggers that it ignores them."""

from __future__ import annotations

from pgmagic.compile.sql import Fragment, compose, literal

# The setting in which a session names the triggers that it ignores: `:name:name:`, or `*` for all of them.
IGNORE_SETTING = "pgmagic.ignore"
IGNORE_ALL = "*"


def not_ignored(pgid: str) -> Fragment:
    """Return a condition that is true unless the session ignores the trigger; the usual case costs one look-up."""
    setting = compose("current_setting(", literal(IGNORE_SETTING), ", true)")
    return compose(
        "(coalesce(", setting, ", '') = '' OR ", setting, " <> ", literal(IGNORE_ALL), " AND strpos(", setting, ", ",
        literal(f":{pgid}:"), ") = 0)",
    )  # fmt: skip
