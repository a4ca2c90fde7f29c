"""Django's Postgres backend for notebooks: it finds out at the first connection which database it is for."""

from pgmagic.db.connect import Choice

# The choice that every connection of this backend follows; `%pgconnect` replaces it.
choice = Choice()
