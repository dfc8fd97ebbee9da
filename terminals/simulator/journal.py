"""Files that grow by a line at a time and outlive the process that writes them."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO


class Damaged(Exception):
    """A file of an earlier run that nothing can be continued with; one line says which, why, and what to do."""


class Journal:
    """Appends lines, flushed together: a killed process leaves none unwritten. Half a line that power's failure left is cut off."""

    def __init__(self, path: Path) -> None:
        if path.exists():
            data = path.read_bytes()
            if data and not data.endswith(b"\n"):
                with path.open("r+b") as file:
                    file.truncate(data.rfind(b"\n") + 1)
        self._file: TextIO = path.open("a", encoding="utf-8")

    def write(self, *lines: str) -> None:
        """These lines, whole."""
        self._file.write("".join(f"{line}\n" for line in lines))
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def lines(path: Path, most: int) -> list[str]:
    """The whole lines of a file; none when it does not exist. Damaged: it has more than `most` bytes, or is no text."""
    if not path.exists():
        return []
    if path.stat().st_size > most:
        raise Damaged(f"{path} has more than {most >> 20} MiB; remove it, or begin in another folder")
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise Damaged(
            f"{path} is no text at byte {error.start}; remove it, and what it said is forgotten"
        ) from None
    return text[: text.rfind("\n") + 1].splitlines()


def damaged(path: Path, number: int, why: object) -> Damaged:
    """For a line that cannot be read, counted from 1."""
    return Damaged(
        f"{path} line {number} cannot be read ({why}); remove the file, and what it said is forgotten"
    )
