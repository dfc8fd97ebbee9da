"""The command line. One file a command group; this one finds them and turns errors into one line and an exit code."""

from __future__ import annotations

import os

# Before numpy is loaded: an area's matrices are too small to be shared among threads, which would wait for each other most of the time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from headend.cli.main import main

__all__ = ["main"]
