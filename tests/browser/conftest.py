"""A real JupyterLab in a real browser."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from pgmagic import server
from tests.browser.tables import TABLES

ROOT = Path(__file__).parents[2]
# As root, Chromium has no sandbox; headless machines have no graphics card; and tests reach nothing but loopback.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
# JupyterLab asks once whether to show its makers' news, in front of everything else.
NO_NEWS = '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}'


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of an installed Chromium or Chrome."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("no chromium, chromium-browser or google-chrome is installed here")


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for screenshots: PGMAGIC_SCREENSHOTS, or a temporary one."""
    named = os.environ.get("PGMAGIC_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def lab(chromium: str, database_url: str | None) -> Iterator[str]:
    """The address, with a token, of JupyterLab on a copy of the notebooks, started by `pgmagic lab`."""
    # As root, the server's account has to get through to the embedded server's home.
    base = Path(tempfile.mkdtemp(prefix="pgmagic-lab-", dir=Path(tempfile.gettempdir()).resolve()))
    base.chmod(0o755)
    shutil.copytree(ROOT / "notebooks", base / "notebooks", ignore=shutil.ignore_patterns(".*"))
    shutil.copytree(ROOT / "data", base / "data")
    _write_readme_notebook(base / "notebooks" / "readme.ipynb")
    _write_notebook(base / "notebooks" / "tables.ipynb", TABLES)
    settings = base / "settings"
    settings.mkdir()
    (settings / "overrides.json").write_text(NO_NEWS)
    port, token = _free_port(), secrets.token_hex(16)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pgmagic.cli", "lab", "--", "--no-browser"),
            *("--ip=127.0.0.1", f"--port={port}", f"--IdentityProvider.token={token}"),
            f"--LabApp.app_settings_dir={settings}",
            # As `window.jupyterapp`, so that tests can call its commands by name.
            "--LabApp.expose_app_in_browser=True",
        ],
        cwd=base,
        env=_environment(base, database_url),
        stdin=subprocess.DEVNULL,
        stdout=(base / "log").open("w"),
        stderr=subprocess.STDOUT,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/api", process, base / "log")
        yield f"{address}/lab?token={token}"
    finally:
        process.terminate()
        process.wait(timeout=60)
        if database_url is None:
            server.stop(base / "home")
        shutil.rmtree(base)


@pytest.fixture
def page(chromium: str, screenshots: Path) -> Iterator[Any]:
    """A new window of a new headless browser, at twice the usual number of pixels; its last state is photographed.

    New for each test: while it runs, Playwright keeps an event loop in this thread, which others could not bear.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        context = browser.new_context(viewport={"width": 1400, "height": 1000}, device_scale_factor=2)
        window = context.new_page()
        yield window
        window.screenshot(path=screenshots / "last.png")
        browser.close()


def _write_readme_notebook(path: Path) -> None:
    """Write a notebook of the README's cells."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    _write_notebook(path, re.findall(r"^```python\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL))


def _write_notebook(path: Path, sources: list[str]) -> None:
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    nbformat.write(new_notebook(cells=list(map(new_code_cell, sources)), metadata={"kernelspec": kernel}), path)


def _environment(base: Path, database_url: str | None) -> dict[str, str]:
    """The environment of `pgmagic lab`: nothing of this machine's own Jupyter, and the database under test."""
    inherited = {
        name: value for name, value in os.environ.items() if not re.match("PGMAGIC_|DJANGO_|JPY_|JUPYTER_|PG", name)
    }
    database = {"PGMAGIC_DATABASE_URL": database_url} if database_url else {}
    return {
        **inherited,
        **database,
        "PGMAGIC_HOME": str(base / "home"),
        "PYTHONPATH": str(ROOT),
        "JUPYTER_CONFIG_DIR": str(base / "jupyter"),
        "JUPYTER_DATA_DIR": str(base / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(base / "jupyter" / "runtime"),
    }


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - on loopback
                return
        except urllib.error.URLError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())
