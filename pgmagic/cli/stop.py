"""`pgmagic stop`: stop the embedded server."""

from __future__ import annotations

from pgmagic.db import embedded


def stop() -> int:
    """Stop the embedded server, say whether there was one to stop, and return the exit code."""
    home = embedded.default_home()
    if embedded.stop():
        print(f"The embedded Postgres in {home} has stopped; its data stays there.")
    else:
        print(f"No embedded Postgres runs in {home}.")
    return 0
