"""Compare this checkout of pgmagic with another one, such as a worktree of an older commit, in one run.

`python bench/versions.py CHECKOUT [--pairs N]`: the ratio of this checkout to the other one, for every case of
`triggers_side.py` and `history_side.py` that runs in milliseconds; close to 1 where nothing changed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sides import PAIRS_WHEN_CLOSE, Arena

CASES = {
    "triggers_side.py": {
        "install 200 triggers": {"case": "install"},
        "install them again": {"case": "install_again"},
        "2,000 updates": {"case": "singles", "ignoring": False},
        "2,000 updates in ignore": {"case": "singles", "ignoring": True},
        "20,000-row update, Protect": {"case": "update", "table": "bench_protected"},
        "20,000-row update, FSM": {"case": "update", "table": "bench_stated"},
    },
    "history_side.py": {
        "insert 20,000 rows": {"case": "insert", "count": 20_000},
        "update 20,000 rows": {"case": "update", "count": 20_000},
        "1,000 saves": {"case": "saves", "count": 1_000},
        "1,000 saves in a context": {"case": "saves", "count": 1_000, "context": True},
    },
}


def main() -> None:
    """Print the medians and ratios of every case, this checkout to the other one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--pairs", type=int, default=PAIRS_WHEN_CLOSE)
    arguments = parser.parse_args()
    for script, cases in CASES.items():
        with Arena(script) as arena:
            former = arena.side("ours", arguments.checkout.resolve())
            present, again = arena.side("ours"), arena.side("ours")
            for title, case in cases.items():
                arena.compare(title, former(**case), present(**case), again=again(**case), pairs=arguments.pairs)
            cell = {"case": "cell"}
            if script == "triggers_side.py":
                former, present = arena.side("notebook", arguments.checkout.resolve()), arena.side("notebook")
                arena.compare("unchanged cell of 10 models", former(**cell), present(**cell), pairs=arguments.pairs)


if __name__ == "__main__":
    main()
