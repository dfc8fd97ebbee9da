"""Which blocks to read for a set of quantities: few requests, within what the meter allows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from protocols.modbus.maps import MeterMap, Row


@dataclass(frozen=True, slots=True)
class Block:
    """One request: `count` registers from `address`."""

    function: int
    address: int
    count: int


def blocks(
    table: MeterMap, codes: Iterable[str], *, most: int | None = None, gap: int | None = None
) -> list[Block]:
    """The requests that fetch these quantities and the factors they need, by function and address.

    most  registers a request may ask for; the map's own limit unless a line or gateway wants fewer
    gap   unused registers worth reading over; the map's own by default
    Values are never torn between two requests: their halves would be of different moments. Misuse for a quantity the meter lacks.
    """
    most = min(most or table.most, table.most)
    gap = table.gap if gap is None else gap
    found: list[Block] = []
    for row in sorted(table.wanted(codes), key=lambda row: (row.function, row.address, row.size)):
        last = found[-1] if found else None
        if last is not None and _joins(last, row, most, gap):
            end = max(last.address + last.count, row.end)
            found[-1] = Block(last.function, last.address, end - last.address)
        else:
            found.append(Block(row.function, row.address, row.size))
    return found


def _joins(last: Block, row: Row, most: int, gap: int) -> bool:
    near = row.address <= last.address + last.count + gap
    return row.function == last.function and near and row.end - last.address <= most
