"""Triggers against upstream and against what one would write by hand.

`python bench/triggers.py [--pairs N] [install | ignore | update | cell ...]`: all of them unless some are named.
"""

from __future__ import annotations

import argparse

from sides import PAIRS_WHEN_CLOSE, Arena


def install(arena: Arena, pairs: int) -> None:
    """Compare the installation of 200 triggers, where none is and where all are."""
    ours, upstream = arena.side("ours"), arena.side("upstream")
    few = max(5, pairs // 3)
    arena.compare("install 200 triggers, upstream to ours (>= 4)", ours("install"), upstream("install"), pairs=few)
    arena.compare(
        "install them again, upstream to ours (>= 10)",
        ours("install_again"),
        upstream("install_again"),
        pairs=few,
    )


def ignore(arena: Arena, pairs: int) -> None:
    """Compare 2,000 single-row updates inside and outside of `ignore`, for each side by itself."""
    for name, target in (("ours", " (<= 1.05)"), ("upstream", "")):
        side = arena.side(name)
        bare, ignoring = side("singles", ignoring=False), side("singles", ignoring=True)
        arena.compare(f"2,000 updates, ignore to bare, {name}{target}", bare, ignoring, again=ignoring, pairs=pairs)


def update(arena: Arena, pairs: int) -> None:
    """Compare 20,000-row updates that every trigger allows."""
    ours, again = arena.side("ours"), arena.side("ours")
    others = (("upstream (<= 1)", arena.side("upstream")), ("hand-written (<= 1.1)", arena.side("plain")))
    for trigger, table in (("Protect", "protected"), ("ReadOnly", "fixed"), ("FSM", "stated")):
        arguments = {"case": "update", "table": f"bench_{table}"}
        for name, side in others:
            title = f"20,000-row update, {trigger}, ours to {name}"
            arena.compare(title, side(**arguments), ours(**arguments), again=again(**arguments), pairs=pairs)


def cell(arena: Arena, pairs: int) -> None:
    """Time a `%%pgtrigger` cell that declares what is there already."""
    run = arena.side("notebook")("cell")
    arena.compare("unchanged cell of 10 models (< 0.15 s), to itself", run, run, pairs=max(5, pairs // 3))


GROUPS = {"install": install, "ignore": ignore, "update": update, "cell": cell}


def main() -> None:
    """Print the medians and ratios of every case, with what each must reach."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS_WHEN_CLOSE)
    parser.add_argument("groups", nargs="*", choices=[[], *GROUPS])
    arguments = parser.parse_args()
    with Arena("triggers_side.py") as arena:
        for name in arguments.groups or GROUPS:
            GROUPS[name](arena, arguments.pairs)


if __name__ == "__main__":
    main()
