"""The undo frame: what undoes a context, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self

import pandas as pd

from pgmagic.history.comparing import changes
from pgmagic.tables.frame import ResultFrame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Status = Literal["planned", "conflict", "done", "skipped"]


@dataclass(frozen=True, kw_only=True, slots=True)
class UndoRow:
    """What becomes of one row; `now` and `then` are the row as it is and as it would be, None for no row."""

    model: str
    object: str
    action: str
    status: Status
    now: Mapping[str, Any] | None = None
    then: Mapping[str, Any] | None = None
    conflict: str | None = None
    lines: Sequence[str] = ()

    @property
    def changes(self) -> dict[str, list[Any]]:
        """The fields that differ, as `[now, then]`; `pd.NA` on the side where there is no row."""
        if self.now is None:
            return {name: [pd.NA, value] for name, value in (self.then or {}).items()}
        if self.then is None:
            return {name: [value, pd.NA] for name, value in self.now.items()}
        return {
            path: [before, after]
            for name, value in self.now.items()
            for path, before, after in changes(name, value, self.then.get(name))
        }


class UndoFrame(ResultFrame):
    """One row for each row that a context touched, in the order in which it would be undone. Nothing is changed yet.

    Columns:
        model (string): the label of the tracked model.
        object (string): the primary key.
        action (string): `delete` what the context made, `change back` what it changed, `restore` what it deleted, or
            `nothing`, where the row is already as it was.
        changes (object): `{field: [now, then]}`; `pd.NA` on the side where there is no row.
        status (string): `planned`, or `conflict`; behind `apply()` `done` or `skipped`.
        conflict (string): what stands against it; missing where nothing does.
    """

    columns_contract = MappingProxyType(
        {
            "model": "string",
            "object": "string",
            "action": "string",
            "changes": "object",
            "status": "string",
            "conflict": "string",
        }
    )
    columns_roles = MappingProxyType({"action": "verdict", "status": "verdict", "changes": "changes"})

    _metadata = [*ResultFrame._metadata, "applying"]
    applying: Callable[..., Self] | None = None

    @property
    def conflicts(self) -> Self:
        """The rows that something stands against."""
        found: Self = self[self["conflict"].notna()]
        return found

    # The name that everybody looks for; a DataFrame's own `apply` is of no use on such a frame.
    def apply(self, *args: Any, skip_conflicts: bool = False, **kwargs: Any) -> Any:
        """Carry out the plan in one transaction, and return it with what was done.

        It is carried out as a whole, whatever rows of the frame are left, and only if the database's rows are still
        what they were. It is recorded like any change, in a context with `undo_of`. skip_conflicts: leave rows alone
        that something stands against. Given a function, it is the `apply` of every DataFrame.

        Raises:
            HistoryError: there are conflicts, or rows changed since, or a trigger kept a row from it; nothing is done.
            ValueError: the plan was carried out already.
        """
        if args or kwargs:
            return super().apply(*args, **kwargs)
        if self.applying is None:
            raise ValueError("This plan was carried out already: make another one to undo more.")
        return self.applying(skip_conflicts=skip_conflicts)


def undo_frame(
    rows: Iterable[UndoRow],
    *,
    applying: Callable[..., UndoFrame] | None = None,
    caption: str | None = None,
    notes: Iterable[str] = (),
) -> UndoFrame:
    """Return rows as an `UndoFrame`, in their order. applying: what `apply` calls."""
    frame = UndoFrame.from_rows(rows, caption=caption, notes=notes)
    frame.applying = applying
    return frame
