"""How far a value travels: the files of the package that it passes through, and how often it changes rooms.

A value with a mark in it is put into the database, and every call of a function of the package is watched: a file lies on
the way if one of its functions is handed the mark, in whatever it is wrapped, or hands it on. A change of room is
counted where the mark is first seen in another room than the step before, in the order of the calls that received it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pandas as pd

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
    """The files whose functions were handed the mark or returned it, in the order in which that happened."""

    def __init__(self) -> None:
        self.files: list[str] = []

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        path = frame.f_code.co_filename
        if event not in ("call", "return") or not path.startswith(str(PACKAGE)):
            return
        if frame.f_code.co_name.startswith("<"):
            return
        given = argument if event == "return" else tuple(arguments(frame))
        if holds_mark(given):
            name = str(Path(path).relative_to(PACKAGE))
            if not self.files or self.files[-1] != name:
                self.files.append(name)

    @property
    def distinct(self) -> list[str]:
        return list(dict.fromkeys(self.files))

    @property
    def changes_of_room(self) -> int:
        """How often the next file that the mark comes to for the first time lies in another room."""
        rooms = [name.split("/")[0] for name in self.distinct]
        return sum(here != there for here, there in zip(rooms, rooms[1:], strict=False))


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
    sys.setprofile(watcher)
    try:
        frame = shell.run("%pghistory Post --diff")
        shown = shell.shell.display_formatter.format(frame)[0]["text/html"]
    finally:
        sys.setprofile(None)
    assert MARK in shown
    print(watcher.distinct, watcher.changes_of_room, len(watcher.files), watcher.files)
    assert len(watcher.distinct) <= 8, watcher.distinct
    assert watcher.changes_of_room <= 6, watcher.distinct
