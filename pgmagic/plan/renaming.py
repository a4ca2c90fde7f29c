"""Tables that get another name, with the triggers, functions and marks that are renamed with them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pgmagic.compile import ddl
from pgmagic.compile.desired import DesiredTable
from pgmagic.plan.installed import Installed, InstalledFunction, InstalledTable, InstalledTrigger, Mark
from pgmagic.plan.marking import marking_again
from pgmagic.plan.steps import Step


@dataclass(frozen=True)
class Renaming:
    """A table whose model, or whose name, was another one before.

    former: the table as it is installed. table: the table as it is declared now.
    """

    former: InstalledTable
    table: DesiredTable

    @property
    def former_label(self) -> str:
        """The label of the model that the table was made for."""
        return str(self.former.label)


def as_renamed(installed: Installed, renamings: Sequence[Renaming]) -> Installed:
    """Return the catalog as it is after tables, triggers and functions got their new names."""
    for renaming in renamings:
        parts = _triggers(installed, renaming)
        functions = _renamed_functions(parts, renaming)
        installed = replace(
            installed,
            tables=tuple(
                replace(table, name=renaming.table.table) if table is renaming.former else table
                for table in installed.tables
            ),
            triggers=tuple(
                _trigger(trigger, functions, renaming) if _is_on(trigger, renaming) else trigger
                for trigger in installed.triggers
            ),
            functions=tuple(functions.get(function, function) for function in installed.functions),
        )
    return installed


def renaming_steps(installed: Installed, renamings: Sequence[Renaming]) -> Iterator[Step]:
    """Yield the steps that give the triggers on renamed tables, and their functions, the names of their new URIs."""
    for renaming in renamings:
        parts = _triggers(installed, renaming)
        functions = _renamed_functions(parts, renaming)
        renamed = [_trigger(part, functions, renaming) for part in parts]
        for function, new in functions.items():
            if new.mark is not None and new.name != function.name:
                rename = ddl.rename_function(*function.key, new.name)
                comment = ddl.comment_on_function(function.schema, new.name, new.comment)
                # The triggers have their new names when the marks are left.
                is_edited = any(part.is_edited for part in parts if part.own_function == function)
                marking = None if is_edited else marking_again(new, renamed)
                yield Step(new.mark.uri, "function", "alter", (rename, comment), marking=marking)
        for part, trigger in zip(parts, renamed, strict=True):
            if trigger.mark is not None and trigger.name != part.name:
                rename = ddl.rename_trigger(trigger.schema, trigger.table, part.name, trigger.name)
                yield Step(trigger.mark.uri, "trigger", "alter", (rename,), fires=part.fires)


def _triggers(installed: Installed, renaming: Renaming) -> list[InstalledTrigger]:
    return [trigger for trigger in installed.own_triggers if _is_on(trigger, renaming)]


def _is_on(trigger: InstalledTrigger, renaming: Renaming) -> bool:
    former = renaming.former
    return (trigger.schema, trigger.table) == (former.schema, former.name)


def _trigger(
    trigger: InstalledTrigger, functions: dict[InstalledFunction, InstalledFunction], renaming: Renaming
) -> InstalledTrigger:
    name = _name(_uri(trigger.mark), trigger.name, renaming)
    function = functions.get(trigger.function, trigger.function)
    marked_by = trigger.marked_by and functions.get(trigger.marked_by, trigger.marked_by)
    return replace(trigger, table=renaming.table.table, name=name, function=function, marked_by=marked_by)


def _renamed_functions(
    parts: Sequence[InstalledTrigger], renaming: Renaming
) -> dict[InstalledFunction, InstalledFunction]:
    """Return the triggers' functions, each with what it is under its new name; marks name the new URI and triggers."""
    renamed = {}
    for function in (part.own_function for part in parts):
        uri = _uri(function.mark)
        name = _name(uri, function.name, renaming)
        comment = function.comment
        if name != function.name:
            mark = json.loads(str(comment))
            triggers = {_name(uri, trigger, renaming): digests for trigger, digests in mark["triggers"].items()}
            comment = json.dumps({**mark, "pgmagic": _new_uri(uri, renaming), "triggers": triggers})
        renamed[function] = replace(function, name=name, comment=comment)
    return renamed


def _uri(mark: Mark | None) -> str:
    return mark.uri if mark is not None else ""


def _new_uri(uri: str, renaming: Renaming) -> str:
    return f"{renaming.table.label}:{uri.partition(':')[2]}"


def _name(uri: str, name: str, renaming: Renaming) -> str:
    """Return the new name of a trigger or function, the old one if its URI does not begin with the former label."""
    if uri.partition(":")[0] != renaming.former_label:
        return name
    return ddl.name_under(uri, name, _new_uri(uri, renaming)) or name
