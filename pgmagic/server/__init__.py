"""A Postgres server of pgmagic's own, shared by its processes and private to their account."""

from __future__ import annotations

from pgmagic.server.layout import default_home
from pgmagic.server.lease import Lease, ServerInfo, acquire, status, stop

__all__ = ["Lease", "ServerInfo", "acquire", "default_home", "status", "stop"]
