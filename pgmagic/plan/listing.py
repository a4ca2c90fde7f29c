"""Every trigger that is declared or installed, as one list; and where the two differ, line by line."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from textwrap import dedent
from typing import Literal

from pgmagic.compile.desired import DesiredTrigger
from pgmagic.plan.drops import parts_of, prunable_triggers
from pgmagic.plan.installation_state import FOREIGN, OUTDATED, PRUNE, UNALLOWED, UNINSTALLED, drift, trigger_status
from pgmagic.plan.installed import FunctionKey, Installed, InstalledFunction, InstalledTrigger


@dataclass(frozen=True)
class Listed:
    """A trigger in Postgres, or a declared trigger that Postgres does not have: a row of the trigger frame.

    table: with its schema if the name alone means another table. name: the URI of a trigger of pgmagic's, otherwise
    the name in Postgres. enabled: None if the trigger is not installed. drift: in what it differs from its declaration.
    elsewhere: whether its table is in a schema that the session does not look into.
    """

    table: str
    name: str
    fires: str
    condition: str | None
    state: str
    enabled: bool | None
    drift: str | None = None
    elsewhere: bool = False
    lines: Sequence[str] = ()


def list_triggers(desired: Sequence[DesiredTrigger], unallowed: Collection[str], installed: Installed) -> list[Listed]:
    """Return what is declared and what is installed, by table and name; unallowed: URIs that a router forbids here."""
    found: list[Listed] = []
    listed: set[int] = set()
    for trigger in desired:
        parts = [] if trigger.uri in unallowed else parts_of(trigger, installed)
        listed |= {id(part) for part in parts}
        found += _list_declared(trigger, parts, trigger.uri in unallowed, installed)
    prunable = {id(part) for part in prunable_triggers(installed, {trigger.uri for trigger in desired})}
    for part in installed.triggers:
        if id(part) in listed:
            continue
        state = PRUNE if id(part) in prunable else FOREIGN
        # In the catalog, the condition of a trigger of pgmagic's is what Postgres made of it, which nobody reads.
        condition = None if part.mark else part.condition or None
        found.append(_listed_part(part, part.uri, condition, state, _drift_text(part, []), installed))
    return sorted(found, key=lambda row: (row.table, row.name, row.fires))


def _list_declared(
    trigger: DesiredTrigger, parts: Sequence[InstalledTrigger], is_unallowed: bool, installed: Installed
) -> Iterator[Listed]:
    """Yield a row for each part of a declared trigger, also for an installed part that is no longer declared."""
    state = UNALLOWED if is_unallowed else trigger_status(trigger, installed)[0]
    words = drift(trigger, installed) if state == OUTDATED else []
    by_name = {part.name: part for part in parts}
    for declared in trigger.triggers:
        part = by_name.pop(declared.name, None)
        yield Listed(
            table=trigger.table,
            name=trigger.uri,
            fires=declared.fires,
            condition=declared.condition or None,
            state=state if part or is_unallowed else UNINSTALLED,
            enabled=part.is_enabled if part else None,
            drift=_drift_text(part, words) if part else None,
        )
    for part in by_name.values():
        yield _listed_part(part, trigger.uri, None, state, "; ".join(words) or None, installed)


def _listed_part(
    part: InstalledTrigger, name: str, condition: str | None, state: str, drift: str | None, installed: Installed
) -> Listed:
    visible = installed.table(part.table)
    is_visible = visible is not None and visible.schema == part.schema
    table = part.table if is_visible else f"{part.schema}.{part.table}"
    return Listed(table, name, part.fires, condition, state, part.is_enabled, drift, elsewhere=not is_visible)


def _drift_text(part: InstalledTrigger, words: Sequence[str]) -> str | None:
    """Return what a trigger differs in, also between the partitions of its table."""
    apart = [f"{'disabled' if part.is_enabled else 'enabled'} on {', '.join(part.apart)}"] if part.apart else []
    return "; ".join([*words, *apart]) or None


@dataclass(frozen=True)
class Difference:
    """A stretch of lines in which a live object differs from what is declared: a row of the difference frame.

    line: the number of the first line in the live definition. live, declared: None if the object is not there.
    """

    trigger: str
    kind: Literal["function", "trigger", "comment"]
    line: int | None
    live: str | None
    declared: str | None
    lines: Sequence[str] = ()


def differences(
    desired: Sequence[DesiredTrigger], live: Installed, declared: Installed, prunable: Sequence[InstalledTrigger]
) -> list[Difference]:
    """Return where triggers differ from what the catalog would hold if all were installed as declared.

    prunable: triggers of pgmagic's that nothing declares.
    """
    found: list[Difference] = []
    for trigger in desired:
        before, after = parts_of(trigger, live), parts_of(trigger, declared)
        if not after:
            # The table does not exist.
            found += [Difference(trigger.uri, "trigger", None, None, part.create) for part in trigger.triggers]
        functions, new_functions = _functions(before), _functions(after)
        of_texts: list[Difference] = []
        for key in dict.fromkeys([*functions, *new_functions]):
            texts = [part.definition if part else None for part in (functions.get(key), new_functions.get(key))]
            of_texts += _stretches(trigger.uri, "function", *texts)
        of_texts += _of_triggers(trigger.uri, before, after)
        if not of_texts:
            # The comments always differ if a definition differs.
            comments = [(part.comment, new_functions[key].comment) for key, part in functions.items()]
            found += [Difference(trigger.uri, "comment", None, *pair) for pair in comments if pair[0] != pair[1]]
        found += of_texts
    for part in prunable:
        found += _of_triggers(part.uri, [part], [])
    return found


def _functions(parts: Sequence[InstalledTrigger]) -> dict[FunctionKey, InstalledFunction]:
    return {part.function.key: part.function for part in parts}


def _of_triggers(
    uri: str, live: Sequence[InstalledTrigger], declared: Sequence[InstalledTrigger]
) -> Iterator[Difference]:
    before = {part.place: part for part in live}
    after = {part.place: part for part in declared}
    for place in dict.fromkeys([*before, *after]):
        texts = [part.definition if part else None for part in (before.get(place), after.get(place))]
        yield from _stretches(uri, "trigger", *texts)


def _stretches(
    uri: str, kind: Literal["function", "trigger"], live: str | None, declared: str | None
) -> Iterator[Difference]:
    if live is None or declared is None:
        yield Difference(uri, kind, None, live, declared)
        return
    old, new = live.splitlines(), declared.splitlines()
    for tag, start, end, new_start, new_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            yield Difference(uri, kind, start + 1, _lines(old[start:end]), _lines(new[new_start:new_end]))


def _lines(lines: Sequence[str]) -> str | None:
    return dedent("\n".join(lines)).strip() if lines else None
