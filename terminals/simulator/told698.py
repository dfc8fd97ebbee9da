"""What a DL/T 698.45 concentrator has been told: its archive (6000), tasks (6012) and schemes (6014), as the rows that came, kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from protocols.dlt698 import values
from protocols.dlt698.frame import Address, tsa
from protocols.dlt698.values import Csd, Data, Road
from terminals.simulator.notebook import Notebook

ARCHIVE, TASKS, SCHEMES = 0x6000, 0x6012, 0x6014
#: A row from the beginning: 2400 baud, DL/T 645-2007, the first RS-485 port, no password, 4 tariffs, user type 1, single-phase, 220 V, 1.5 A;
#: no collector, no asset number, ratios 1, nothing attached.
_BEGINNING: Final = bytes.fromhex("020412")
_BASIC: Final = bytes.fromhex("1603160251F20102010906000000000000110411011601120898")
_EXTENDED: Final = bytes.fromhex("12000F020455070500000000000009060000000000001200011200010100")


class No(Exception):
    """It is not taken."""


class Told698:
    """`addresses`: of the meters that it has in its archive from the beginning, with tasks for all it can collect; none: from the factory,
    and it collects nothing. `freezes`: those that it can collect."""

    def __init__(self, addresses: Sequence[str], freezes: Sequence[int], path: Path | None = None) -> None:
        self._book = Notebook(path)
        self._begun = tuple(addresses)
        self._freezes = tuple(freezes)
        self._servers: frozenset[bytes] | None = None

    def table(self, oi: int) -> Data:
        """Attribute 2 of an object."""
        rows = sorted(self._rows(oi).items())
        return values.array(*(values.decode(raw) for _, raw in rows))

    def collects(self, server: bytes, freeze: int) -> bool:
        """Whether the meter is in the archive and a task that runs has a scheme for that freeze."""
        if not self._book.read():
            return server in self._known()
        return server in self._known() and freeze in self._running()

    def act(self, omd: int, parameter: Data) -> None:
        """A method. No: it does not exist here, or the parameter is none of it."""
        oi, method = omd >> 16, omd >> 8 & 0xFF
        try:
            if method == 127 and oi in (TASKS, SCHEMES):
                self._add(oi, parameter.value)
            elif (oi, method) == (ARCHIVE, 127):
                self._add(oi, (parameter,))
            elif (oi, method) == (ARCHIVE, 128):
                self._add(oi, parameter.value)
            elif (oi, method) == (ARCHIVE, 129):
                number, basic = parameter.value
                _, _, extended, annex = values.decode(self._rows(oi)[number.value]).value
                self._add(oi, (values.structure(number, basic, extended, annex),))
            elif (oi, method) == (ARCHIVE, 131):
                rows = dict(self._rows(oi))
                del rows[parameter.value]
                self._keep(oi, rows)
            else:
                raise No
        except (TypeError, ValueError, AttributeError, KeyError, IndexError):
            raise No from None

    # --- inside ---

    def _add(self, oi: int, new: Sequence[Data]) -> None:
        rows = dict(self._rows(oi))
        for row in new:
            rows[row.value[0].value] = values.encode(row)
        self._keep(oi, rows)

    def _rows(self, oi: int) -> dict[int, bytes]:
        kept = self._book.read()
        if not kept and oi == ARCHIVE:
            return {k: _row(k, address) for k, address in enumerate(self._begun, start=1)}
        if not kept and oi == SCHEMES and self._begun:
            return {k: _scheme(k, freeze) for k, freeze in enumerate(self._freezes, start=1)}
        prefix = f"{oi:04X}."
        return {int(name[5:]): raw for name, raw in kept.items() if name.startswith(prefix)}

    def _keep(self, oi: int, rows: dict[int, bytes]) -> None:
        tables = {each: self._rows(each) for each in (ARCHIVE, TASKS, SCHEMES)} | {oi: rows}
        self._servers = None
        # the mark: an archive that was emptied is not one that nobody has written yet
        kept = {
            f"{each:04X}.{number}": raw for each, found in tables.items() for number, raw in found.items()
        }
        self._book.write(kept | {"!": b""})

    def _known(self) -> frozenset[bytes]:
        if self._servers is None:
            rows = (values.decode(raw) for raw in self._rows(ARCHIVE).values())
            self._servers = frozenset(row.value[1].value[0].value for row in rows)
        return self._servers

    def _running(self) -> set[int]:
        """Freezes of the schemes that a task runs."""
        tasks = [values.decode(raw).value for raw in self._rows(TASKS).values()]
        named = {task[3].value for task in tasks if task[2].value == 1 and task[8].value == 1}
        if not self._rows(TASKS) and self._begun:  # from the beginning
            named = set(self._rows(SCHEMES))
        schemes = [values.decode(raw).value for raw in self._rows(SCHEMES).values()]
        columns: list[Csd] = [
            column.value for row in schemes if row[0].value in named for column in row[3].value
        ]
        return {column.oad for column in columns if isinstance(column, Road)}


def _row(number: int, address: str) -> bytes:
    server = tsa(Address(address))
    head = _BEGINNING + number.to_bytes(2, "big") + bytes((values.STRUCTURE, 10, values.TSA, len(server)))
    return head + server + _BASIC + _EXTENDED


def _scheme(number: int, freeze: int) -> bytes:
    """By the freeze's time, all meters, stored as frozen."""
    row = values.structure(
        Data(values.UNSIGNED, number), Data(values.LONG_UNSIGNED, 100), values.structure(Data(values.UNSIGNED, 2), Data(values.NULL)),
        values.array(Data(values.CSD, Road(freeze, (0x20210200, 0x00100200)))), Data(values.MS, values.ALL_METERS), Data(values.ENUM, 6),
    )  # fmt: skip
    return values.encode(row)
