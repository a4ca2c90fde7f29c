"""HTML that cannot be unsafe: every text becomes markup by being escaped, and only here."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import NewType

Markup = NewType("Markup", str)
"""Text that is HTML already. mypy keeps plain text from being taken for it."""

BREAK = Markup("<wbr>")
"""A place where a line may be broken; it is not part of the text, and not copied with it."""


def text(content: str) -> Markup:
    """Return any text, escaped."""
    return Markup(escape(content, quote=True))


def element(tag: str, *content: Markup, **attributes: str | None) -> Markup:
    """Return an element with its content and attributes; an attribute of None is left out.

    Python's words end in an underscore (`class_`), and other underscores stand for hyphens (`aria_label`).
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(value, quote=True)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{tag}{written}>{joined(content)}</{tag}>")


def joined(parts: Iterable[Markup], between: Markup = Markup("")) -> Markup:
    """Return the parts one after the other."""
    return Markup(between.join(parts))


def style(css: str) -> Markup:
    """Return a style element; `css` is ours and holds no `<`."""
    return Markup(f"<style>{css}</style>")
