"""A TimescaleDB with licence `timescale` for tests: scripts/timescale-licensed, one client at a time."""

from __future__ import annotations

import os
import re
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
#: WebAssembly is compiled and a cluster made: 5 s here, and a busy machine has its own pace
START_SECONDS = 100.0


@contextmanager
def server() -> Iterator[str]:
    """The DSN while it runs. Skips where it cannot be had, in continuous integration (CI in the environment) fails."""
    script = REPOSITORY / "scripts" / "timescale-licensed"
    done = subprocess.run([script, "prepare"], capture_output=True, text=True, check=False)
    if done.returncode:
        if os.environ.get("CI"):
            pytest.fail(done.stderr.strip())
        pytest.skip(done.stderr.strip())
    # it ends with our end of the pipe, however we end
    with subprocess.Popen(
        [script, "run"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        ready, _, _ = select.select([running.stdout], [], [], START_SECONDS)
        said = running.stdout.readline() if ready else ""
        found = re.fullmatch(r"export HEADEND_DSN='(.+)'\n", said)
        if found is None:
            running.kill()
            pytest.fail(f"scripts/timescale-licensed run: {running.stderr.read()[-2000:]}")
        yield found[1]
        running.terminate()
