"""The command line. One file a command group; this one finds them and turns errors into one line and an exit code."""

from __future__ import annotations

from headend.cli.main import main

__all__ = ["main"]
