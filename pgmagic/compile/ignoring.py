"""How a session tells triggers that it ignores them."""

# The setting in which a session names the triggers that it ignores: `:name:name:`, or `*` for all of them.
IGNORE_SETTING = "pgmagic.ignore"
IGNORE_ALL = "*"
