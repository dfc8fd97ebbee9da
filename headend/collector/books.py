"""What is written to a terminal, as keys and values that an order can keep: entries of its archive by number, settings by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from terminals.drivers.archive376 import Archive376
from terminals.drivers.archive698 import Archive698
from terminals.drivers.control import Controls, Term
from terminals.drivers.control376 import Control376
from terminals.drivers.control698 import Control698
from terminals.drivers.driver import Meter, Script
from terminals.drivers.entry import Change, Entry, entry_of
from terminals.drivers.held import Shelf
from terminals.drivers.settings import Settings
from terminals.drivers.settings376 import Settings376
from terminals.drivers.settings698 import Settings698
from terminals.drivers.station376 import Station376
from terminals.drivers.station698 import Station698


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that is written, as an order's request has it. `was` None: nothing is there; `becomes` None: it is taken out."""

    key: str
    was: Any
    becomes: Any

    def document(self) -> dict[str, Any]:
        return {"key": self.key, "was": self.was, "becomes": self.becomes}


@dataclass(frozen=True, slots=True)
class Found:
    """What a terminal holds, by key, as JSON has it. `denied`: what it refused to tell. `secrets`: never leaves the process."""

    held: Mapping[str, Any]
    denied: tuple[tuple[int, int], ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


class Book(Protocol):
    """`most`: items in one write."""

    most: int

    def read(self, whom: Meter, keys: Sequence[str] | None) -> Script[Found]:
        """What is there under these keys; None: under all."""

    def write(self, whom: Meter, items: Sequence[Item], found: Found) -> Script[None]:
        """Make it so; `found`: what is there now."""


class ArchiveBook:
    """Entries of the archive; the key is the entry's number."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.most = shelf.written

    def read(self, whom: Meter, keys: Sequence[str] | None) -> Script[Found]:
        held = yield from self.shelf.held(whom, None if keys is None else [int(key) for key in keys])
        return Found(
            {str(entry.number): entry.document() for entry in held.entries},
            held.denied,
            {str(entry.number): entry.password for entry in held.entries},
        )

    def write(self, whom: Meter, items: Sequence[Item], found: Found) -> Script[None]:
        """What is taken out is taken out first: a point cannot be in two entries."""
        entries: list[Entry] = []
        for item in items:
            if item.becomes is None:
                yield from self.shelf.erase(whom, entry_of(item.was, found.secrets.get(item.key, "")))
            else:
                entries.append(entry_of(item.becomes, found.secrets.get(item.key, "")))
        if entries:
            there = [entry_of(found.held[item.key]) for item in items if item.key in found.held]
            yield from self.shelf.write(whom, entries, there)


class SettingsBook:
    """Parameters or tasks; the value is their bytes as hex digits. One a write: what is denied must not take others with it."""

    most = 1

    def __init__(self, settings: Settings, names: Iterable[str] | None) -> None:
        self._settings = settings
        self._names = None if names is None else tuple(names)

    def read(self, whom: Meter, keys: Sequence[str] | None) -> Script[Found]:
        found = yield from self._settings.read(whom, self._names if keys is None else keys)
        return Found({name: raw.hex() for name, raw in found.items() if raw is not None})

    def write(self, whom: Meter, items: Sequence[Item], found: Found) -> Script[None]:
        for item in items:
            yield from self._settings.write(whom, item.key, bytes.fromhex(item.becomes))


class ControlBook:
    """Load control; the value is a document as headend/control/load_steps.py has it. One a write.

    `term`: what a command says of its own time when it is written; None: nothing."""

    most = 1

    def __init__(self, controls: Controls, term: Callable[[], Term | None] = lambda: None) -> None:
        self._controls = controls
        self._term = term

    def read(self, whom: Meter, keys: Sequence[str] | None) -> Script[Found]:
        held = yield from self._controls.read(whom, keys or ())
        return Found({name: dict(value) for name, value in held.items()})

    def write(self, whom: Meter, items: Sequence[Item], found: Found) -> Script[None]:
        for item in items:
            yield from self._controls.write(whom, item.key, item.becomes, self._term())


def shelf_of(protocol: str) -> Shelf:
    """KeyError: terminals of that protocol hold no archive."""
    return _SHELVES[protocol]()


def settings_of(protocol: str) -> Settings:
    """KeyError as above."""
    return _SETTINGS[protocol]()


def controls_of(protocol: str) -> Controls:
    """KeyError as above."""
    return _CONTROLS[protocol]()


def book_of(protocol: str, kind: str) -> Book:
    """The book of an order's kind. KeyError as above."""
    if kind == "archive":
        return ArchiveBook(shelf_of(protocol))
    settings = settings_of(protocol)
    return SettingsBook(settings, settings.parameters if kind == "parameters" else settings.tasks)


def items_of(changes: Iterable[Change]) -> list[Item]:
    """Changes of an archive as items."""
    return [
        Item(
            str(change.number),
            change.was.document() if change.was else None,
            change.becomes.document() if change.becomes else None,
        )
        for change in changes
    ]


_SHELVES: Final[Mapping[str, Callable[[], Shelf]]] = {
    "gdw376": lambda: Archive376(Station376()),
    "dlt698": lambda: Archive698(Station698()),
}
_SETTINGS: Final[Mapping[str, Callable[[], Settings]]] = {
    "gdw376": lambda: Settings376(Station376()),
    "dlt698": lambda: Settings698(Station698()),
}
_CONTROLS: Final[Mapping[str, Callable[[], Controls]]] = {
    "gdw376": lambda: Control376(Station376()),
    "dlt698": Control698,
}
