"""`headend` as its users call it."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from headend.cli import main

#: what a terminal that is not there would be told to show
SCREEN = {"COLUMNS": "80", "TERM": "dumb", "NO_COLOR": ""}


@dataclass(frozen=True, slots=True)
class Said:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The only line on standard error of a command that failed."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self
        assert "Traceback" not in self.err
        return lines[0]

    def json(self) -> Any:
        assert "\x1b" not in self.out
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Shell:
    """Runs `headend` with an environment of its own: called in this process, which is quick, or as a process."""

    env: Mapping[str, str]

    def __call__(self, *arguments: str, **more: str) -> Said:
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name in set(os.environ) - set(self.env):
                patch.delenv(name)
            for name, value in {**self.env, **more}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["headend", *arguments])
            with pytest.raises(SystemExit) as left:
                main()
        structlog.reset_defaults()  # it would go on writing to `err`
        return Said(int(left.value.code or 0), out.getvalue(), err.getvalue())

    def process(self, *arguments: str, **more: str) -> Said:
        """The same as a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "headend", *arguments], env={**self.env, **more}, capture_output=True,
            text=True, encoding="utf-8", timeout=60, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        return Said(done.returncode, done.stdout, done.stderr)

    def start(self, log: Path, *arguments: str) -> subprocess.Popen[bytes]:
        """A process that stays; what it says goes to `log`."""
        with log.open("wb") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "headend", *arguments], env=dict(self.env), stdout=out, stderr=out,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip


def environment(**more: str) -> dict[str, str]:
    """Ours without the settings that a developer may have exported."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("HEADEND_")}
    return {**bare, **SCREEN, "PYTHONUTF8": "1", "OPENBLAS_NUM_THREADS": "1", **more}


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return int(probe.getsockname()[1])
