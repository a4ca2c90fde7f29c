"""The function by which event triggers attach the open context, outside of migrations."""

from __future__ import annotations

from django.db import connections

from pgmagic.compile.event_values import CONTEXT_TABLE, attach_routine
from pgmagic.compile.sql import compose, identifier, literal, render
from pgmagic.compile.target import Target


def install_context_function(alias: str) -> bool:
    """Create or replace the function if the shared table of contexts exists; return whether it does."""
    table = literal(render(identifier(CONTEXT_TABLE)))
    with connections[alias].cursor() as cursor:
        cursor.execute(render(compose("SELECT to_regclass(", table, ") IS NOT NULL")))
        exists = bool(cursor.fetchone()[0])
        if exists:
            cursor.execute(attach_routine(Target()).create)
    return exists
