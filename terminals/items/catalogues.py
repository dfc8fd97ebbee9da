"""Protocol name in the archive -> what its meters can be asked, and the asking of several items in one turn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from protocols.modbus.maps import meter_map, models
from terminals.drivers.dlt698 import Dlt698Driver
from terminals.drivers.driver import Driver, Meter, Script
from terminals.drivers.gdw376 import Gdw376Driver
from terminals.drivers.modbus import unit_of
from terminals.items.dlms import DlmsItems
from terminals.items.dlt645 import Dlt645Items
from terminals.items.dlt698 import Dlt698Items
from terminals.items.item import MOST, Catalogue, Item, Told, UnknownItem
from terminals.items.modbus import ModbusItems


class _Behind:
    """A DL/T 645 meter's items through the terminal in front of it: what is told is the meter's, of this moment."""

    def __init__(self, driver: Gdw376Driver | Dlt698Driver) -> None:
        self._driver = driver
        self._items = Dlt645Items()

    def find(self, text: str) -> tuple[Item, ...]:
        return self._items.find(text)

    def ask(self, meter: Meter, item: Item) -> Script[tuple[Told, ...]]:
        return (yield from self._driver.through(meter, self._items.ask(meter, item)))


class _Either:
    """The first catalogue that has the item; an item remembers which."""

    def __init__(self, *catalogues: Catalogue) -> None:
        self._catalogues = catalogues

    def find(self, text: str) -> tuple[Item, ...]:
        complaint = UnknownItem(text)
        for number, catalogue in enumerate(self._catalogues):
            try:
                return tuple(
                    Item(item.code, item.name_en, item.name_zh, (number, item))
                    for item in catalogue.find(text)
                )
            except UnknownItem as error:
                complaint = error if number == 0 else complaint
        raise complaint

    def ask(self, meter: Meter, item: Item) -> Script[tuple[Told, ...]]:
        number, inner = item.key
        told: tuple[Told, ...] = yield from self._catalogues[number].ask(meter, inner)
        return told


def catalogue_of(driver: Driver, address: str) -> Catalogue:
    """UnknownItem where nothing can be asked by name: terminals that publish by themselves. Misuse: a Modbus address without a model."""
    if isinstance(driver, Gdw376Driver):
        return _Behind(driver)
    if isinstance(driver, Dlt698Driver):
        return _Either(Dlt698Items(), _Behind(driver))
    if driver.name == "dlt645-2007":
        return Dlt645Items()
    if driver.name.startswith("dlms"):
        return DlmsItems()
    if driver.name.startswith("modbus"):
        return ModbusItems(unit_of(address).table)
    raise UnknownItem(
        f"meters of protocol {driver.name} are not asked for single items: they publish what they have"
    )


def known(text: str) -> None:
    """UnknownItem if no protocol at all has such an item: said before anybody looks up which protocol a meter speaks."""
    complaint: UnknownItem | None = None
    of_maps = (ModbusItems(meter_map(model)) for model in models())
    catalogues: tuple[Catalogue, ...] = (Dlt645Items(), DlmsItems(), Dlt698Items(), *of_maps)
    for catalogue in catalogues:
        try:
            catalogue.find(text)
        except UnknownItem as error:
            complaint = complaint or error
        else:
            return
    if complaint is not None:
        raise complaint


def find_all(catalogue: Catalogue, texts: Sequence[str]) -> tuple[Item, ...]:
    """Every item once, in the order asked. UnknownItem for the first that is none, or for too many."""
    found = {item.code: item for text in texts for item in catalogue.find(text)}
    if len(found) > MOST:
        raise UnknownItem(f"{len(found)} items at once; at most {MOST}, or others on the line wait too long")
    return tuple(found.values())


def ask_all(catalogue: Catalogue, meter: Meter, items: Iterable[Item]) -> Script[tuple[Told, ...]]:
    """One after the other."""
    told: list[Told] = []
    for item in items:
        told += yield from catalogue.ask(meter, item)
    return tuple(told)
