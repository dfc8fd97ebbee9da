"""The meter model of this release, as data: which objects there are, what the profiles capture, how the
relay moves.

Driver and simulator share it. The driver takes from it only where things are; positions, scalers and units
come from the meter.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from protocols.dlms import values
from protocols.reading import REGISTER_QUANTITIES, SLOT_QUANTITIES

LOAD_PROFILE: Final = "1.0.99.1.0.255"
DAY_PROFILE: Final = "1.0.99.2.0.255"
EVENT_LOG: Final = "0.0.99.98.0.255"
CLOCK: Final = "0.0.1.0.0.255"
DISCONNECT: Final = "0.0.96.3.10.255"

REGISTER_CLASS: Final = 3
PROFILE_CLASS: Final = 7
CLOCK_CLASS: Final = 8
DISCONNECT_CLASS: Final = 70

#: Attributes and methods by number (Blue Book, IC 3, 7, 8, 70).
VALUE: Final = 2
SCALER_UNIT: Final = 3
BUFFER: Final = 2
CAPTURE_OBJECTS: Final = 3
CAPTURE_PERIOD: Final = 4
PROFILE_ENTRIES: Final = 8
TIME: Final = 2
OUTPUT_STATE: Final = 2
CONTROL_STATE: Final = 3
CONTROL_MODE: Final = 4
REMOTE_DISCONNECT: Final = 1
REMOTE_RECONNECT: Final = 2

#: Seconds between rows of the load profile, and of the day profile.
LOAD_PERIOD: Final = 900
DAY_PERIOD: Final = 86_400
#: Rows a meter of this model keeps: ten days of quarter hours, 62 days.
LOAD_ENTRIES: Final = 960
DAY_ENTRIES: Final = 62

#: Units (Blue Book, enumeration of physical units, IC 3): W, var, Wh, A, V.
WATT: Final = 27
VAR: Final = 29
WATT_HOUR: Final = 30
AMPERE: Final = 33
VOLT: Final = 35


@dataclass(frozen=True, slots=True)
class Item:
    """One row of items.csv. `tag` is the A-XDR type; `scaler`, `unit`, `quantity` are None or "" for
    non-registers.
    """

    class_id: int
    obis: str
    attribute: int
    name_en: str
    name_zh: str
    tag: int
    scaler: int | None
    unit: int | None
    quantity: str
    clause: str


@cache
def items() -> tuple[Item, ...]:
    """The table, in its order."""
    text = files("protocols.dlms").joinpath("items.csv").read_text(encoding="utf-8")
    tags = {name: tag for tag, name in values.NAMES.items()}
    return tuple(
        Item(
            int(row["class_id"]),
            row["logical_name"],
            int(row["attribute"]),
            row["name_en"],
            row["name_zh"],
            tags[row["type"]],
            int(row["scaler"]) if row["scaler"] else None,
            int(row["unit"]) if row["unit"] else None,
            row["quantity"],
            row["clause"],
        )
        for row in csv.DictReader(text.splitlines())
    )


@cache
def by_quantity() -> dict[str, Item]:
    """Quantity code -> the register that carries it."""
    return {item.quantity: item for item in items() if item.quantity}


@cache
def by_name() -> dict[tuple[int, str, int], Item]:
    """(class, logical name, attribute) -> Item."""
    return {(item.class_id, item.obis, item.attribute): item for item in items()}


def item_of(class_id: int, obis: str, attribute: int) -> Item | None:
    """The row of an attribute; of an object's other attributes the first row there is."""
    found = by_name().get((class_id, obis, attribute))
    return found or _first_rows().get((class_id, obis))


@cache
def _first_rows() -> dict[tuple[int, str], Item]:
    return {(item.class_id, item.obis): item for item in reversed(items())}


def slot_quantities(phases: int) -> tuple[str, ...]:
    """What a meter of 1 or 3 phases captures in its load profile, behind the clock column."""
    return tuple(code for code in SLOT_QUANTITIES if phases == 3 or not code.endswith(("_b", "_c")))


def day_quantities() -> tuple[str, ...]:
    """What a meter captures in its day profile, behind the clock column."""
    return REGISTER_QUANTITIES


# --- disconnect control (Blue Book, IC 70, version 0) ---

DISCONNECTED: Final = 0
CONNECTED: Final = 1
READY: Final = 2  # ready_for_reconnection: the customer may close it

#: Event and state -> the standard's name of the transition, and the state it leads to.
TRANSITIONS: Final = {
    "a": ("remote_reconnect", DISCONNECTED, CONNECTED),
    "b": ("remote_disconnect", CONNECTED, DISCONNECTED),
    "c": ("remote_disconnect", READY, DISCONNECTED),
    "d": ("remote_reconnect", DISCONNECTED, READY),
    "e": ("manual_reconnect", READY, CONNECTED),
    "f": ("manual_disconnect", CONNECTED, READY),
    "g": ("local_disconnect", CONNECTED, READY),
    "h": ("local_reconnect", READY, CONNECTED),
}
#: control_mode -> the transitions it has. Mode 0: always connected. Remote reconnect closes directly (a)
#: only in 2 and 4.
MODES: Final = {0: "", 1: "bcfgde", 2: "bcfgae", 3: "bcgde", 4: "bcgae", 5: "bcfgdeh", 6: "bcgdeh"}


def relay_step(mode: int, state: int, event: str) -> int:
    """The control state after an event; unchanged where the mode has no such transition."""
    for letter in MODES.get(mode, ""):
        name, begin, end = TRANSITIONS[letter]
        if name == event and begin == state:
            return end
    return state
