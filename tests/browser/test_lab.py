"""What somebody sees who opens a notebook in JupyterLab and runs it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NOTEBOOK = "01_protecting_rows.ipynb"
FINISHED_MS = 120_000
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}


def test_notebook_runs_and_shows_what_was_rejected(lab: str, page: Any, screenshots: Path) -> None:
    page.goto(lab.replace("/lab?", f"/lab/tree/{NOTEBOOK}?"))
    page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook .jp-CodeCell")
    # Before a kernel is there, JupyterLab asks which one to start.
    page.locator(".jp-StatusBar-TextItem", has_text=re.compile(r"\| Idle")).wait_for(timeout=FINISHED_MS)
    _command(page, "Run All Cells")
    _wait_until_finished(page)
    outcome = (
        page.locator(".jp-OutputArea-output table", has_text="verdict").filter(has_text="rejected").first
    )
    outcome.wait_for(timeout=FINISHED_MS)
    assert outcome.locator("th", has_text=re.compile(r"^\s*verdict\s*$")).count() == 1
    assert page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']").count() == 0
    _photograph_themes(page, outcome, screenshots)


def _photograph_themes(page: Any, outcome: Any, folder: Path) -> None:
    """Save the window and the outcome's cell in each theme; nobody has to look, but somebody can."""
    for name, theme in THEMES.items():
        _command(page, theme)
        page.wait_for_selector(f"body[data-jp-theme-name='{theme}']", state="attached")
        outcome.scroll_into_view_if_needed()
        page.wait_for_timeout(500)
        page.screenshot(path=folder / f"window-{name}.png")
        cell = outcome.locator("xpath=ancestor::*[contains(@class, 'jp-CodeCell')]")
        cell.screenshot(path=folder / f"outcome-{name}.png")


def _command(page: Any, label: str) -> None:
    """Choose a command in JupyterLab's command palette."""
    page.keyboard.press("Control+Shift+C")
    search = page.locator(".lm-CommandPalette-input:visible")
    search.fill(label)
    page.locator(".lm-CommandPalette-item:visible").first.wait_for()
    page.keyboard.press("Enter")
    search.wait_for(state="hidden")


def _wait_until_finished(page: Any) -> None:
    """Wait until each code cell with a source has a number instead of a star."""
    page.wait_for_function(
        """() => {
            const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]
                .map(prompt => prompt.textContent.trim());
            const any = pattern => prompts.some(text => pattern.test(text));
            return any(/\\d/) && !any(/\\*/);
        }""",
        timeout=FINISHED_MS,
    )
