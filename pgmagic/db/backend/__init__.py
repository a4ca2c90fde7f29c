"""Django's Postgres backend for notebooks: it chooses the database at the first connection."""

from pgmagic.db.connect import Choice

# The database of every connection of this backend; `%pgconnect` replaces it.
choice = Choice()
