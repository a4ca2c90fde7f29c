"""Reading HTML back, as a browser would: what is shown, in which elements."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"wbr", "br", "img", "input", "meta", "link"}


@dataclass
class Element:
    """An element with its attributes and everything in it, texts included."""

    tag: str
    attributes: dict[str, str | None]
    content: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text inside, without style sheets."""
        if self.tag == "style":
            return ""
        return "".join(part if isinstance(part, str) else part.text for part in self.content)

    @property
    def classes(self) -> set[str]:
        return set((self.attributes.get("class") or "").split())

    def all(self, tag: str = "", class_: str = "") -> list[Element]:
        """Every element inside with this tag and class, in order."""
        found = []
        for part in self.content:
            if isinstance(part, Element):
                if tag in ("", part.tag) and (not class_ or class_ in part.classes):
                    found.append(part)
                found += part.all(tag, class_)
        return found

    def one(self, tag: str = "", class_: str = "") -> Element:
        [found] = self.all(tag, class_)
        return found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.open[-1].content.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.open[-1].content.append(data)


def read(html: str) -> Element:
    """Return the document; an assertion fails where its elements are not well nested."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    [root] = reader.open
    return root


def rows(html: str) -> list[list[str]]:
    """Return the texts of the cells of every row, the heading's first."""
    return [[cell.text for cell in row.content] for row in read(html).all("tr")]  # type: ignore[union-attr]
