"""The frame of benchmarks that compare sides: one server, a child process for each side, in turn A B A B.

pgmagic and the upstream packages own the same app labels, so they never share a process. Upstream lives in an
environment of its own, made once from the `bench` extra of pyproject and kept in the user's cache folder. A child
executes one case at a time (`child.py`) and times only what the case says; its answer is one line of JSON.

    with Arena("triggers_side.py") as arena:
        ours, upstream = arena.side("ours"), arena.side("upstream")
        arena.compare("install 200 triggers", ours("install"), upstream("install"), pairs=15)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import tomllib
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import psycopg
from platformdirs import user_cache_path
from psycopg import conninfo, sql

from pgmagic import server

HERE = Path(__file__).parent
URL_VARIABLE = "PGMAGIC_BENCH_URL"
# For ratios under 1.10 the noise of single pairs is as large as what is measured: give `again`, too.
PAIRS_WHEN_CLOSE = 31

Run = Callable[[], float]


def upstream_python() -> Path:
    """Return the Python of an environment with the `bench` extra, and our Django and psycopg; made at first use."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
    requirements = [
        *project["optional-dependencies"]["bench"],
        f"Django=={version('django')}",
        f"psycopg[binary]=={version('psycopg')}",
    ]
    key = hashlib.sha256("\n".join([sys.version, *requirements]).encode()).hexdigest()[:12]
    folder = user_cache_path("pgmagic") / f"bench-{key}"
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists():
        print(f"making an environment for the upstream packages in {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *requirements], check=True)
        ready.touch()
    return python


@contextlib.contextmanager
def running_server(url: str | None = None) -> Iterator[dict[str, Any]]:
    """Give the parameters of a connection to one server: that of a URL, or an embedded one that ends with the block."""
    if url:
        yield dict(conninfo.conninfo_to_dict(url))
        return
    home = Path(tempfile.mkdtemp(prefix="pgmagic-bench-"))
    # As root, the server's account has to get through to its home.
    home.chmod(0o755)
    try:
        with server.acquire(home) as lease:
            yield dict(lease.conninfo)
    finally:
        server.stop(home)
        shutil.rmtree(home, ignore_errors=True)


@dataclass
class Side:
    """A child process in a database of its own. Calling it with a case returns what runs that case once."""

    name: str
    process: subprocess.Popen[str]
    script: str

    def __call__(self, case: str, **arguments: Any) -> Run:
        """Return a function that runs a case and returns the seconds it took."""
        return lambda: float(self.ask(case, **arguments))

    def ask(self, case: str, **arguments: Any) -> Any:
        """Run a case once and return its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"case": case, "arguments": arguments}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended while it ran {case}: see its traceback above.")
        return json.loads(line)["answer"]

    def stop(self) -> None:
        """Let the child end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


@dataclass
class Arena:
    """A server and the sides that run on it; everything that was made ends with the block."""

    script: str
    url: str | None = field(default_factory=lambda: os.environ.get(URL_VARIABLE))

    def __enter__(self) -> Self:
        self._stack = contextlib.ExitStack()
        self.parameters = self._stack.enter_context(running_server(self.url))
        with psycopg.connect(**self.parameters) as connection:
            print(f"Postgres {connection.info.parameter_status('server_version')}, {os.cpu_count()} cores")
            print("seconds of the first, of the second, and the ratio of the second to the first\n", flush=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def side(self, name: str, checkout: Path = HERE.parent, **variables: str) -> Side:
        """Start a side: `upstream` and `simple` have the upstream packages, every other name pgmagic's environment.

        checkout: the checkout of pgmagic that it runs. variables: more environment variables for it.
        """
        is_other = name in ("upstream", "simple")
        python = upstream_python() if is_other else Path(sys.executable)
        database = self._stack.enter_context(self._database(name))
        environment = {
            **os.environ,
            **variables,
            "BENCH_SIDE": name,
            "BENCH_DATABASE": json.dumps(database),
            "PYTHONPATH": os.pathsep.join([str(HERE)] if is_other else [str(checkout / "bench"), str(checkout)]),
        }
        process = subprocess.Popen(
            [str(python), str((HERE if is_other else checkout / "bench") / self.script)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        side = Side(name, process, self.script)
        self._stack.callback(side.stop)
        return side

    @contextlib.contextmanager
    def _database(self, name: str) -> Iterator[dict[str, Any]]:
        """Make a database for a side, and drop it at the end."""
        database = f"pgmagic_bench_{name}_{uuid.uuid4().hex[:8]}"
        with psycopg.connect(**self.parameters, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        try:
            yield {**self.parameters, "dbname": database}
        finally:
            with psycopg.connect(**self.parameters, autocommit=True) as connection:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))

    def compare(
        self, title: str, first: Run, second: Run, *, again: Run | None = None, pairs: int = PAIRS_WHEN_CLOSE
    ) -> float:
        """Run first and second in turn; print and return the median of the pairs' ratios, second to first.

        again: the same as `second`, on another child or not; its ratio to `second` in the same rounds is the noise.
        """
        runs = [run for run in (first, second, again) if run is not None]
        for run in runs:
            run()
        rounds: list[list[float]] = []
        for number in range(pairs):
            # The order turns with every round, so that none is always behind the same other one.
            order = [(number + place) % len(runs) for place in range(len(runs))]
            seconds = [0.0] * len(runs)
            for place in order:
                seconds[place] = runs[place]()
            rounds.append(seconds)
        columns = list(zip(*rounds, strict=True))
        ratio = median_ratio(columns[1], columns[0])
        noise = median_ratio(columns[2], columns[1]) if again is not None else None
        medians = [statistics.median(column) for column in columns[:2]]
        beside = f"  (A/A {noise:.3f})" if noise is not None else ""
        print(
            f"{title:<62} {medians[0]:8.4f} s {medians[1]:8.4f} s   x {ratio:.3f}{beside}  {pairs} pairs",
            flush=True,
        )
        return ratio


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Return the median of the ratios of pairs."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))
