"""How far a value travels: the files of the package that it passes through, and how often it changes rooms.

A value with a mark in it is put into the database, and every call of a function of the package is watched. A file lies
on the way if one of its functions is given the mark, in whatever it is wrapped, or returns it. A change of room is a
pair of files in two rooms, of which the one hands the mark to the other: as an argument, or as what it returns.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pandas as pd

from pgmagic.compile.desired import Desired
from pgmagic.db.apply import Applied
from pgmagic.db.installation_frame import InstallationFrame
from pgmagic.declare.model_registry import Redeclaration
from pgmagic.plan.steps import Plan

PACKAGE = Path(__file__).parent.parent / "pgmagic"
MARK = "xyzzy-plugh"


def holds_mark(value: Any, depth: int = 0) -> bool:
    if isinstance(value, str | bytes):
        return (MARK if isinstance(value, str) else MARK.encode()) in value
    if depth > 5:
        return False
    if isinstance(value, pd.DataFrame):
        if "_mgr" not in vars(value):  # its constructor is still at work
            return False
        return any(holds_mark(value.iloc[:, place], depth + 1) for place in range(value.shape[1]))
    if isinstance(value, pd.Series | pd.Index | np.ndarray | pd.api.extensions.ExtensionArray):
        return any(holds_mark(each, depth + 1) for each in list(value)[:50])
    if isinstance(value, dict):
        return any(holds_mark(each, depth + 1) for each in (*value, *value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(holds_mark(each, depth + 1) for each in value)
    if is_dataclass(value) and not isinstance(value, type):
        return any(holds_mark(getattr(value, field.name, None), depth + 1) for field in fields(value))
    return False


class Watcher:
    """The files whose functions were given the mark or returned it, in the order in which that happened.

    crossings: pairs of files in two rooms, the one of which handed the mark to the other.
    """

    def __init__(self) -> None:
        self.files: list[str] = []
        self.crossings: set[tuple[str, str]] = set()

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        path = frame.f_code.co_filename
        if event not in ("call", "return") or not path.startswith(str(PACKAGE)):
            return
        if frame.f_code.co_name.startswith("<"):
            return
        given = argument if event == "return" else tuple(arguments(frame))
        if not holds_mark(given):
            return
        here, caller = place_of(frame), caller_of(frame)
        if not self.files or self.files[-1] != here:
            self.files.append(here)
        if caller is not None and caller.split("/")[0] != here.split("/")[0]:
            self.crossings.add((caller, here) if event == "call" else (here, caller))

    @property
    def distinct(self) -> list[str]:
        return list(dict.fromkeys(self.files))


def place_of(frame: FrameType) -> str:
    return str(Path(frame.f_code.co_filename).relative_to(PACKAGE))


def caller_of(frame: FrameType) -> str | None:
    """The file of the package that called a function, directly or through libraries."""
    caller = frame.f_back
    while caller is not None and not caller.f_code.co_filename.startswith(str(PACKAGE)):
        caller = caller.f_back
    return None if caller is None else place_of(caller)


def arguments(frame: FrameType) -> Iterator[Any]:
    count = frame.f_code.co_argcount + frame.f_code.co_kwonlyargcount
    for name in frame.f_code.co_varnames[:count]:
        yield frame.f_locals.get(name)


def test_row_reaches_the_html_of_its_diff_by_a_short_way(shell):
    shell.run("""%%pgtrigger
@pghistory.track()
class Post(models.Model):
    title = models.TextField()
""")
    shell.run("post = Post.objects.create(title='before')")
    shell.run(f"Post.objects.update(title='{MARK}')")
    watcher = Watcher()
    as_html = shell.shell.display_formatter.formatters["text/html"]
    sys.setprofile(watcher)
    try:
        shell.run("frame = get_ipython().run_line_magic('pghistory', 'Post --diff')")
        shown = as_html(shell["frame"])
    finally:
        sys.setprofile(None)
    assert MARK in shown
    assert len(watcher.distinct) <= 8, watcher.distinct
    # The HTML itself, which goes on to the browser, is the end of the way.
    crossings = {pair for pair in watcher.crossings if pair[0] != "tables/html.py"}
    assert len(crossings) <= 6, crossings


def test_cell_reaches_its_frame_by_a_short_way(shell):
    """From stage to stage: text, syntax tree, declared models, what is desired, a plan, outcomes, a frame."""
    source = "class Post(models.Model):\n    title = models.TextField()\n"
    stages = (ast.Module, Redeclaration, Desired, Plan, Applied, InstallationFrame)
    makers: dict[str, list[str]] = {}

    def watch(frame: FrameType, event: str, argument: Any) -> None:
        path = frame.f_code.co_filename
        if event != "return" or not path.startswith(str(PACKAGE)) or frame.f_code.co_name.startswith("<"):
            return
        given = list(arguments(frame))
        takes = any(isinstance(value, stages) or value == source for value in given)
        parts = argument if isinstance(argument, tuple) else (argument,)
        if takes or any(isinstance(part, stages) for part in parts):
            makers.setdefault(place_of(frame), []).append(frame.f_code.co_name)

    sys.setprofile(watch)
    try:
        shell.run(f"%%pgtrigger\n{source}")
    finally:
        sys.setprofile(None)
    assert len(makers) <= 12, makers
