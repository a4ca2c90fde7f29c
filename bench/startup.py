"""How long a kernel waits: for `%load_ext pgmagic`, and for its first connection to the embedded Postgres.

Every figure is taken in a process of its own: `python bench/startup.py [REPETITIONS]`.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

_CHILD = """
import json, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
start = time.perf_counter()
shell.run_line_magic("load_ext", "pgmagic")
loaded = time.perf_counter()
from django.db import connection
connection.ensure_connection()
connected = time.perf_counter()
print(json.dumps({"load": loaded - start, "connect": connected - loaded}))
connection.close()
"""

_KEEPER = """
import sys
from pgmagic import server
lease = server.acquire()
print("ready", flush=True)
sys.stdin.read()
lease.release()
"""


def measure(home: str) -> dict[str, float]:
    """Return the seconds that one new kernel takes to load and to connect."""
    environment = {**os.environ, "PGMAGIC_HOME": home}
    environment.pop("PGMAGIC_DATABASE_URL", None)
    done = subprocess.run([sys.executable, "-c", _CHILD], env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def new_home() -> str:
    """Return a new folder that the server's account can reach, also as root."""
    home = Path(tempfile.mkdtemp(prefix="pgmagic-bench-"))
    home.chmod(0o755)
    return str(home)


def main(repetitions: int) -> None:
    """Print the medians."""
    cold = []
    for _ in range(repetitions):
        home = new_home()
        cold.append(measure(home))
        shutil.rmtree(home, ignore_errors=True)
    home = new_home()
    keeper = subprocess.Popen(
        [sys.executable, "-c", _KEEPER],
        env={**os.environ, "PGMAGIC_HOME": home},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert keeper.stdout is not None
    keeper.stdout.readline()
    warm = [measure(home) for _ in range(repetitions)]
    keeper.communicate()
    shutil.rmtree(home, ignore_errors=True)
    print(f"medians of {repetitions}, in seconds")
    print("must: 1.5 s to load, 4 s to a first connection cold, 0.5 s warm")
    print(f"%load_ext pgmagic           {statistics.median(run['load'] for run in cold + warm):.3f}")
    print(f"first connection, cold      {statistics.median(run['connect'] for run in cold):.3f}")
    print(f"first connection, warm      {statistics.median(run['connect'] for run in warm):.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
