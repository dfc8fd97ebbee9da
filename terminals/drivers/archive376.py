"""The archive of a Q/GDW 376.1 terminal: AFN 04 F10 writes entries by their number, AFN 0A F10 asks for them by it.

An entry with measuring point 0 is no entry: that is how one is erased, so nothing but `erase` ever writes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from protocols.errors import FrameError, Misuse, Refused
from protocols.gdw376.exchange import Order, Read, Reply
from protocols.gdw376.frame import Address
from protocols.gdw376.units import LAST_POINT, ident
from protocols.gdw376.values import Typed, Unit, encode
from terminals.drivers.driver import Meter, Script
from terminals.drivers.entry import Entry
from terminals.drivers.held import Held
from terminals.drivers.station376 import Station376, password

ARCHIVE: Final = 10
#: Fields of one entry in a unit.
_FIELDS: Final = 10
#: D7-D5 of the byte "speed and port". 0: what the port has by itself.
BAUDS: Final = (0, 600, 1200, 2400, 4800, 7200, 9600, 19200)
#: Which code a DL/T 698.45 meter has differs by province, so it has none here: a code without a name stays 'code N'.
PROTOCOLS: Final = {1: "dlt645-1997", 2: "ac-sampling", 30: "dlt645-2007", 31: "narrow-band-carrier"}
_CODES: Final = {name: code for code, name in PROTOCOLS.items()}
#: What a new entry has: port 31, the carrier module, by convention; 4 tariffs; 6 digits and 2 decimals; a residential single-phase user.
BLANK: Final = Entry(
    0,
    0,
    "",
    "dlt645-2007",
    "31",
    more={"tariffs": 4, "digits": 6, "decimals": 2, "collector": "0" * 12, "class": 0},
)
_NO_PASSWORD: Final = "00" * 6


class Archive376:
    """terminals.drivers.held.Shelf.

    asked, written  entries in one request. 8 of 27 bytes with the password make 246 bytes, and on radio channels 255 are allowed; an answer
                    may come in several frames, so more are asked for
    last            the highest number asked for; the standard has 2040
    """

    needs_point = True
    blank = BLANK

    def __init__(
        self, station: Station376, *, asked: int = 64, written: int = 8, last: int = LAST_POINT
    ) -> None:
        self._station = station
        self._asked = asked
        self.written = written
        self.last = last

    def held(self, whom: Meter, numbers: Sequence[int] | None = None) -> Script[Held]:
        """All entries, or those of `numbers`. A terminal that has none of those asked for denies, or says that it has 0, or fills its
        answer with points 0: it says the same of an empty archive and of one that it does not tell. So what was denied is told, too.

        FrameError: the answer cannot be read, or is about other entries."""
        wanted = list(range(1, self.last + 1)) if numbers is None else sorted(set(numbers))
        entries: list[Entry] = []
        denied: list[tuple[int, int]] = []
        for begin in range(0, len(wanted), self._asked):
            some = wanted[begin : begin + self._asked]
            data = encode(0x0A, ARCHIVE, [len(some), *some], uplink=False)
            try:
                reply: Reply = yield Read(self._station.address(whom), (0,), (ARCHIVE,), 0x0A, data)
            except Refused:
                denied.append((some[0], some[-1]))
                continue
            found = list(_entries(reply))
            strange = {entry.number for entry in found} - set(some)
            if strange:
                raise FrameError(f"archive: entry {min(strange)} was not asked for")
            entries += [entry for entry in found if entry.point]
        return Held(tuple(entries), tuple(denied))

    def write(self, whom: Meter, entries: Sequence[Entry], held: Sequence[Entry] = ()) -> Script[None]:
        """One AFN 04 F10. Misuse: nothing, too much, or what would erase. Refused: the terminal denies it."""
        if not 0 < len(entries) <= self.written:
            raise Misuse(f"archive: {len(entries)} entries in one write; 1 to {self.written} are allowed")
        for entry in entries:
            if not (0 < entry.point <= LAST_POINT and 0 < entry.number <= LAST_POINT):
                raise Misuse(
                    f"archive: entry {entry.number} with point {entry.point}: that would erase it, or be none"
                )
        yield _order(self._station.address(whom), whom, [_values(entry) for entry in entries])

    def erase(self, whom: Meter, entry: Entry) -> Script[None]:
        """One entry, as it is, with point 0. Misuse: it is none."""
        if not 0 < entry.number <= LAST_POINT:
            raise Misuse(f"archive: there is no entry {entry.number} to erase")
        number, _, *rest = _values(entry)
        yield _order(self._station.address(whom), whom, [[number, 0, *rest]])


def _order(address: Address, whom: Meter, rows: Sequence[Sequence[Typed]]) -> Order:
    data = encode(0x04, ARCHIVE, [len(rows), *(value for row in rows for value in row)], uplink=False)
    return Order(address, 0x04, ((ident([0], [ARCHIVE]), [data]),), password(whom))


def _entries(reply: Reply) -> Iterator[Entry]:
    for unit in reply.units:
        if (unit.point, unit.function) != (0, ARCHIVE):
            continue
        if not unit.known:
            raise FrameError(f"AFN 0A F{ARCHIVE}: {unit.why}")
        yield from rows_of(unit)


def rows_of(unit: Unit) -> Iterator[Entry]:
    """The entries of one unit of AFN 04 or 0A F10."""
    values: list[Any] = [value.value for value in unit.values[1:]]
    for at in range(0, len(values), _FIELDS):
        number, point, line, code, address, secret, tariffs, digits, collector, kind = values[
            at : at + _FIELDS
        ]
        more = {
            "tariffs": tariffs, "digits": (digits >> 2 & 3) + 4, "decimals": (digits & 3) + 1, "collector": collector or _unset(), "class": kind,
        }  # fmt: skip
        yield Entry(
            number, point, address or "", PROTOCOLS.get(code, f"code {code}"), str(line & 0x1F), BAUDS[line >> 5], more, secret.hex()
        )  # fmt: skip


def _unset() -> str:
    return "0" * 12


def _values(entry: Entry) -> list[Typed]:
    """Misuse: a field that the byte has no room for."""
    port, more = entry.port, entry.more
    if not port.isdecimal() or not 0 < int(port) <= 31:
        raise Misuse(f"archive: {port!r} is no port of a terminal (1-31)")
    if entry.baud not in BAUDS:
        raise Misuse(f"archive: no code for {entry.baud} baud; there are {', '.join(map(str, BAUDS))}")
    code = _CODES.get(entry.protocol)
    if code is None:
        name, _, number = entry.protocol.partition(" ")
        if name != "code" or not number.isdecimal() or int(number) > 255:
            raise Misuse(f"archive: Q/GDW 376.1 has no code for {entry.protocol!r}")
        code = int(number)
    digits = (int(more["digits"]) - 4 & 3) << 2 | int(more["decimals"]) - 1 & 3
    return [
        entry.number, entry.point, BAUDS.index(entry.baud) << 5 | int(port), code, entry.address,
        bytes.fromhex(entry.password or _NO_PASSWORD), int(more["tariffs"]), digits, str(more["collector"]), int(more["class"]),
    ]  # fmt: skip
