"""`pgmagic stop`: stop the embedded server."""

from __future__ import annotations

from pgmagic import server


def stop() -> int:
    """Stop the embedded server, print whether it was running, and return the exit code."""
    home = server.default_home()
    if server.stop():
        print(f"The embedded Postgres in {home} has stopped; its data stays there.")
    else:
        print(f"No embedded Postgres runs in {home}.")
    return 0
