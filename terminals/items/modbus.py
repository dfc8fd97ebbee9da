"""Modbus: the rows of the meter's register map, by their id, name or quantity."""

from __future__ import annotations

from protocols.errors import Refused
from protocols.modbus.maps import MeterMap, Row, factor_id
from protocols.modbus.requests import ReadRegisters, Registers
from protocols.modbus.values import Value, number, scaled
from protocols.modbus.values import plain as plain_value
from protocols.quantity import quantities
from terminals.drivers.driver import Meter, Script
from terminals.drivers.modbus import unit_of
from terminals.items.item import Item, Told, plain, quantity_of, unknown


class ModbusItems:
    """terminals.items.item.Catalogue of one model. An item's key: the row."""

    def __init__(self, table: MeterMap) -> None:
        self._table = table

    def find(self, text: str) -> tuple[Item, ...]:
        wanted, code = plain(text), quantity_of(text)
        for row in self._table.rows:
            if code is not None and row.quantity == code:
                return (_item(row),)
            if wanted in (plain(row.id), plain(row.name_en), plain(row.name_zh)):
                return (_item(row),)
        names = [name for row in self._table.rows for name in (row.quantity or row.id, row.name_zh)]
        raise unknown(text, names)

    def ask(self, meter: Meter, item: Item) -> Script[tuple[Told, ...]]:
        row: Row = item.key
        try:
            value = yield from self._value(meter, row)
        except Refused as refused:
            return (Told(item.code, item.name_en, item.name_zh, refused=str(refused)),)
        return (Told(item.code, item.name_en, item.name_zh, plain_value(value), row.unit, row.quantity),)

    def _value(self, meter: Meter, row: Row) -> Script[Value]:
        """The row's number with its factors, which are rows of their own."""
        factors: dict[str, Value] = {}
        for term in row.factor:
            other = self._table.by_id()[factor_id(term)]
            factors[other.id] = scaled(other, (yield from _raw(meter, other)), {})
        return scaled(row, (yield from _raw(meter, row)), factors)


def _raw(meter: Meter, row: Row) -> Script[Value]:
    answer: Registers = yield ReadRegisters(
        unit_of(meter.address).number, row.address, row.size, row.function
    )
    return number(row, answer.data)


def _item(row: Row) -> Item:
    known = quantities().get(row.quantity)
    return Item(row.id, known.name_en if known else row.name_en, known.name_zh if known else row.name_zh, row)
