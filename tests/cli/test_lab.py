"""`pgmagic lab`: a real JupyterLab, without a browser."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from pgmagic import server

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("heeded_signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_lab_keeps_the_server_running(number, environment, make_notebook, tmp_path, home):
    make_notebook("notebooks/00_first.ipynb", "1")
    environment = {**environment, "HOME": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")}
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pgmagic.cli",
            "lab",
            "--",
            "--no-browser",
            f"--port={_free_port()}",
            "--ip=127.0.0.1",
        ],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("pgmagic 0.")
        address = _address(process)
        names = [entry["name"] for entry in _contents(address)]
        assert names == ["00_first.ipynb"]
        assert server.status(home).attached == 1
        process.send_signal(number)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert not server.status(home).running


def test_lab_without_a_database_does_not_start(pgmagic):
    done = pgmagic("lab", "--", "--no-browser", PGMAGIC_DATABASE_URL="postgresql://me:s3cret@127.0.0.1:1/nothing")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "s3cret" not in done.stdout + done.stderr


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _address(process: subprocess.Popen[str]) -> str:
    """Where JupyterLab says that it can be reached, token included."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://127\.0\.0\.1:\d+/\S*\?token=\w+", line):
            return found[0]
    raise AssertionError("JupyterLab ended without an address")


def _contents(address: str) -> list[dict[str, str]]:
    """What JupyterLab's file browser lists."""
    url = re.sub(r"(:\d+)/[^?]*", r"\1/api/contents", address)
    for _ in range(100):
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 - on loopback
                content: list[dict[str, str]] = json.load(answer)["content"]
                return content
        except urllib.error.URLError:
            # It prints its address before it listens there.
            time.sleep(0.1)
    raise AssertionError(f"nobody listens at {url}")
