"""The server's configuration: settings for a workbook, and who may connect.

Authentication is `peer`: the server asks the operating system which account is at the other end of the socket, and only
the account that pgmagic runs as may connect, as any role. There is no password that could leak.

Source: https://www.postgresql.org/docs/18/auth-peer.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgmagic.server.sockets import PORT

if TYPE_CHECKING:
    from pathlib import Path

ROLE = "pgmagic"
DATABASE = "pgmagic"
SETTINGS_FILE = "pgmagic.conf"

INCLUDE = f"""
# Written by pgmagic. {SETTINGS_FILE} is written anew at every start; for settings of your own use ALTER
# SYSTEM.
include_if_exists '{SETTINGS_FILE}'
"""

SETTINGS = """\
# Written by pgmagic at every start. For settings of your own use ALTER SYSTEM.

shared_buffers = '64MB'
max_connections = 100

# A crash of the machine, or a kill of the server, may cost the commits of the last 0.6 seconds. It never
# corrupts anything, and an ordinary stop costs nothing.
fsync = on
full_page_writes = on
synchronous_commit = off

timezone = 'UTC'
log_timezone = 'UTC'
datestyle = 'iso, ymd'
lc_messages = 'C'
default_text_search_config = 'pg_catalog.english'

# Statements may hold secrets, and a rejected statement is daily bread here: neither is logged.
log_statement = 'none'
log_min_messages = 'log'
log_min_error_statement = 'panic'
log_min_duration_statement = -1
log_checkpoints = off
log_autovacuum_min_duration = -1
log_line_prefix = '%m [%p] '
logging_collector = off
log_destination = 'stderr'
"""


def command_line(socket_folder: Path) -> list[str]:
    """Return the options that no configuration file may change: a private socket, and no TCP port."""
    quoted = str(socket_folder).replace('"', '""')
    options = {
        "listen_addresses": "",
        "unix_socket_directories": f'"{quoted}"',
        "unix_socket_permissions": "0700",
        "port": str(PORT),
    }
    return [word for name, value in options.items() for word in ("-c", f"{name}={value}")]


def access_rules() -> str:
    """Return the content of pg_hba.conf."""
    return "# Written by pgmagic at every start.\nlocal all all peer map=pgmagic\n"


def account_map(major: int, own_name: str) -> str:
    """Return the content of pg_ident.conf: the account `own_name` may take any role.

    Before Postgres 16 a map could not say `all`; there the account may only be the superuser.
    """
    role = "all" if major >= 16 else ROLE
    quoted = own_name.replace('"', '""')
    return f'# Written by pgmagic at every start.\npgmagic "{quoted}" {role}\n'


def initdb_options(major: int) -> list[str]:
    """Return the options that decide encoding, sort order and superuser of a new data directory.

    Postgres 17 and newer have a UTF-8 locale of their own, which is the same on every platform.
    """
    options = ["--username", ROLE, "--auth", "peer", "--encoding", "UTF8", "--locale", "C"]
    if major >= 17:
        options += ["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
    return options
