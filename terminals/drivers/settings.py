"""What a terminal is set to, as named pieces of bytes: parameters and tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from terminals.drivers.driver import Meter, Script


class Settings(Protocol):
    """The settings of terminals of one protocol. Stateless. A name that the protocol does not have is Misuse.

    parameters, tasks   names that are read where none are given; for tasks, None: all that the terminal has
    """

    parameters: tuple[str, ...]
    tasks: tuple[str, ...] | None

    def read(self, whom: Meter, names: Iterable[str] | None) -> Script[Mapping[str, bytes | None]]:
        """Each as bytes; None: the terminal has none, or denies it. None for `names`: all tasks."""

    def write(self, whom: Meter, name: str, raw: bytes) -> Script[None]:
        """Refused: the terminal denies it."""
