"""What somebody sees who opens a notebook in JupyterLab and runs it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.browser.tables import TABLES

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FINISHED_MS = 120_000
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}


# The second is made of the README's cells: its photographs are the README's pictures.
@pytest.mark.parametrize("name", ["01_protecting_rows", "readme"])
def test_notebook_runs_and_shows_what_was_rejected(name: str, lab: str, page: Any, screenshots: Path) -> None:
    # In a workspace of its own, where no other test's notebook is open.
    page.goto(lab.replace("/lab?", f"/lab/workspaces/{name}/tree/{name}.ipynb?"))
    if name == "readme":
        # A picture of a column's width shows more without the list of files.
        page.set_viewport_size({"width": 1250, "height": 1000})
        page.wait_for_function("window.jupyterapp && window.jupyterapp.restored")
        _command(page, "application:toggle-left-area")
    # Before a kernel is there, JupyterLab asks which one to start.
    page.locator(".jp-StatusBar-TextItem", has_text=re.compile(r"\| Idle")).wait_for(timeout=FINISHED_MS)
    _command(page, "notebook:run-all-cells")
    _wait_until_finished(page)
    for kind in ("error", "stderr"):
        shown = page.locator(f".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.{kind}']")
        assert shown.all_inner_texts() == []
    rejected = page.locator("td", has_text=re.compile(r"^\W*rejected\s*$"))
    outcome = page.locator(".jp-OutputArea-output table").filter(has=rejected).first
    assert outcome.locator("th", has_text=re.compile(r"^\s*verdict\s*$")).count() == 1
    _photograph_themes(page, outcome, screenshots, name)


def test_each_kind_of_table_is_shown_in_both_themes(lab: str, page: Any, screenshots: Path) -> None:
    page.goto(lab.replace("/lab?", "/lab/workspaces/tables/tree/tables.ipynb?"))
    # So tall that JupyterLab draws every cell.
    page.set_viewport_size({"width": 1500, "height": 9000})
    page.wait_for_function("window.jupyterapp && window.jupyterapp.restored")
    page.locator(".jp-StatusBar-TextItem", has_text=re.compile(r"\| Idle")).wait_for(timeout=FINISHED_MS)
    _command(page, "notebook:run-all-cells")
    _wait_until_finished(page)
    for kind in ("error", "stderr"):
        shown = page.locator(f".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.{kind}']")
        assert shown.all_inner_texts() == []
    # JupyterLab itself draws the diagram of a state machine.
    page.locator(".jp-RenderedMermaid img, .jp-RenderedMermaid svg").first.wait_for()
    tables = page.locator(".jp-OutputArea-output table.pgm-table")
    assert tables.count() == len(TABLES) - 2
    for theme, label in THEMES.items():
        _command(page, "apputils:change-theme", theme=label)
        page.wait_for_selector(f"body[data-jp-theme-name='{label}']", state="attached")
        page.wait_for_timeout(1000)
        for number in range(tables.count()):
            # Ink differs from paper, and a wide table scrolls inside of its own frame.
            table = tables.nth(number)
            ink, paper = table.evaluate(
                "table => [getComputedStyle(table).color, getComputedStyle(document.body).backgroundColor]"
            )
            assert ink != paper
            cell = table.locator("xpath=ancestor::*[contains(@class, 'jp-CodeCell')]")
            overflow = cell.evaluate("cell => cell.scrollWidth - cell.clientWidth")
            assert overflow <= 1
            cell.screenshot(path=screenshots / f"tables-{number:02}-{theme}.png")


def _photograph_themes(page: Any, outcome: Any, folder: Path, name: str) -> None:
    """Save the window and the outcome's cell in each theme; nobody has to look, but somebody can."""
    # The frame around the active cell, the last one, would cut into the picture.
    page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex = 0")
    for theme, label in THEMES.items():
        _command(page, "apputils:change-theme", theme=label)
        page.wait_for_selector(f"body[data-jp-theme-name='{label}']", state="attached")
        outcome.scroll_into_view_if_needed()
        page.wait_for_timeout(500)
        page.screenshot(path=folder / f"{name}-window-{theme}.png")
        cell = outcome.locator("xpath=ancestor::*[contains(@class, 'jp-CodeCell')]")
        cell.screenshot(path=folder / f"{name}-{theme}.png")


def _command(page: Any, name: str, **arguments: str) -> None:
    """Execute a command of JupyterLab, as its menus do, and wait for its end."""
    page.evaluate("([name, arguments]) => window.jupyterapp.commands.execute(name, arguments)", [name, arguments])


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
