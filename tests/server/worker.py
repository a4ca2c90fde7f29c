"""A process that uses the server until its standard input says otherwise; `argv`: home, what to do."""

import os
import sys
import time
from pathlib import Path

import psycopg

from pgmagic import server


def main(home: Path, task: str) -> None:
    lease = server.acquire(home)
    with psycopg.connect(**lease.conninfo) as connection:
        row = connection.execute("SELECT pg_postmaster_start_time()::text").fetchone()
    assert row is not None
    if task == "fork-and-exit":
        child = os.fork()
        if child == 0:
            sys.exit(0)  # runs the exit handlers, as a careless child does
        os.waitpid(child, 0)
    if task == "fork-and-stay" and os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    print(f"ready {row[0]}", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
