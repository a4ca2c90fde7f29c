"""The child's end of the frame: a side registers its cases, and `serve` runs them as they are asked for.

It imports nothing of pgmagic's, since the upstream packages' environment does not have it.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

SIDE = os.environ["BENCH_SIDE"]
# What answers go to; whatever a side prints belongs with the errors.
_ANSWERS = sys.stdout
sys.stdout = sys.stderr

_cases: dict[str, Callable[..., Any]] = {}


class Timer:
    """The seconds that a block took."""

    seconds = 0.0


def cpu_seconds() -> float:
    """Return how long this thread and its server process have run on a processor (Linux, server on this machine)."""
    from django.db import connection

    connection.ensure_connection()
    server = Path(f"/proc/{connection.connection.info.backend_pid}/schedstat").read_text()
    return time.thread_time() + int(server.split()[0]) / 1e9


clock = cpu_seconds if os.environ.get("BENCH_CLOCK") == "cpu" else time.perf_counter


@contextmanager
def timed() -> Iterator[Timer]:
    """Time a block, without pauses of the garbage collector."""
    timer = Timer()
    gc.collect()
    gc.disable()
    start = clock()
    try:
        yield timer
    finally:
        timer.seconds = clock() - start
        gc.enable()


def case(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register a case under the function's name; it returns seconds, or what the script asks for."""
    _cases[function.__name__] = function
    return function


def configure(*apps: str, **settings: Any) -> None:
    """Configure Django for this side's database; `apps` are named as upstream names them."""
    configure_apps(*(app if SIDE == "upstream" else f"pgmagic.{app}" for app in apps if SIDE != "plain"), **settings)


def configure_apps(*apps: str, **settings: Any) -> None:
    """Configure Django for this side's database, with these apps beside Django's own."""
    from django.conf import settings as django_settings

    database = json.loads(os.environ["BENCH_DATABASE"])
    django_settings.configure(
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": database["dbname"],
                "USER": database.get("user", ""),
                "PASSWORD": database.get("password", ""),
                "HOST": database.get("host", ""),
                "PORT": database.get("port", ""),
            }
        },
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", *apps],
        USE_TZ=True,
        **settings,
    )
    import django

    django.setup()


def package(name: str) -> Any:
    """Return `pgtrigger` or `pghistory` of this side."""
    return import_module(name if SIDE == "upstream" else f"pgmagic.{name}")


def serve() -> None:
    """Run cases until the parent closes the pipe."""
    for line in sys.stdin:
        asked = json.loads(line)
        answer = _cases[asked["case"]](**asked["arguments"])
        print(json.dumps({"answer": answer}), file=_ANSWERS, flush=True)
