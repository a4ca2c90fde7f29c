from __future__ import annotations

import re

import pytest

from pgmagic.tables.style import CSS

RULES = re.findall(r"([^{}]+)\{([^{}]*)\}", re.sub(r"@media[^{]*\{((?:[^{}]|\{[^{}]*\})*)\}", r"\1", CSS))


def colours(rule: str) -> dict[str, str]:
    """Return the literal colours that a rule gives to our variables."""
    return dict(re.findall(r"--pgm-(\w+): (#[0-9a-f]{6});", rule))


LIGHT = colours(next(rule for selector, rule in RULES if selector.strip() == ".pgm"))
DARK = colours(next(rule for selector, rule in RULES if "vscode-dark" in selector))
FALLBACK = colours(next(rule for selector, rule in RULES if ":not([data-jp-theme-light])" in selector))
TONES = ("good", "bad", "warn", "info", "more")


def test_every_selector_applies_to_our_output_only():
    selectors = [one.strip() for selector, _ in RULES for one in selector.split(",")]
    assert len(selectors) > 40
    assert [one for one in selectors if not re.search(r"\.pgm\b(?!-)", one)] == []


def test_every_class_belongs_to_us_or_to_a_host():
    hosts = {"vscode-body", "vscode-dark", "vscode-high-contrast", "vscode-high-contrast-light"}
    names = set(re.findall(r"\.([a-z][\w-]*)", " ".join(selector for selector, _ in RULES)))
    assert {name for name in names if not re.fullmatch(r"pgm(-[\w-]+)?", name)} <= hosts


def test_every_variable_of_ours_has_a_value():
    used = set(re.findall(r"var\(--pgm-(\w+)", CSS))
    assert used <= set(re.findall(r"--pgm-(\w+):", CSS))
    assert used


@pytest.mark.parametrize(
    "variable", ["--jp-content-font-color1", "--jp-code-font-family", "--vscode-editor-foreground"]
)
def test_colours_of_the_page_come_first_and_have_a_fallback(variable):
    assert re.search(rf"var\({variable}, [^)]", CSS)


def test_dark_style_follows_the_page_and_then_the_reader():
    assert '[data-jp-theme-light="false"] .pgm' in CSS
    assert ".vscode-dark .pgm" in CSS
    assert "@media (prefers-color-scheme: dark)" in CSS
    assert FALLBACK["paper"] != LIGHT["paper"]


def weight(selector: str) -> tuple[int, int]:
    """Return how many classes and how many elements a selector names, which is what decides between two."""
    classes = re.findall(r"\.[a-z][\w-]*|\[[^]]*\]|:(?!:|not)[a-z-]+", selector)
    elements = re.findall(r"(?:^|[\s>+(])([a-z]+)", selector)
    return len(classes), len(elements)


JUPYTERLAB = {
    "td": ":not(.jp-RenderedMarkdown).jp-RenderedHTMLCommon td",
    "th": ":not(.jp-RenderedMarkdown).jp-RenderedHTMLCommon th",
    "tbody tr:nth-child(n)": ".jp-RenderedHTMLCommon tbody tr:nth-child(odd)",
    "tbody tr:hover": ".jp-RenderedHTMLCommon tbody tr:hover",
    "code": ".jp-ThemedContainer .jp-RenderedHTMLCommon :not(pre) > code",
    "pre": ".jp-ThemedContainer .jp-RenderedHTMLCommon pre",
}


@pytest.mark.parametrize(("ending", "theirs"), JUPYTERLAB.items(), ids=JUPYTERLAB)
def test_rules_take_precedence_over_jupyterlabs(ending, theirs):
    ours = [one.strip() for selector, _ in RULES for one in selector.split(",") if one.strip().endswith(" " + ending)]
    assert ours
    assert all(weight(selector) > weight(theirs) for selector in ours)


def test_style_sheet_can_be_put_into_a_style_element():
    assert "<" not in CSS
    assert "\n" not in CSS
    assert CSS.count("{") == CSS.count("}")


def luminance(colour: tuple[float, float, float]) -> float:
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def parts(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


def contrast_on_tint(ink: str, paper: str, share: float) -> float:
    """Return the contrast of `ink` on paper tinted with a share of it. Source: WCAG 2, relative luminance."""
    tinted = tuple(a * share + b * (1 - share) for a, b in zip(parts(ink), parts(paper), strict=True))
    lower, higher = sorted([luminance(parts(ink)), luminance(tinted)])
    return (higher + 0.05) / (lower + 0.05)


@pytest.mark.parametrize("tone", TONES)
@pytest.mark.parametrize(
    ("theme", "paper"),
    [(LIGHT, "#ffffff"), (DARK, "#111111"), (DARK, "#1e1e1e"), (FALLBACK, FALLBACK["paper"])],
    ids=["light", "JupyterLab dark", "VS Code dark", "fallback dark"],
)
def test_tones_are_readable_on_their_own_tint(theme, paper, tone):
    assert contrast_on_tint(theme[tone], paper, 0.13) >= 4.5
