"""The words of verdicts, actions and states: each with a sign and a tone, because colour alone is not enough."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

# What separates a verdict from its subject.
_ABOUT = re.compile(r" by | to | · |: ")

Tone = Literal["good", "bad", "warn", "info", "quiet"]
"""What a word means: `good` as asked, `bad` not as asked, `warn` done differently, `info` news, `quiet` as expected."""

WORDS: Mapping[str, tuple[str, Tone]] = MappingProxyType(
    {
        # verdicts on statements
        "applied": ("✓", "good"),
        "rejected": ("✗", "bad"),
        "rewritten": ("↻", "warn"),
        "suppressed": ("⊘", "warn"),
        "no rows": ("∅", "quiet"),
        "read": ("→", "quiet"),
        "rolled back": ("↶", "bad"),
        # results of a transition, or of a way around a rule
        "allowed": ("✓", "good"),
        "unknown": ("?", "quiet"),
        "held": ("✓", "good"),
        "got through": ("✗", "bad"),
        "not applicable": ("»", "quiet"),
        # cases of an exercise
        "right": ("✓", "good"),
        "not yet": ("○", "info"),
        # actions of a plan
        "create": ("+", "info"),
        "alter": ("~", "info"),
        "replace": ("↻", "info"),
        "drop": ("\N{MINUS SIGN}", "warn"),
        "unchanged": ("=", "quiet"),
        # actions that undo
        "delete": ("\N{MINUS SIGN}", "warn"),
        "change back": ("↶", "info"),
        "restore": ("+", "info"),
        "nothing": ("=", "quiet"),
        # results of undoing
        "done": ("✓", "good"),
        "failed": ("✗", "bad"),
        "skipped": ("»", "quiet"),
        "planned": ("○", "info"),
        "conflict": ("✗", "bad"),
        # states of installed triggers
        "INSTALLED": ("✓", "good"),
        "OUTDATED": ("≠", "warn"),
        "UNINSTALLED": ("○", "info"),
        "PRUNE": ("\N{MINUS SIGN}", "warn"),
        "UNALLOWED": ("⊘", "bad"),
        "FOREIGN": ("·", "quiet"),
        "ENABLED": ("✓", "quiet"),
        "DISABLED": ("○", "warn"),
        # plain yes and no
        "yes": ("✓", "quiet"),
        "no": ("✗", "quiet"),
    }
)


def sign_and_tone(word: str) -> tuple[str, Tone]:
    """Return the sign and the tone of a word; no sign and a quiet tone for a word outside the vocabulary.

    The subject may follow the word, as in `rejected by notebook.Post:cycle`.
    """
    return WORDS.get(_ABOUT.split(word, maxsplit=1)[0], ("", "quiet"))
