"""Whether the trail is intact: `pgmagic.verify(...)`."""

from __future__ import annotations

from typing import Any

from pgmagic.history.chain import verify_chain
from pgmagic.history.targets import Model, event_model_of, resolve
from pgmagic.history.verification_frame import BrokenLink, VerificationFrame, verification_frame


def verify(target: Model | str, *, using: str = "default") -> VerificationFrame:
    """Return where the hash chain of a tracked model's events is broken: of each object, the first broken event.

    The model is tracked with `hash_chain=True`. An event that was changed, removed, put in between, or whose place was
    taken breaks its object's chain; what `prune_events` removed does not, nor do fields that are added or renamed.
    Columns: `pgh_obj_id`, `pgh_id` (Int64), `pgh_label`, `pgh_created_at` (datetime64 in UTC), `problem`; the notes say
    how many events were verified.

    What no chain can show: all events of an object gone together, and the newest events of an object gone. The contents
    of a shared context are not covered, only which one it was. A superuser, or whoever owns the tables, can compute all
    hashes anew behind a change, or write an anchor: keep what must hold against them, such as the latest hashes, where
    they cannot write.

    Raises:
        HistoryError: the target is no tracked model, or its events carry no hashes.
    """
    model, _ = resolve(target)
    event_model: Any = event_model_of(model)
    found = verify_chain(event_model, using)
    notes = [f"{found.events - found.unsealed:,} events are sealed."]
    if found.unsealed:
        notes.append(f"{found.unsealed:,} events carry no hash: nothing proves them.")
    notes += [f"The field {former} is called {name} by now." for former, name in found.renamed.items()]
    links = [
        BrokenLink(
            pgh_obj_id=link.pgh_obj_id, pgh_id=link.pgh_id, pgh_label=link.pgh_label,
            pgh_created_at=link.pgh_created_at, problem=link.problem,
        )
        for link in found.breaks
    ]  # fmt: skip
    return verification_frame(
        links, caption=f"Broken chains of {event_model.pgh_tracked_model._meta.object_name}", notes=notes
    )
