"""From what was seen of a step to its verdict.

Several things can happen in one step. The verdict is the first of them in this order, and the reason says how many
statements or rows it is about: rejected, suppressed, rewritten, applied, rolled back (by the cell's own code), no
rows, read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pgmagic.watch.effects import Effects, effects_of
from pgmagic.watch.instruments import Observed
from pgmagic.watch.reachable import TriggerCatalog
from pgmagic.watch.rejections import Rejection, rejection, value_in_line
from pgmagic.watch.statements import Executed
from pgmagic.watch.written import Written

Verdict = Literal["applied", "rejected", "rewritten", "suppressed", "no rows", "read", "rolled back"]

_TAKEN_BACK = "the cell itself rolled it back"
VERDICTS: tuple[Verdict, ...] = (
    "rejected", "suppressed", "rewritten", "applied", "rolled back", "no rows", "read",
)  # fmt: skip
"""In the order in which one of several decides."""
_PLAIN_ORDER: tuple[Verdict, ...] = ("applied", "rolled back", "no rows", "read")


@dataclass(frozen=True)
class StepOutcome:
    """What a step did to the database.

    verdict: None where it issued no SQL. rows: written rows, or read ones if it only read. trigger: the URI of what
    decided, or the name of a trigger that pgmagic did not make; several are separated by commas. elapsed_ms: in the
    database, without what pgmagic itself executed. messages: the server's. effects: what triggers did to rows that they
    wrote themselves, and what was written to each table, where the rest of this does not say it.
    """

    verdict: Verdict | None = None
    rows: int | None = None
    table: str | None = None
    trigger: str | None = None
    reason: str | None = None
    elapsed_ms: float | None = None
    messages: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """What is shown under the step."""
        return (*self.messages, *self.effects)

    def taken_back(self) -> StepOutcome:
        """Return the outcome of a step whose rows a later one has rolled back."""
        if self.verdict not in ("applied", "rewritten"):
            return self
        return replace(self, verdict="rolled back", rows=0, trigger=None, reason=_TAKEN_BACK, effects=())

    def rolled_back(self, rejection: Rejection) -> StepOutcome:
        """Return the outcome of a step whose rows a rejected COMMIT has taken back."""
        if self.verdict not in ("applied", "rewritten"):
            return replace(self, effects=())
        return replace(
            self, verdict="rolled back", trigger=rejection.trigger, reason=rejection.reason, effects=()
        )


@dataclass(frozen=True)
class _Finding:
    """One thing that happened, with its place in the reason."""

    verdict: Verdict
    reason: str | None = None
    table: str | None = None
    triggers: tuple[str, ...] = ()

    def reason_beside(self, first: _Finding) -> str:
        """Return the reason, with the triggers where they are others than those of the finding that decides."""
        by = f" by {', '.join(self.triggers)}" if self.triggers and self.triggers != first.triggers else ""
        return f"{self.reason}{by}"


def step_outcome(
    executed: Sequence[Executed],
    observed: Sequence[Observed],
    error: BaseException | None,
    catalog: TriggerCatalog | None,
    messages: Iterable[str] = (),
    written: Sequence[Written] = (),
) -> StepOutcome:
    """Return the outcome of a step.

    error: the database's error that left the step, if one did. catalog: needed to tell the trigger of a rejection.
    written: the rows that the database counted.
    """
    counted = [statement for statement in executed if not statement.undone]
    own = [observation for observation in observed if observation.depth == 1]
    effects = effects_of(counted, own, written)
    findings = [
        *_rejections(executed, error, catalog),
        *_suppressions(own, counted),
        *_rewritings(own),
        *_ruled(counted, effects, catalog),
        *_plain(executed, effects),
    ]
    told = (
        *(_effect(observation) for observation in observed if observation.depth > 1),
        *effects.lines(),
    )
    if not findings:
        return StepOutcome(messages=tuple(messages), effects=told)
    first = findings[0]
    reasons = dict.fromkeys(finding.reason_beside(first) for finding in findings if finding.reason)
    return StepOutcome(
        verdict=first.verdict,
        rows=_rows(counted, own, first.verdict, effects),
        table=first.table,
        trigger=", ".join(first.triggers) or None,
        reason="; ".join(reasons) or None,
        elapsed_ms=sum(statement.elapsed_ms for statement in executed),
        messages=tuple(messages),
        effects=told,
    )


def needs_catalog(executed: Iterable[Executed], error: BaseException | None) -> bool:
    """Return whether the triggers have to be known to tell the outcome of a step."""
    return error is not None or any(
        statement.kind == "rejected" or (statement.kind == "write" and statement.rows == 0)
        for statement in executed
    )


def _rejections(
    executed: Sequence[Executed], error: BaseException | None, catalog: TriggerCatalog | None
) -> Iterable[_Finding]:
    refused = [
        rejection(statement.error, catalog, statement.table)
        for statement in executed
        if statement.error is not None
    ]
    if not refused:
        if error is not None:
            refusal = rejection(error, catalog)
            yield _Finding(
                "rejected", _with_row(refusal.reason, refusal), refusal.table, _one(refusal.trigger)
            )
        return
    total = sum(statement.kind != "read" for statement in executed)
    messages = Counter(refusal.reason for refusal in refused)
    # The first that a trigger decided, or else the first.
    first = next((refusal for refusal in refused if refusal.trigger), refused[0])
    reason = first.reason
    if len(messages) > 1:
        others = len(messages) - 1
        reason += f" (and {others:,} other message{'s' if others > 1 else ''})"
    if total > 1:
        reason = f"{len(refused):,} of {total:,} statements rejected: {reason}"
    triggers = tuple(dict.fromkeys(refusal.trigger for refusal in refused if refusal.trigger))
    yield _Finding("rejected", _with_row(reason, first), first.table, triggers)


def _with_row(reason: str, refusal: Rejection) -> str:
    return f"{reason}; {refusal.row}" if refusal.row else reason


def _suppressions(observed: Sequence[Observed], counted: Sequence[Executed]) -> Iterable[_Finding]:
    swallowed = [observation for observation in observed if observation.kind == "swallowed"]
    written = sum(statement.rows or 0 for statement in counted if statement.kind == "write")
    for observation in swallowed:
        what = f"{observation.event.lower()} swallowed"
        if written or observation.rows > 1:
            what += f" for {_count(observation.rows, 'row')}"
        yield _Finding("suppressed", what, observation.table, observation.triggers)


def _rewritings(observed: Sequence[Observed]) -> Iterable[_Finding]:
    for observation in observed:
        if observation.kind != "swallowed":
            yield _Finding("rewritten", _rewriting(observation), observation.table, observation.triggers)


def _rewriting(observation: Observed) -> str:
    changes = observation.pairs[0] if observation.pairs else {}
    shown = ", ".join(
        f"{name}: {value_in_line(asked)} → {value_in_line(stored)}"
        for name, (asked, stored) in changes.items()
    )
    if observation.kind == "converted":
        shown = f"delete → update of {shown or 'nothing'}"
    elif not shown:
        shown = "values that cannot be compared"
    if observation.sample is not None:
        compared, rows = observation.sample
        of_them = "all" if observation.rows == compared else f"{observation.rows:,}"
        return f"{shown} (in {of_them} of the {compared:,} rows compared, of {rows:,})"
    return shown if observation.rows == 1 else f"{shown} (and {_count(observation.rows - 1, 'more row')})"


def _ruled(
    counted: Sequence[Executed], effects: Effects, catalog: TriggerCatalog | None
) -> Iterable[_Finding]:
    """Yield what rules did instead of statements, whose own tags then count nothing."""
    for statement in counted:
        rule = (
            catalog.rule_instead(statement.table, statement.verb)
            if catalog and statement.kind == "write" and statement.rows == 0 and statement.table
            else None
        )
        if rule is not None:
            done = effects.done()
            asked = statement.verb.lower()
            yield _Finding(
                "rewritten" if done else "suppressed",
                f"{asked} → {done}" if done else f"{asked} swallowed",
                statement.table,
                (f"rule {rule}",),
            )


def _plain(executed: Sequence[Executed], effects: Effects) -> Iterable[_Finding]:
    """Yield what the command tags say by themselves; where rows were counted behind what seems to read, it wrote."""
    if executed:
        statement = min(executed, key=lambda statement: _PLAIN_ORDER.index(_plain_verdict(statement)))
        verdict = _plain_verdict(statement)
        if verdict == "read" and effects.written:
            verdict = "applied"
        table = statement.table
        if verdict == "applied":
            table = effects.own_tables or table or effects.tables or None
        yield _Finding(verdict, _TAKEN_BACK if verdict == "rolled back" else None, table)


def _plain_verdict(statement: Executed) -> Verdict:
    if statement.undone:
        return "rolled back"
    if statement.kind == "read":
        return "read"
    return "no rows" if statement.rows == 0 or statement.kind == "rejected" else "applied"


def _rows(
    counted: Sequence[Executed], observed: Sequence[Observed], verdict: Verdict, effects: Effects
) -> int | None:
    kind = "read" if verdict == "read" else "write"
    known = [statement.rows for statement in counted if statement.kind == kind and statement.rows is not None]
    converted = sum(observation.rows for observation in observed if observation.kind == "converted")
    if not known and verdict in ("applied", "read"):
        # Where a statement names its table, as TRUNCATE does, the rows of others would seem to be that table's.
        return None if any(statement.table for statement in counted) else effects.rows or None
    if verdict == "rewritten" and not any(known) and not converted:
        # By a rule: the tag counts what was not done.
        return effects.rows
    return sum(known) + converted


def _effect(observation: Observed) -> str:
    """Return a line about rows that a trigger wrote itself."""
    by = f" by {', '.join(observation.triggers)}" if observation.triggers else ""
    if observation.kind == "swallowed":
        done = f"{observation.event.lower()} of {_count(observation.rows, 'row')} swallowed"
    else:
        done = _rewriting(observation)
    return f"in {observation.table}: {done}{by}"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _one(value: str | None) -> tuple[str, ...]:
    return (value,) if value else ()
