from __future__ import annotations

from typing import Any

import pytest

from tests.db.conftest import live
from tests.pgtrigger.migrating import Migrating
from tests.project_support import project

__all__ = ["live", "project"]


@pytest.fixture
def migrating(connection: Any, as_in_a_project: None) -> Migrating:
    """A project's state and tables; triggers are compiled as in a project, for whatever schema they come to."""
    return Migrating(connection)
