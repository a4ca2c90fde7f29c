"""`pgmagic run`: real notebooks in real kernels."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pgmagic import server

pytestmark = pytest.mark.slow

PROTECTED = """%%pgtrigger
class Post(models.Model):
    title = models.CharField(max_length=20)
    class Meta:
        triggers = [pgtrigger.Protect(name="keep", operation=pgtrigger.Delete)]
"""


def test_passing_notebook_is_executed_and_not_changed(pgmagic, make_notebook, home):
    path = make_notebook("good.ipynb", "%load_ext pgmagic", PROTECTED, "Post.objects.create(title='x')", "1 / 1")
    before, changed = path.read_bytes(), path.stat().st_mtime_ns
    done = pgmagic("run", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed  good.ipynb  (4 cells, " in done.stdout
    assert done.stdout.splitlines()[-1].startswith("1 notebook passed")
    assert done.stderr == ""
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, changed)
    assert list(path.parent.iterdir()) == [path]
    assert not server.status(home).running


def test_failing_cell_is_shown_and_the_others_are_executed(pgmagic, make_notebook, tmp_path):
    make_notebook("notebooks/1.ipynb", "x = [1]", "x[7]  # [bold] is no markup", "print('never')")
    make_notebook("notebooks/2.ipynb", "import os\nos._exit(3)")
    make_notebook("notebooks/3.ipynb", "1 / 1")
    (tmp_path / "notebooks" / "4.ipynb").write_text("{")
    done = pgmagic("run")
    assert done.returncode == 1
    assert "FAILED  1.ipynb, cell 2 of 3  (" in done.stdout
    assert "        x[7]  # [bold] is no markup\n" in done.stdout
    assert "IndexError: list index out of range\n" in done.stdout
    assert "FAILED  2.ipynb, cell 1 of 1  (" in done.stdout
    assert "The kernel ended" in done.stdout
    assert "passed  3.ipynb" in done.stdout
    assert "This notebook cannot be read" in done.stdout
    assert "3 of 4 notebooks failed: 1.ipynb, 2.ipynb, 4.ipynb" in done.stdout
    assert done.stderr == ""


def test_rejected_statement_fails_the_notebook(pgmagic, make_notebook):
    path = make_notebook("reject.ipynb", "%load_ext pgmagic", PROTECTED, "Post.objects.create(title='x').delete()")
    done = pgmagic("run", path)
    assert done.returncode == 1
    assert "FAILED  reject.ipynb, cell 3 of 3" in done.stdout
    assert "pgtrigger: Cannot delete rows from notebook_post table" in done.stdout


def test_cell_that_exceeds_the_timeout_fails(pgmagic, make_notebook):
    done = pgmagic("run", "--timeout", 1, make_notebook("slow.ipynb", "import time\ntime.sleep(60)"))
    assert done.returncode == 1
    assert "took longer than 1 seconds" in done.stdout


def test_html_copy_has_outputs_and_the_notebook_file_has_none(pgmagic, make_notebook, tmp_path):
    path = make_notebook("shown.ipynb", "print('five', 2 + 3)", "1 / 0")
    before = path.read_bytes()
    assert pgmagic("run", path, "--html", "out/html").returncode == 1
    html = (tmp_path / "out" / "html" / "shown.html").read_text(encoding="utf-8")
    assert "<title>shown</title>" in html
    assert "five 5" in html
    assert "ZeroDivisionError" in html
    assert path.read_bytes() == before


def test_two_notebooks_with_the_same_name_cannot_share_an_html_file(pgmagic, make_notebook):
    done = pgmagic("run", make_notebook("a/x.ipynb"), make_notebook("b/x.ipynb"), "--html", "out")
    assert done.returncode == 1
    assert "would both become x.html" in done.stderr


def test_run_without_any_notebook_is_an_error(pgmagic, tmp_path):
    done = pgmagic("run", PYTHONPATH=_copy_of_package(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith(f"pgmagic: There is no notebook in {tmp_path / 'notebooks'}")


def test_kernel_runs_this_python_in_the_folder_of_the_notebook(pgmagic, make_notebook, tmp_path):
    # A registered kernel of the name that the notebook asks for, as `ipykernel install --user` leaves behind.
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps({"argv": ["/bin/false"], "display_name": "x", "language": "python"}))
    path = make_notebook(
        "deep/where.ipynb",
        "import os, sys\nprint(sys.executable, os.getcwd(), os.environ['PGMAGIC_NOTEBOOK'], sep='|')",
    )
    done = pgmagic("run", "deep/where.ipynb", "--html", ".", JUPYTER_PATH=str(tmp_path / "jupyter"))
    assert done.returncode == 0, done.stdout
    html = (tmp_path / "where.html").read_text(encoding="utf-8")
    assert f"{sys.executable}|{path.parent}|{path}" in html


def test_relative_home_is_relative_to_the_folder_of_the_command(pgmagic, make_notebook, tmp_path, home):
    path = make_notebook("deep/home.ipynb", "import os\nprint(os.environ['PGMAGIC_HOME'])")
    # A URL that answers, so that no second server is set up.
    with server.acquire(home) as lease:
        url = f"postgresql://pgmagic@/pgmagic?host={lease.conninfo['host']}&port={lease.conninfo['port']}"
        done = pgmagic("run", path, "--html", ".", PGMAGIC_HOME="here", PGMAGIC_DATABASE_URL=url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(tmp_path / "here") in (tmp_path / "home.html").read_text(encoding="utf-8")


def test_unreachable_database_is_reported_in_one_line_without_the_password(pgmagic, make_notebook):
    url = "postgresql://me:s3cret@127.0.0.1:1/nothing"
    done = pgmagic("run", make_notebook("any.ipynb", "1"), PGMAGIC_DATABASE_URL=url)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("pgmagic: Cannot connect to postgresql://me:***@127.0.0.1:1/nothing")
    assert "s3cret" not in done.stdout + done.stderr


@pytest.mark.usefixtures("heeded_signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt_leaves_neither_kernel_nor_server(number, start_long_run, home):
    process, kernel = start_long_run()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "pgmagic: interrupted\n"
    assert not psutil.pid_exists(kernel)
    assert not server.status(home).running


@pytest.mark.usefixtures("heeded_signals")
def test_background_job_ends_on_sigterm_but_not_on_sigint(start_long_run):
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    process, kernel = start_long_run()
    for number in (signal.SIGINT, signal.SIGHUP):
        process.send_signal(number)
    time.sleep(1)
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not psutil.pid_exists(kernel)


@pytest.fixture
def start_long_run(environment, make_notebook, tmp_path):
    """A function that starts `pgmagic run` on an endless notebook, and returns the process and its kernel's number."""

    def start():
        path = make_notebook("long.ipynb", "import os\nopen('kernel', 'w').write(str(os.getpid()))", "while True: pass")
        process = subprocess.Popen(
            [sys.executable, "-m", "pgmagic.cli", "run", str(path)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return process, _number_in(tmp_path / "kernel")

    return start


def _number_in(path: Path) -> int:
    """The number in a file that somebody else is about to write."""
    for _ in range(600):
        if path.exists() and (text := path.read_text()):
            return int(text)
        time.sleep(0.1)
    raise AssertionError(f"nobody wrote {path}")


def _copy_of_package(folder: Path) -> str:
    """A path to import pgmagic from, beside which there are no notebooks, as where it is installed."""
    shutil.copytree(Path(__file__).parents[2] / "pgmagic", folder / "library" / "pgmagic")
    return str(folder / "library")
