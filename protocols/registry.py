"""Which protocols there are, one line each. A room is imported when asked for: a missing one breaks none."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from protocols.errors import FrameError, Misuse, ProtocolError
from protocols.part import Part


@dataclass(frozen=True, slots=True)
class ProtocolEntry:
    """`room` is the package that holds frame, values, exchange and describe.

    carries  frames of the others, inside its own
    marked   a frame begins with bytes that say whose it is; without them only its check sum speaks for it
    """

    name: str
    title: str
    room: str
    carries: bool = False
    marked: bool = True

    def describe(self, raw: bytes, *, reveal: bool = False) -> dict[str, Any]:
        """One frame in words. FrameError if it is corrupt; passwords and keys only with `reveal`."""
        inner = {"inner": partial(_open, reveal=reveal)} if self.carries else {}
        told: dict[str, Any] = self._room().describe(raw, reveal=reveal, **inner)
        return told

    def parts(self, raw: bytes, *, reveal: bool = False) -> list[Part]:
        """The same frame range by range, from its first byte to its last. Errors as `describe`."""
        told: list[Part] = self._room().parts(raw, reveal=reveal)
        return told

    def _room(self) -> Any:
        return import_module(f"{self.room}.describe")


PROTOCOLS = (
    ProtocolEntry("dlt645-2007", "DL/T 645-2007 multi-function meters", "protocols.dlt645"),
    ProtocolEntry("dlt645-1997", "DL/T 645-1997 multi-function meters", "protocols.dlt645.edition1997"),
    ProtocolEntry("gdw376", "Q/GDW 376.1 master to terminal", "protocols.gdw376", carries=True),
    ProtocolEntry("dlt698", "DL/T 698.45 object-oriented terminals and meters", "protocols.dlt698"),
    ProtocolEntry("dlms", "DLMS/COSEM over the TCP wrapper and HDLC", "protocols.dlms"),
    ProtocolEntry("modbus-tcp", "Modbus TCP", "protocols.modbus.tcp"),
    ProtocolEntry("modbus-rtu", "Modbus RTU", "protocols.modbus.rtu", marked=False),
    ProtocolEntry("iec62056-21", "IEC 62056-21 modes A to C", "protocols.iec62056_21"),
)  # fmt: skip


@cache
def available() -> dict[str, ProtocolEntry]:
    """name -> protocol, of the rooms that are installed."""
    return {entry.name: entry for entry in PROTOCOLS if _installed(f"{entry.room}.describe")}


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package that would hold it is missing
        return False


def protocol(name: str) -> ProtocolEntry:
    """Misuse, naming the choices, if there is no such protocol."""
    found = available().get(name)
    if found is None:
        raise Misuse(f"no protocol {name!r}; there are: {', '.join(available())}")
    return found


def recognise(raw: bytes) -> ProtocolEntry:
    """The first protocol of the list that takes these bytes for one whole frame.

    FrameError if none does: the complaint of the one that got furthest, since that is most likely the protocol meant.
    """
    nearest: tuple[int, str, FrameError] | None = None
    for name, entry in available().items():
        try:
            entry.describe(raw)
        except FrameError as error:
            reached = error.offset if entry.marked and error.offset is not None else -1
            if nearest is None or reached > nearest[0]:
                nearest = reached, name, error
        except ProtocolError:
            continue
        else:
            return entry
    if nearest is None:
        raise FrameError("no protocol is installed that could be tried")
    _, name, complaint = nearest
    raise FrameError(f"no protocol takes it; nearest is {name}: {complaint.message}", complaint.offset)


def _open(raw: bytes, *, reveal: bool) -> tuple[str, dict[str, Any]] | None:
    """A forwarded frame in words, under the name of its protocol; None if no protocol takes it."""
    for name, entry in available().items():
        if entry.carries:
            continue
        try:
            told = entry.describe(raw, reveal=reveal)
        except ProtocolError:
            continue
        return name.replace("-", "_"), {key: value for key, value in told.items() if not key.endswith("_zh")}
    return None
