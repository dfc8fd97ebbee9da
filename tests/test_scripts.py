"""What a newcomer runs: the scripts parse, say what they want, and the locks hold what pyproject.toml asks for."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SHELL = [
    path
    for path in (*(REPOSITORY / "scripts").iterdir(), REPOSITORY / ".ci" / "run")
    if path.is_file() and path.read_bytes().startswith(b"#!/usr/bin/env bash")
]


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_shell_scripts_parse_stop_at_errors_and_are_executable(path: Path) -> None:
    subprocess.run(["bash", "-n", path], check=True)
    assert "\nset -euo pipefail\n" in path.read_text()
    assert os.access(path, os.X_OK)


@pytest.mark.parametrize("script", ["setup", "timescaledb", "timescale-licensed"])
def test_wrong_arguments_get_one_line(script: str) -> None:
    done = subprocess.run(
        [REPOSITORY / "scripts" / script, "nonsense"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"{script}: usage: scripts/{script} .+\n", done.stderr)


def pins(name: str) -> dict[str, str]:
    found = re.findall(r"^([a-z0-9.-]+)==([^ \\]+)", (REPOSITORY / name).read_text(), re.MULTILINE)
    return dict(found)


def test_the_locks_have_every_direct_dependency_with_hashes_and_no_addresses() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    run, groups = project["project"]["dependencies"], project["dependency-groups"]
    wanted_by = {
        "requirements.lock": run,
        "requirements-dev.lock": [*run, *groups["dev"]],
        "requirements-truth.lock": [*run, *groups["truth"]],
    }
    name = re.compile(r"^[A-Za-z0-9.-]+")
    for lock, wanted in wanted_by.items():
        names = {match[0].lower() for item in wanted if isinstance(item, str) and (match := name.match(item))}
        assert names <= set(pins(lock)), f"run scripts/lock: {lock} is out of date"
        text = (REPOSITORY / lock).read_text()
        assert "://" not in text
        assert "--index" not in text
        for block in re.split(r"\n(?=[a-z])", text)[1:]:
            assert "--hash=sha256:" in block
    both = pins("requirements.lock")
    assert both == {name: version for name, version in pins("requirements-dev.lock").items() if name in both}


def test_the_lock_of_npm_has_hashes_and_no_addresses() -> None:
    folder = REPOSITORY / "scripts" / "_licensed"
    lock = json.loads((folder / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    assert {f"node_modules/{name}" for name in wanted} <= set(packages)
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name
    assert "://" not in (folder / "package-lock.json").read_text()


def redirect_symbols() -> ModuleType:
    path = REPOSITORY / "scripts" / "redirect_symbols.py"
    spec = importlib.util.spec_from_file_location("redirect_symbols", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(sys.platform != "linux", reason="ELF")
def test_a_library_that_needs_more_than_the_system_has_is_refused() -> None:
    redirect = redirect_symbols().redirect
    mapped = Path("/proc/self/maps").read_text()
    library = Path(re.findall(r"(/\S+_struct\S*\.so|/\S*libm\.so\.6)", mapped)[0]).read_bytes()
    assert redirect(library, (99, 0)) == (library, [])
    _, refused = redirect(library, (2, 0))
    assert refused
    assert all(isinstance(name, str) for name in refused)
    assert redirect(b"#!/bin/sh", (2, 36)) == (b"#!/bin/sh", ["not an ELF file of 64 bit, little endian"])
