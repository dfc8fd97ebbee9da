"""The archive of a DL/T 698.45 terminal: 6000 (采集档案配置表), attribute 2, and its methods.

New entries are added by AddBatch (128). What is there is changed by Update of the basic part (129), for whether adding a number again
overwrites is said nowhere; the parameter of Update is taken to be the pair that its name says, which no public frame shows. Of methods
132-134 none is used: Clear (134) forgets every meter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from protocols.dlt698 import values
from protocols.dlt698.frame import Address, tsa, tsa_address
from protocols.dlt698.requests import Act, Get
from protocols.dlt698.values import Data
from protocols.errors import FrameError, Misuse
from terminals.drivers.driver import Meter, Script
from terminals.drivers.entry import Entry
from terminals.drivers.held import Held
from terminals.drivers.station698 import Station698

TABLE: Final = 0x60000200
ADD_BATCH: Final = 0x60008000
UPDATE_BASIC: Final = 0x60008100
DELETE: Final = 0x60008300

#: enum 波特率; 0 here is 255 there, 自适应: what the port has by itself.
BAUDS: Final = (300, 600, 1200, 2400, 4800, 7200, 9600, 19200, 38400, 57600, 115200)
ADAPTIVE: Final = 255
#: enum 规约类型.
PROTOCOLS: Final = {1: "dlt645-1997", 2: "dlt645-2007", 3: "dlt698", 4: "cjt188"}
_CODES: Final = {name: code for code, name in PROTOCOLS.items()}
#: How many entries a terminal keeps differs, and the number has 16 bits: a free one is sought below what Q/GDW 376.1 allows.
LAST: Final = 2040
#: What a new entry has: DL/T 645-2007 at the first RS-485 port (F201), as the driver has it, at the port's own speed; a single-phase meter
#: of 220 V and 1.5 A, user type 1, no ratios. Defaults that no source gives; what the archive says goes over them.
BLANK: Final = Entry(
    0, 0, "", "dlt645-2007", "F2010201",
    more={"tariffs": 4, "user": 1, "wiring": 1, "volts": 2200, "amps": 15, "collector": "0" * 12, "asset": "00" * 6, "pt": 1, "ct": 1,
          "annex": "0100"},
)  # fmt: skip


class Archive698:
    """terminals.drivers.held.Shelf.

    written  entries in one AddBatch: 8 are some 700 bytes, below the 1024 of an APDU that every terminal takes
    """

    needs_point = False
    blank = BLANK
    last = LAST

    def __init__(self, station: Station698, *, written: int = 8) -> None:
        self._station = station
        self.written = written

    def held(self, whom: Meter, numbers: Sequence[int] | None = None) -> Script[Held]:
        """The table is read whole: it comes in blocks. FrameError: it is none."""
        table: Data = yield Get(TABLE)
        if table.tag != values.ARRAY:
            raise FrameError(f"6000: {values.NAMES.get(table.tag, table.tag)} where an array must be")
        entries = tuple(entry_at(row) for row in table.value)
        if numbers is None:
            return Held(entries)
        return Held(tuple(entry for entry in entries if entry.number in set(numbers)))

    def write(self, whom: Meter, entries: Sequence[Entry], held: Sequence[Entry] = ()) -> Script[None]:
        """AddBatch of what is new, Update of what is there. Misuse: nothing or too much."""
        if not 0 < len(entries) <= self.written:
            raise Misuse(f"archive: {len(entries)} entries in one write; 1 to {self.written} are allowed")
        for entry in entries:
            if not 0 < entry.number <= 0xFFFF:
                raise Misuse(f"archive: there is no entry {entry.number}")
        there = {entry.number for entry in held}
        for entry in entries:
            if entry.number in there:
                yield Act(UPDATE_BASIC, values.structure(_u16(entry.number), _basic(entry)))
        new = [row_of(entry) for entry in entries if entry.number not in there]
        if new:
            yield Act(ADD_BATCH, values.array(*new))

    def erase(self, whom: Meter, entry: Entry) -> Script[None]:
        """Delete (131), by the number."""
        yield Act(DELETE, _u16(entry.number))


def _u16(number: int) -> Data:
    return Data(values.LONG_UNSIGNED, number)


def row_of(entry: Entry) -> Data:
    """采集档案配置单元. Misuse: a field that its type has no value for."""
    more = entry.more
    extended = values.structure(
        Data(values.TSA, tsa(Address(str(more["collector"])))), Data(values.OCTET_STRING, bytes.fromhex(str(more["asset"]))),
        _u16(int(more["pt"])), _u16(int(more["ct"])),
    )  # fmt: skip
    return values.structure(
        _u16(entry.number), _basic(entry), extended, values.decode(bytes.fromhex(str(more["annex"])))
    )


def _basic(entry: Entry) -> Data:
    """基本信息."""
    more = entry.more
    try:
        baud = BAUDS.index(entry.baud) if entry.baud else ADAPTIVE
        port = int(entry.port, 16)
    except ValueError:
        raise Misuse(
            f"archive: port {entry.port!r} or {entry.baud} baud is nothing that DL/T 698.45 has"
        ) from None
    code = _CODES.get(entry.protocol)
    if code is None:
        name, _, number = entry.protocol.partition(" ")
        if name != "code" or not number.isdecimal():
            raise Misuse(f"archive: DL/T 698.45 has no code for {entry.protocol!r}")
        code = int(number)
    return values.structure(
        Data(values.TSA, tsa(Address(entry.address))), Data(values.ENUM, baud), Data(values.ENUM, code), Data(values.OAD, port),
        Data(values.OCTET_STRING, bytes.fromhex(entry.password or "00" * 6)), Data(values.UNSIGNED, int(more["tariffs"])),
        Data(values.UNSIGNED, int(more["user"])), Data(values.ENUM, int(more["wiring"])), _u16(int(more["volts"])), _u16(int(more["amps"])),
    )  # fmt: skip


def entry_at(row: Data) -> Entry:
    """The way back. FrameError: not such a row."""
    try:
        number, basic, extended, annex = row.value
        server, baud, code, port, secret, tariffs, user, wiring, volts, amps = basic.value
        collector, asset, pt, ct = extended.value
        more: dict[str, Any] = {
            "tariffs": tariffs.value, "user": user.value, "wiring": wiring.value, "volts": volts.value, "amps": amps.value,
            "collector": tsa_address(collector.value).digits, "asset": asset.value.hex(), "pt": pt.value, "ct": ct.value,
            "annex": values.encode(annex).hex(),
        }  # fmt: skip
        speed = 0 if baud.value == ADAPTIVE else BAUDS[baud.value]
        return Entry(
            number.value, number.value, tsa_address(server.value).digits, PROTOCOLS.get(code.value, f"code {code.value}"),
            f"{port.value:08X}", speed, more, secret.value.hex(),
        )  # fmt: skip
    except (TypeError, ValueError, AttributeError, IndexError):
        raise FrameError("6000: a row that is no entry of the archive table") from None
