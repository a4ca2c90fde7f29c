"""How long reading takes where there are many events: `python bench/reading.py [EVENTS [REPETITIONS]]`.

Two tracked models in a schema of their own, which is dropped at the end; the events (5 million unless told otherwise,
ten of each post) come from one INSERT. Medians, and in brackets the slowest. The server is the embedded one, or the one
that PGMAGIC_BENCH_URL names.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
import uuid
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import django
from django.conf import settings

SCHEMA = f"bench_{uuid.uuid4().hex[:8]}"

# pgh_id follows the order of the changes, and so do the contexts' ids, but the posts' turns are spread over the whole
# table, as in real life.
FILL = """
INSERT INTO bench_postevent
  (pgh_created_at, pgh_label, pgh_obj_id, pgh_context_id,
   id, title, body, author_id, price, data, n, published, changed_at)
SELECT timestamptz '2020-01-01 00:00Z' + n * interval '1 second',
       CASE WHEN n <= {objects} THEN 'insert' ELSE 'update' END,
       1 + (n::bigint * 7919) % {objects}, CASE WHEN n % 10 = 0 THEN lpad(to_hex(n / 1000), 32, '0')::uuid END,
       1 + (n::bigint * 7919) % {objects}, 'title ' || n, 'body', 1 + n % 1000, n % 100 / 10.0,
       jsonb_build_object('views', n), n, n % 2 = 0, timestamptz '2020-01-01 00:00Z' + n * interval '1 second'
FROM generate_series(1, {events}) AS n
"""
CONTEXTS = """
INSERT INTO pghistory_context (id, created_at, updated_at, metadata)
SELECT lpad(to_hex(n), 32, '0')::uuid, now(), now(), jsonb_build_object('user', n)
FROM generate_series(0, {events} / 1000) AS n
"""
AUTHORS = """
INSERT INTO bench_authorevent (pgh_created_at, pgh_label, pgh_obj_id, id, name)
SELECT timestamptz '2020-01-01 00:00Z' + n * interval '100 seconds', 'insert', n, n, 'author'
FROM generate_series(1, {events} / 100) AS n
"""


def configure() -> None:
    """Set Django up on a notebook's backend."""
    settings.configure(
        DATABASES={"default": {"ENGINE": "pgmagic.db.backend", "NAME": "pgmagic"}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=[
            "django.contrib.contenttypes", "django.contrib.auth", "pgmagic.pgtrigger", "pgmagic.pghistory",
        ],
        PGMAGIC_NOTEBOOK=True,
        USE_TZ=True,
    )  # fmt: skip
    django.setup()
    from pgmagic.db import backend

    backend.choice.url, backend.choice.schema = os.environ.get("PGMAGIC_BENCH_URL"), SCHEMA


def declared() -> tuple[Any, Any]:
    """Return the two tracked models, whose tables and event tables exist."""
    from django.db import connection

    from pgmagic.compile.model_tables import compile_table
    from pgmagic.declare.model_registry import redeclaring
    from pgmagic.pghistory.models import Context

    with redeclaring("bench", "bench_models") as declaration, declaration.collecting():
        author, post = _tracked()
    with connection.cursor() as cursor:
        for model in (Context, author, post, author.pgh_event_model, post.pgh_event_model):
            table = compile_table(model)
            for statement in (*table.create, *table.deferred):
                cursor.execute(statement)
    return author, post


def _tracked() -> tuple[Any, Any]:
    from django.db import models

    from pgmagic import pghistory

    author = pghistory.track()(_model("Author", name=models.TextField()))
    post = _model(
        "Post",
        title=models.TextField(),
        body=models.TextField(),
        author=models.ForeignKey(author, models.CASCADE),
        price=models.DecimalField(max_digits=8, decimal_places=2),
        data=models.JSONField(),
        n=models.IntegerField(),
        published=models.BooleanField(),
        changed_at=models.DateTimeField(auto_now=True),
    )
    return author, pghistory.track()(post)


def _model(name: str, /, **fields: Any) -> Any:
    from django.db import models

    return type(name, (models.Model,), {"__module__": "bench_models", **fields})


def fill(events: int) -> None:
    """Write the events."""
    from django.db import connection

    with connection.cursor() as cursor:
        for statement in (CONTEXTS, AUTHORS, FILL):
            cursor.execute(statement.format(events=events, objects=events // 10))
        for table in ("pghistory_context", "bench_authorevent", "bench_postevent"):
            cursor.execute(f"VACUUM ANALYZE {table}")


def measured(repetitions: int, run: Callable[[int], Any]) -> str:
    """Return the median and the slowest of several runs, in milliseconds."""
    times = []
    for turn in range(repetitions):
        started = time.perf_counter()
        run(turn)
        times.append((time.perf_counter() - started) * 1000)
    return f"{statistics.median(times):8.1f} ms  ({max(times):.1f})"


def main(events: int, repetitions: int) -> None:
    """Print the medians."""
    configure()
    from django.db import connection, connections

    try:
        author, post = declared()
        started = time.perf_counter()
        fill(events)
        print(f"{events:,} events written in {time.perf_counter() - started:.0f} s; medians of {repetitions}")
        for name, run in questions(author, post, events).items():
            print(f"{name:46} {measured(repetitions, run)}", flush=True)
        print("medians of 3")
        for name, run in large_questions(post).items():
            print(f"{name:46} {measured(3, run)}", flush=True)
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f'DROP SCHEMA IF EXISTS "{SCHEMA}" CASCADE')
        connections.close_all()


def questions(author: Any, post: Any, events: int) -> dict[str, Callable[[int], Any]]:
    """Return what is asked; each time of another object, so that no answer lies ready."""
    from django.utils.dateparse import parse_datetime

    import pgmagic
    from pgmagic.pghistory.models import Events, MiddlewareEvents

    def other(turn: int) -> Any:
        return post(pk=1 + (turn * 104729) % (events // 10))

    start: Any = parse_datetime("2020-01-01T00:00Z")
    return {
        "tracks(obj), with diffs": lambda turn: list(Events.objects.tracks(other(turn))),
        "tracks(obj).order_by('pgh_id')": lambda turn: list(Events.objects.tracks(other(turn)).order_by("pgh_id")),
        "tracks(100 objects), with diffs": lambda turn: list(
            Events.objects.tracks([other(turn * 100 + n) for n in range(100)])
        ),
        "references(author), the latest 50, with diffs": lambda turn: list(
            Events.objects.references(author(pk=1 + turn)).order_by("-pgh_id")[:50]
        ),
        "order_by('-pgh_id')[:50], with diffs": lambda turn: list(Events.objects.order_by("-pgh_id")[:50]),
        "order_by('-pgh_created_at')[:50], with diffs": lambda turn: list(
            Events.objects.order_by("-pgh_created_at")[:50]
        ),
        "filter(pgh_created_at__gte=the last hour)": lambda turn: list(
            Events.objects.filter(pgh_created_at__gte=start + timedelta(seconds=events - 3600))[:50]
        ),
        "filter(pgh_context_id=...)": lambda turn: list(Events.objects.filter(pgh_context_id=uuid.UUID(int=turn))),
        "MiddlewareEvents.filter(user=...)": lambda turn: list(MiddlewareEvents.objects.filter(user=turn)),
        "pgmagic.history(obj)": lambda turn: pgmagic.history(other(turn)),
        "pgmagic.diff(obj)": lambda turn: pgmagic.diff(other(turn)),
        "pgmagic.history(Post, limit=1000)": lambda turn: pgmagic.history(post, limit=1000),
    }


def large_questions(post: Any) -> dict[str, Callable[[int], Any]]:
    """Return what reads a million events, or looks at all."""
    import pgmagic
    from pgmagic.history.timeline import timeline_frame

    million: dict[str, Any] = {}

    def read(_turn: int) -> None:
        million["history"] = pgmagic.history(post, limit=1_000_000)

    return {
        "pgmagic.history(Post, limit=1000000)": read,
        "its diff": lambda turn: million["history"].pgh.diff(),
        "pgmagic.as_of(Post, a day of 2020)": lambda turn: pgmagic.as_of(post, date(2020, 1, 10 + turn)),
        "pgmagic.timeline of the million": lambda turn: timeline_frame(million["history"]),
    }


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    main(*given, *(5_000_000, 31)[len(given) :])
