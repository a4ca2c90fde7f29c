"""What a `%%pgtrigger` cell does: declare, compile, plan, install - or nothing at all."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import connection
from IPython.core.interactiveshell import InteractiveShell

from pgmagic.compile.desired import Desired
from pgmagic.db.apply import plan_and_apply
from pgmagic.db.catalog import read_catalog
from pgmagic.db.declared import advice, create_sql, desired_by
from pgmagic.db.evolution.evolve import plan_with_evolutions
from pgmagic.db.evolution.renames import Wishes
from pgmagic.db.installation_frame import InstallationFrame
from pgmagic.declare.model_registry import Redeclaration, redeclaring
from pgmagic.errors import InstallationError
from pgmagic.notebook.cells import execute, namespace_restored_on_error, parse_cell, pending_note
from pgmagic.notebook.interrupts import Shield
from pgmagic.notebook.slips import check_classes
from pgmagic.plan.steps import Outcome

# The module in which a kernel runs cells.
_CELL_MODULE = "__main__"


@dataclass(frozen=True)
class CellResult:
    """The frame of a cell's declarations, the SQL that creates all of them, and the error that undid them."""

    frame: InstallationFrame
    sql: str
    error: InstallationError | None = None


class _NotKept(Exception):  # noqa: N818 - it leaves a block, and is no error
    """Leaves the block of a declaration that is not to be kept."""

    def __init__(self, result: CellResult) -> None:
        super().__init__()
        self.result = result


def install_cell(shell: InteractiveShell, source: str, app_label: str, wishes: Wishes) -> CellResult:
    """Run a cell of declarations and install them, in one transaction.

    If the cell raises, the database refuses, or somebody interrupts, then the database, the registry and the user's
    names are as before.
    """
    try:
        with Shield() as shield, _declared(shell, source, app_label, wishes, shield) as (declaration, desired):
            planner = plan_with_evolutions(connection, desired, wishes)
            applied = plan_and_apply(connection, planner, before_commit=shield.begin)
            frame = InstallationFrame.from_rows(applied.outcomes, notes=advice(declaration.models, applied.outcomes))
            result = CellResult(frame, create_sql(desired), applied.error)
            if applied.error is not None:
                raise _NotKept(result)
            # Names that still hold a former class get the class that took its place.
            for name, value in list(shell.user_ns.items()):
                if isinstance(value, type) and value in declaration.replaced:
                    shell.user_ns[name] = declaration.replaced[value]
            return result
    except _NotKept as unkept:
        return unkept.result


def plan_cell(shell: InteractiveShell, source: str, app_label: str, wishes: Wishes) -> CellResult:
    """Run a cell of declarations and plan their installation; nothing is kept."""
    try:
        with Shield() as shield, _declared(shell, source, app_label, wishes, shield) as (declaration, desired):
            plan = plan_with_evolutions(connection, desired, wishes)(read_catalog(connection))
            outcomes = [Outcome(step, "planned") for step in plan.steps]
            frame = InstallationFrame.from_rows(outcomes, notes=advice(declaration.models, outcomes))
            raise _NotKept(CellResult(frame, create_sql(desired)))
    except _NotKept as unkept:
        return unkept.result


@contextmanager
def _declared(
    shell: InteractiveShell, source: str, app_label: str, wishes: Wishes, shield: Shield
) -> Iterator[tuple[Redeclaration, Desired]]:
    """Run the cell; its declarations hold only if the block ends without an exception."""
    tree, filename = parse_cell(shell, source)
    names = {new.rpartition(".")[2]: former.rpartition(".")[2] for new, former in wishes.models.items()}
    with namespace_restored_on_error(shell), redeclaring(app_label, _CELL_MODULE, names) as declaration:
        known = list(shell.user_ns.values())
        try:
            with declaration.collecting():
                pending = execute(shell, tree.body, filename)
            check_classes(shell.user_ns, known)
            for sentence in pending_note(pending):
                print(sentence, file=sys.stderr)
            yield declaration, desired_by(declaration.models, connection.alias)
        except BaseException:
            # From here on, everything is taken back, and no interrupt may come between.
            shield.begin()
            raise
