"""Where the nightly batch keeps what is finished, and how its files appear.

    FOLDER/billing-DAY.manifest.json             names the set: each file with its rows, bytes and SHA-256
    FOLDER/billing-DAY-lines.0f1e2d3c4b5a.csv    a file bears the beginning of its hash: no set overwrites another
    FOLDER/.billing-DAY/7                        tile 7 of a run that is at work, or that broke off

The manifest comes last and in one step, so a reader who goes by it has one set, whole: the old one or the new one. The files of the set before
stay for whoever is still reading them; those of the one before that go.

A tile that is finished is one file, under the hash of all that was read for it. A run that begins again reads that again, and takes the tile if it
is the same to the last bit: then what became of it would be the same, too. Half a file has another hash than it says, and is no tile.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final

#: hex digits of its hash in a file's name
DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Piece:
    """What became of a tile. sheets: its rows of each file, as bytes; rows: how many; facts: what JSON holds."""

    sheets: Mapping[str, bytes]
    rows: Mapping[str, int]
    facts: Mapping[str, Any]


def text(rows: Iterable[Sequence[Any]]) -> bytes:
    """Rows of a CSV file."""
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue().encode()


class Desk:
    """The finished tiles of a span."""

    def __init__(self, folder: Path, stem: str) -> None:
        self.folder, self.place = folder, folder / f".{stem}"

    def open(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True)

    def find(self, number: int, inputs: str) -> Piece | None:
        """The tile, if it is there, whole, and of these inputs."""
        try:
            seal, _, rest = (self.place / str(number)).read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        if seal.decode("ascii", "replace") != hashlib.sha256(rest).hexdigest():
            return None
        head, _, body = rest.partition(b"\n")
        told = json.loads(head)
        if told["inputs"] != inputs:
            return None
        sheets, at = {}, 0
        for name, size in told["sizes"].items():
            sheets[name], at = body[at : at + size], at + size
        return Piece(sheets, told["rows"], told["facts"])

    def keep(self, number: int, inputs: str, piece: Piece) -> None:
        sizes = {name: len(part) for name, part in piece.sheets.items()}
        head = {"inputs": inputs, "sizes": sizes, "rows": piece.rows, "facts": piece.facts}
        rest = b"".join((json.dumps(head).encode(), b"\n", *piece.sheets.values()))
        # a name of its own: whoever lost the database, and its lock with it, may not know it yet
        part = self.place / f"{number}.{os.getpid()}.part"
        try:
            part.write_bytes(hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest)
            part.replace(self.place / str(number))
        finally:
            part.unlink(missing_ok=True)

    def kept(self) -> int:
        """How many tiles lie here."""
        return sum(path.name.isdecimal() for path in self.place.iterdir()) if self.place.is_dir() else 0

    def clear(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)


class _Sheet:
    """One file as it grows, under another name until it is whole."""

    def __init__(self, part: Path, columns: Sequence[str]) -> None:
        self._part = part
        self._rows = self._bytes = 0
        self._hash = hashlib.sha256()
        self._out: BinaryIO = part.open("wb")
        self.write(text([columns]), 0)

    def write(self, body: bytes, rows: int) -> None:
        self._out.write(body)
        self._hash.update(body)
        self._bytes += len(body)
        self._rows += rows

    def seal(self, path: Path) -> dict[str, Any]:
        """On the disk, under the name that its content gives it; what the manifest says of it."""
        self._out.flush()
        os.fsync(self._out.fileno())
        digest = self._hash.hexdigest()
        final = path.with_name(f"{path.name}.{digest[:DIGITS]}.csv")
        self._part.replace(final)
        return {"name": final.name, "rows": self._rows, "bytes": self._bytes, "sha256": digest}

    def close(self) -> None:
        try:
            self._out.close()
        finally:
            self._part.unlink(missing_ok=True)


class FileSet:
    """The files of a span as they are made: `add` and `rows`, then `seal` while nothing is decided yet, then `publish`."""

    def __init__(self, desk: Desk, stem: str, sheets: Mapping[str, Sequence[str]]) -> None:
        desk.open()
        self._desk, self._folder, self._stem = desk, desk.folder, stem
        self._manifest = self._folder / f"{stem}.manifest.json"
        self._sealed = desk.place / f"manifest.{os.getpid()}.part"
        self._kept: set[str] = set()
        self._stack = ExitStack()
        self._sheets: dict[str, _Sheet] = {}
        with self._stack:
            for name, columns in sheets.items():
                self._sheets[name] = _Sheet(desk.place / f"{name}.{os.getpid()}.part", columns)
                self._stack.callback(self._sheets[name].close)
            self._stack = self._stack.pop_all()

    def __enter__(self) -> FileSet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, piece: Piece) -> None:
        for name, body in piece.sheets.items():
            self._sheets[name].write(body, piece.rows[name])

    def rows(self, name: str, rows: Sequence[Sequence[Any]]) -> None:
        self._sheets[name].write(text(rows), len(rows))

    def seal(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """The files with their names, and the manifest on the disk but not in its place. Returns it, with the files."""
        told = [sheet.seal(self._folder / f"{self._stem}-{name}") for name, sheet in self._sheets.items()]
        manifest = {**manifest, "files": told}
        with self._sealed.open("wb") as out:
            out.write((json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode())
            out.flush()
            os.fsync(out.fileno())
        _sync(self._folder)
        self._kept = _names(self._manifest) | {file["name"] for file in told}
        return manifest

    def publish(self) -> None:
        """The set is there from now on, and what it was made of is not needed any more."""
        self._sealed.replace(self._manifest)
        _sync(self._folder)
        mine = re.compile(rf"{re.escape(self._stem)}-({'|'.join(self._sheets)})\.[0-9a-f]{{{DIGITS}}}\.csv")
        for path in self._folder.iterdir():
            if mine.fullmatch(path.name) and path.name not in self._kept:
                path.unlink(missing_ok=True)
        self._desk.clear()


def _names(manifest: Path) -> set[str]:
    """The files of the set that a manifest names; none without one that can be read."""
    try:
        return {file["name"] for file in json.loads(manifest.read_bytes())["files"]}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return set()


def _sync(folder: Path) -> None:
    """A name is on the disk when its folder is."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
