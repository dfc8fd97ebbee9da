"""What a Q/GDW 376.1 concentrator has been told: its archive (AFN 04 F10), parameters and tasks, as the bytes that came, kept on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from protocols.gdw376.exchange import Part
from protocols.gdw376.units import ident
from protocols.gdw376.values import Unit
from terminals.simulator.notebook import Notebook

ARCHIVE: Final = 10
#: Bytes of one entry: serial 2, point 2, speed and port 1, protocol 1, address 6, password 6, tariffs 1, digits 1, collector 6, class 1.
ROW: Final = 27
_POINT, _ADDRESS = slice(2, 4), slice(6, 12)
#: Port 31 at its own speed, DL/T 645-2007.
_LINE: Final = bytes((31, 30))
#: No password, 4 tariffs, 6 digits and 2 decimals, no collector, class 0.
_REST: Final = bytes(6) + bytes((4, 0b1001)) + bytes(6) + b"\0"
#: From the factory: no delay, 10 minutes, no retries, no services to confirm, a heartbeat each minute; and the address of nobody.
_FACTORY: Final = {"F1": bytes((0, 10, 0, 0, 0, 1)), "F3": bytes(28), "F9": bytes(16)}
#: What else it takes, where it is told.
_TAKES: Final = (1, 3, 9, 33, 65, 66, 67, 68)


class Told376:
    """`addresses`: of the meters that it has in its archive from the beginning, points counted from 1; none: from the factory."""

    def __init__(self, addresses: Sequence[str], path: Path | None = None) -> None:
        self._book = Notebook(path)
        self._begun = tuple(addresses)
        self._rows: dict[int, bytes] | None = None

    def rows(self) -> dict[int, bytes]:
        """Entries by their number."""
        if self._rows is None:
            kept = self._book.read()
            rows = {int(k[1:]): raw for k, raw in kept.items() if k[0] == "#"}
            if not kept:
                rows = {
                    k: k.to_bytes(2, "little") * 2 + _LINE + bytes.fromhex(address)[::-1] + _REST
                    for k, address in enumerate(self._begun, start=1)
                }
            self._rows = rows
        return self._rows

    def points(self) -> dict[int, str]:
        """Measuring point -> the address that is read for it. An entry of another protocol than 645 is read by nobody here."""
        return {
            int.from_bytes(row[_POINT], "little"): row[_ADDRESS][::-1].hex()
            for row in self.rows().values()
            if row[5] in (1, 30)
        }

    # --- AFN 0A ---

    def told(self, units: Sequence[Unit]) -> Iterator[Part]:
        """What there is of what was asked."""
        for unit in units:
            data = self._entries(unit) if unit.function == ARCHIVE else self._setting(unit)
            if data is not None:
                yield ident([unit.point], [unit.function]), [data]

    def _entries(self, unit: Unit) -> bytes | None:
        asked = [value.value for value in unit.values[1:]]
        rows = [self.rows()[number] for number in asked if isinstance(number, int) and number in self.rows()]
        return len(rows).to_bytes(2, "little") + b"".join(rows) if rows else None

    def _setting(self, unit: Unit) -> bytes | None:
        name = _name(unit)
        return self._book.read().get(name, _FACTORY.get(name))

    # --- AFN 04 ---

    def tell(self, units: Sequence[Unit]) -> bool:
        """Take what is written; False: it is denied, and nothing of it is taken."""
        if not units or not all(unit.function in (ARCHIVE, *_TAKES) and unit.known for unit in units):
            return False
        for unit in units:
            if unit.function == ARCHIVE:
                self._take(unit.data)
            else:
                self._book.write({**self._kept(), _name(unit): unit.data})
        return True

    def _take(self, data: bytes) -> None:
        rows = dict(self.rows())
        for at in range(2, len(data), ROW):
            row = data[at : at + ROW]
            number, point = int.from_bytes(row[:2], "little"), row[_POINT]
            if any(point):
                rows[number] = row
            else:
                rows.pop(number, None)
        self._rows = rows
        self._book.write(self._kept())

    def _kept(self) -> dict[str, bytes]:
        settings = {name: raw for name, raw in self._book.read().items() if name[0] != "#"}
        return settings | {f"#{number}": row for number, row in self.rows().items()} | {"!": b""}


def _name(unit: Unit) -> str:
    return f"F{unit.function}.{unit.point}" if unit.point else f"F{unit.function}"
