"""What our archive wants in a terminal's own, and the difference to what it holds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any, Final

from headend.collector.books import Item, shelf_of
from headend.store.archive import Installed
from terminals.drivers import settings698
from terminals.drivers.entry import Difference, Wish, difference, entry_of

#: what is kept with an installation by these names is its entry's; of what is not kept there the archive says nothing, for its column
#: `protocol` is what the terminal speaks with us, not with the meter
PORT: Final = "port"
PROTOCOL: Final = "meter_protocol"
BAUD: Final = "baud"


def wishes(rows: Iterable[Installed]) -> list[Wish]:
    """Each installed meter, but the terminal's own metering, which needs no entry."""
    return [
        Wish(
            row.asset, row.pn, row.address, row.secrets.get(PROTOCOL), row.secrets.get(PORT),
            int(row.secrets[BAUD]) if BAUD in row.secrets else None, _more(row),
        )
        for row in rows
        if row.address != row.terminal
    ]  # fmt: skip


def _more(row: Installed) -> Mapping[str, int | str]:
    if row.protocol == "gdw376":
        return {"digits": min(max(row.digits, 4), 7)}  # two bits hold no more
    return {"wiring": 3 if row.phases == 3 else 1}


def compare(protocol: str, held: Mapping[str, Any], rows: Iterable[Installed]) -> Difference:
    """`held`: the documents of a read order, by key."""
    shelf = shelf_of(protocol)
    entries = [entry_of(document) for document in held.values()]
    return difference(entries, wishes(rows), shelf.blank, needs_point=shelf.needs_point, last=shelf.last)


def tasks(held: Mapping[str, str], begin: dt.datetime) -> list[Item]:
    """Schemes and tasks that a DL/T 698.45 terminal lacks, or has otherwise. `begin`: naive local time from which new tasks run."""
    items = []
    for name, raw in settings698.wanted(begin).items():
        was = held.get(name)
        if not settings698.same_task(name, None if was is None else bytes.fromhex(was), raw):
            items.append(Item(name, was, raw.hex()))
    return items
