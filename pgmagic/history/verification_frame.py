"""The verification frame: where hash chains are broken."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pgmagic.tables.frame import ResultFrame

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

_WORDS = {
    "changed": "the event is not as it was recorded",
    "replaced": "the event before it is gone, or is not as it was recorded",
    "cut": "the events before it are gone, and were not pruned",
    "unsealed": "the event has no hash, though one before it has",
    "dropped": "the hash covers fields that are no more, so nothing can be said",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokenLink:
    """One object whose chain is broken, at its first broken event."""

    pgh_obj_id: Any
    pgh_id: int
    pgh_label: str
    pgh_created_at: datetime
    problem: str
    lines: Sequence[str] = ()


class VerificationFrame(ResultFrame):
    """One row for each object whose chain is broken, with its first broken event; empty where all is intact.

    Columns:
        pgh_obj_id (object): the object; a tuple where its key is composite.
        pgh_id (Int64): the first broken event.
        pgh_label (string): what it is called.
        pgh_created_at (datetime64[us, UTC]): when it says that it was recorded.
        problem (string): what is wrong with it, in words.
    """

    columns_contract = MappingProxyType(
        {
            "pgh_obj_id": "object",
            "pgh_id": "Int64",
            "pgh_label": "string",
            "pgh_created_at": "datetime64[us, UTC]",
            "problem": "string",
        }
    )


def verification_frame(
    links: Iterable[BrokenLink], *, caption: str, notes: Iterable[str] = ()
) -> VerificationFrame:
    """Return the frame of broken links; their problems are the words of `history.chain`."""
    rows = [
        BrokenLink(
            pgh_obj_id=link.pgh_obj_id,
            pgh_id=link.pgh_id,
            pgh_label=link.pgh_label,
            pgh_created_at=link.pgh_created_at,
            problem=_WORDS[link.problem],
        )
        for link in links
    ]
    return VerificationFrame.from_rows(rows, caption=caption, notes=notes)
