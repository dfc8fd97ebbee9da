"""The wheel holds the five packages with their tables and schema, and works away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("headend", "protocols", "terminals", "tariffs", "lineloss")


def test_the_wheel_is_complete_and_works_elsewhere(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (REPOSITORY / name).exists():
            shutil.copy(REPOSITORY / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--wheel-dir", tmp_path, source], check=True, capture_output=True, text=True)
    (wheel,) = tmp_path.glob("headend-*.whl")

    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        archive.extractall(tmp_path / "installed")
    kept = {
        path.relative_to(REPOSITORY).as_posix()
        for package in PACKAGES
        for path in files(REPOSITORY / package)
    }
    assert packed == kept

    code = "import pkgutil, importlib\n" + "".join(f"import {package}\n" for package in PACKAGES) + (
        "from headend.store.migrate import _numbered, files\n"
        "assert _numbered(files('headend.store') / 'schema')\n"
        "print(headend.__file__)"
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith(str(tmp_path / "installed"))


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
