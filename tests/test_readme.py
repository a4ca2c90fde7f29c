"""README's tables of magics and commands say what the code has, and nothing else."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from pgmagic.cli.main import parser
from pgmagic.notebook.magics import HistoryMagics, SessionMagics, TriggerMagics, WatchMagics
from pgmagic.notebook.magics.trigger_magics import COMMANDS

README = (Path(__file__).parent.parent / "README.md").read_text()


def first_column(section: str) -> list[list[str]]:
    """The code in the first cell of each row of a section's table."""
    text = re.search(rf"^## {section}\n(.*?)^## ", README, re.DOTALL | re.MULTILINE)
    assert text
    rows = re.findall(r"^\| (.*?) \|", text[1], re.MULTILINE)
    return [code for row in rows if (code := re.findall(r"`([^`]+)`", row))]


def test_table_of_magics_is_complete():
    named, sub_commands = set(), []
    for row in first_column("In a notebook"):
        for code in row:
            magic, *words = code.split()
            if magic.startswith("%"):
                named.add(magic)
            # Further words of a row are sub-commands of its magic, as in `%pgtrigger ls`, `sql`.
            sub_commands += words[:1] if magic.startswith("%") else [magic]
    declared = {
        sign + name
        for magics in (HistoryMagics, SessionMagics, TriggerMagics, WatchMagics)
        for sign, kind in (("%", "line"), ("%%", "cell"))
        for name in magics.magics[kind]
    }
    assert named == declared
    assert sorted(sub_commands) == sorted(COMMANDS)


def test_table_of_commands_is_complete():
    [commands] = (each for each in parser()._actions if isinstance(each, argparse._SubParsersAction))
    declared = {
        name: sorted(set(re.findall(r"\[[^]]*\]", command.format_usage())) - {"[-h]"})
        for name, command in commands.choices.items()
    }
    named = {}
    for [code] in first_column("Command line"):
        program, name, *_ = code.split()
        assert program == "pgmagic"
        named[name] = sorted(re.findall(r"\[[^]]*\]", code))
    assert named == declared
