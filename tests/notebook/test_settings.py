"""`%config PgMagic`."""

from __future__ import annotations

import pandas as pd
import pytest

from pgmagic.notebook import extension
from pgmagic.tables.frame import ResultFrame
from pgmagic.tables.grid import LIMIT

POST = """%%pgtrigger
class Post(models.Model):
    title = models.CharField(max_length=20)
"""


def shown(shell, kind, rows):
    frame = ResultFrame(pd.DataFrame({"n": range(rows)}))
    return shell.shell.display_formatter.format(frame)[0][kind]


@pytest.mark.parametrize("kind", ["text/html", "text/plain"])
def test_number_of_rows_is_set(shell, kind):
    assert "of 100 rows" in shown(shell, kind, 100)
    shell.run("%config PgMagic.max_rows = 100")
    assert "of 100 rows" not in shown(shell, kind, 100)
    shell.run("%config PgMagic.max_rows = 10")
    assert "10 of 100 rows" in shown(shell, kind, 100)


def test_app_label_is_set(shell):
    shell.run("%config PgMagic.app_label = 'tutorial'")
    assert shell.run(POST)["object"].tolist() == ["tutorial.Post"]
    assert shell.run(POST.replace("%%pgtrigger", "%%pgtrigger --app other"))["object"].tolist() == ["other.Post"]


def test_config_lists_the_settings(shell, capsys):
    shell.run("%config PgMagic")
    out = capsys.readouterr().out
    assert "PgMagic.app_label=<Unicode>" in out
    assert "PgMagic.max_rows=<Int>" in out or "PgMagic.max_rows=<Integer>" in out
    assert "How many rows of a table are shown" in out


def test_invalid_value_is_refused_with_a_message(shell, caplog):
    shell.run("%config PgMagic.max_rows = -1")
    assert "'max_rows' trait of a PgMagic instance should not be less than 0" in caplog.text
    assert f"{LIMIT} of 100 rows" in shown(shell, "text/plain", 100)


def test_unloading_removes_the_settings(shell):
    extension.unload(shell.shell)
    assert [found for found in shell.shell.configurables if type(found).__name__ == "PgMagic"] == []
