"""Measures of the house, so that it stays as easy to walk through as it is: rooms, names, hops, types, branches.

How each is counted stands with it. A test that fails names what is over the mark.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "pgmagic"
FILES = sorted(PACKAGE.rglob("*.py"))

# Names that Django looks for, and pairs whose two modules are two sides of one thing.
SHARED_NAMES = {"__init__", "apps"}
# Modules for compatibility have the names that upstream's have, because projects import them.
COMPATIBLE = {"pghistory/config.py", "pghistory/core.py", "pghistory/trigger.py", "pgtrigger/core.py"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def lines_of(path: Path) -> int:
    return len(path.read_text().splitlines())


def functions() -> Iterator[tuple[Path, Function]]:
    for path in FILES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, Function):
                yield path, node


def docstring_lines(tree: ast.Module) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | Function) and ast.get_docstring(node) is not None:
            lines |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return lines


def code_lines(path: Path) -> int:
    """Lines with code: neither blank, nor a comment, nor part of a docstring."""
    kinds = {tokenize.NAME, tokenize.OP, tokenize.STRING, tokenize.NUMBER}
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    return len({token.start[0] for token in tokens if token.type in kinds} - docstring_lines(tree_of(path)))


def complexity(function: Function) -> int:
    """Cyclomatic complexity as radon counts it: a branch, a loop, an operator of `and` and `or`, a comprehension."""
    found = 1
    for node in ast.walk(function):
        if isinstance(node, ast.If | ast.IfExp | ast.For | ast.AsyncFor | ast.While | ast.ExceptHandler | ast.Assert):
            found += 1
        elif isinstance(node, ast.BoolOp):
            found += len(node.values) - 1
        elif isinstance(node, ast.comprehension):
            found += 1 + len(node.ifs)
        elif isinstance(node, ast.match_case):
            found += not isinstance(node.pattern, ast.MatchAs) or node.pattern.pattern is not None
    return found


def test_no_room_is_larger_than_a_fifth_of_the_package():
    sizes: Counter[str] = Counter()
    for path in FILES:
        sizes[path.relative_to(PACKAGE).parts[0]] += lines_of(path)
    total = sum(sizes.values())
    assert not {room: size for room, size in sizes.items() if size > total / 5}


def test_package_grows_by_features_only():
    """33,100 lines is what the package had before each feature got a room; a feature adds its own lines here."""
    features = {
        "drop-in: names, migrations, compatibility modules": 650,
        "drop-in: suppressed inserts, kind errors": 1_000,
    }
    assert sum(map(lines_of, FILES)) <= 33_100 + sum(features.values())


def test_no_two_modules_share_a_name():
    places = defaultdict(list)
    for path in FILES:
        if (place := path.relative_to(PACKAGE).as_posix()) not in COMPATIBLE:
            places[path.stem].append(place)
    assert not {name: found for name, found in places.items() if len(found) > 1 and name not in SHARED_NAMES}


def test_any_is_rare():
    """At most 20 mentions of `Any`, imports included, in 1,000 lines of code."""
    mentions = Counter(
        {
            str(path.relative_to(PACKAGE)): sum(
                getattr(node, "id", None) == "Any" or (isinstance(node, ast.alias) and node.name == "Any")
                for node in ast.walk(tree_of(path))
            )
            for path in FILES
        }
    )
    per_thousand = 1000 * mentions.total() / sum(map(code_lines, FILES))
    assert per_thousand <= 20, f"{per_thousand:.1f}; most in {mentions.most_common(10)}"


def test_few_private_functions_are_called_once():
    """At most 15 % of all functions are private and named once in their module."""
    listed = list(functions())
    named: Counter[tuple[Path, str]] = Counter()
    for path in FILES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Name | ast.Attribute):
                named[path, node.id if isinstance(node, ast.Name) else node.attr] += 1
    once = [
        f"{path.relative_to(PACKAGE)}:{function.lineno} {function.name}"
        for path, function in listed
        if function.name.startswith("_") and not function.name.startswith("__") and named[path, function.name] == 1
    ]
    assert len(once) <= 0.15 * len(listed), f"{len(once)} of {len(listed)}:\n" + "\n".join(once)


def test_no_function_is_complex():
    found = {
        f"{path.relative_to(PACKAGE)}:{function.lineno} {function.name}": complexity(function)
        for path, function in functions()
    }
    assert not {name: branches for name, branches in found.items() if branches > 12}
