"""The command line itself: usage, help and version."""

from __future__ import annotations

from pathlib import Path

import pytest

import pgmagic
from pgmagic.cli.main import main


def _exit_of(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("fly",),
        ("run", "--timeout", "0"),
        ("run", "--timeout", "soon"),
        ("run", "--unknown"),
        ("status", "now"),
    ],
)
def test_wrong_usage_exits_with_two(arguments, capsys):
    assert _exit_of(*arguments) == 2
    assert "usage: pgmagic" in capsys.readouterr().err


def test_jupyter_option_without_dashes_is_refused_with_a_hint(capsys):
    assert _exit_of("lab", "--no-browser") == 2
    assert "options go after --" in capsys.readouterr().err


def test_help_names_every_command(capsys):
    assert _exit_of("--help") == 0
    shown = capsys.readouterr().out
    for command in ("lab", "run", "status", "stop"):
        assert f"\n    {command} " in shown


def test_version(capsys):
    assert _exit_of("--version") == 0
    assert capsys.readouterr().out == f"pgmagic {pgmagic.__version__}\n"


def test_error_of_pgmagic_is_one_line_on_stderr(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "missing.ipynb"]) == 1
    captured = capsys.readouterr()
    assert captured.err == "pgmagic: There is no notebook missing.ipynb.\n"
    assert captured.out == ""


def test_lab_passes_arguments_on_to_jupyter(monkeypatch, tmp_path):
    from pgmagic.cli import lab

    seen = {}
    monkeypatch.setattr(lab, "_run_jupyterlab", lambda arguments: seen.update(arguments=arguments, cwd=Path.cwd()))
    monkeypatch.setattr("pgmagic.cli.database.held", _NothingHeld)
    monkeypatch.setattr(lab, "prepare_environment", lambda: None)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "00_first.ipynb").touch()
    monkeypatch.chdir(tmp_path)
    assert main(["lab", "--", "--no-browser", "--port=1"]) == 0
    assert seen["arguments"][-2:] == ["--no-browser", "--port=1"]
    assert "--LabApp.default_url=/lab/tree/00_first.ipynb" in seen["arguments"]
    assert seen["cwd"] == tmp_path / "notebooks"


class _NothingHeld:
    def __enter__(self) -> str:
        return "a database"

    def __exit__(self, *_: object) -> None:
        pass
