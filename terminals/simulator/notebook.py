"""Named bytes that outlive the process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path


class Notebook:
    """`path` None: they live as long as the process."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._kept: dict[str, bytes] | None = None

    def read(self) -> Mapping[str, bytes]:
        """What was written last; nothing before."""
        if self._kept is None:
            self._kept = {}
            if self._path is not None and self._path.exists():
                found = json.loads(self._path.read_text(encoding="utf-8"))
                self._kept = {name: bytes.fromhex(raw) for name, raw in found.items()}
        return self._kept

    def write(self, kept: Mapping[str, bytes]) -> None:
        """All of it; the file appears whole."""
        self._kept = dict(kept)
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        new.write_text(
            json.dumps({name: raw.hex() for name, raw in kept.items()}, indent=0), encoding="utf-8"
        )
        new.replace(self._path)
