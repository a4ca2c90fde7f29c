"""Recording history against upstream, and against a statement trigger that one would write by hand.

`python bench/history.py [--pairs N] [--rows N] [hand | context | saves | upstream | simple ...]`: all unless some are
named. The event tables of both sides have the same columns and indexes.
"""

from __future__ import annotations

import argparse

from sides import PAIRS_WHEN_CLOSE, Arena


def hand(arena: Arena, pairs: int, rows: int) -> None:
    """Compare with the hand-written trigger."""
    ours, again, plain = arena.side("ours"), arena.side("ours"), arena.side("plain")
    for case in ("insert", "update"):
        arena.compare(
            f"{case} {rows:,} rows, ours to hand-written (<= 1.10)",
            plain(case, count=rows),
            ours(case, count=rows),
            again=again(case, count=rows),
            pairs=pairs,
        )


def context(arena: Arena, pairs: int, rows: int) -> None:
    """Compare with an open context and without."""
    ours, again = arena.side("ours"), arena.side("ours")
    for case in ("insert", "update"):
        opened = {"count": rows, "context": True}
        arena.compare(
            f"{case} {rows:,} rows, in a context to without (<= 1.03)",
            ours(case, count=rows),
            ours(case, **opened),
            again=again(case, **opened),
            pairs=pairs,
        )


def saves(arena: Arena, pairs: int, rows: int) -> None:
    """Compare saves of single rows."""
    ours, again, plain = arena.side("ours"), arena.side("ours"), arena.side("plain")
    arena.compare(
        "1,000 saves, ours to hand-written (<= 1.05)",
        plain("saves", count=1000),
        ours("saves", count=1000),
        again=again("saves", count=1000),
        pairs=pairs,
    )


def upstream(arena: Arena, pairs: int, rows: int) -> None:
    """Compare with upstream at its defaults, and at statement level."""
    ours = arena.side("ours")
    sides = {"default": arena.side("upstream"), "statement": arena.side("upstream", BENCH_LEVEL="Statement")}
    for level, side in sides.items():
        for case, target in (("insert", 2.5), ("update", 2.0)):
            wanted = f" (>= {target})" if level == "default" else ""
            arena.compare(
                f"{case} {rows:,} rows, upstream's {level} to ours{wanted}",
                ours(case, count=rows),
                side(case, count=rows),
                pairs=max(5, pairs // 3),
            )


def simple(arena: Arena, pairs: int, rows: int) -> None:
    """Compare with the bulk calls of django-simple-history."""
    ours, other = arena.side("ours"), arena.side("simple")
    for case in ("insert", "update"):
        arena.compare(
            f"{case} {rows:,} rows, simple-history's bulk call to ours",
            ours(case, count=rows),
            other("bulk", count=rows, what=case),
            pairs=3,
        )


GROUPS = {"hand": hand, "context": context, "saves": saves, "upstream": upstream, "simple": simple}


def main() -> None:
    """Print the medians and ratios of every case, with what each must reach."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS_WHEN_CLOSE)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("groups", nargs="*", choices=[[], *GROUPS])
    arguments = parser.parse_args()
    with Arena("history_side.py") as arena:
        for name in arguments.groups or GROUPS:
            GROUPS[name](arena, arguments.pairs, arguments.rows)


if __name__ == "__main__":
    main()
