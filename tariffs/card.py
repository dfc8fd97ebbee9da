"""The image of a meter that holds kWh bought by card (卡表): what is left in it, as far as we know, from what was bought and what its register says.

    remaining = bought and not settled - (register - last settled register)

Money becomes energy at the price of the day it is paid; what does not make 1e-4 kWh is carried over to the next purchase, so that
nothing is lost or made. When the price changes, what remains is converted by its value, explicitly. The meter knows none of this: it
counts its own kWh down. Nobody is cut off by the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from protocols.reading import MISSING
from tariffs.money import FEN, text_of
from tariffs.registers import ROLL_OVER, advance

#: below it the customer should buy, and very soon [1e-4 kWh]: defaults, no public text says how much
LOW1, LOW2 = 500_000, 100_000
#: what nobody asks for a kWh is a price that was mistyped [1e-4 yuan]
DEAREST: Final = 100_0000
LEVELS: Final = ("ok", "warn1", "warn2", "used-up")


class CardError(ValueError):
    """The image cannot follow from this; one sentence says why."""


@dataclass(frozen=True, slots=True)
class Image:
    """energy    converted and not settled [1e-4 kWh], as of the settled register; below zero more was used than bought
    settled   the register then [1e-4 kWh]
    price     at which money becomes energy [1e-4 yuan/kWh]
    rest      money that made no whole 1e-4 kWh yet [1e-8 yuan]
    """

    energy: int
    settled: int
    price: int
    rest: int = 0

    @property
    def value(self) -> int:
        """What is held, in 1e-8 yuan: no step but use and purchases changes it."""
        return self.energy * self.price + self.rest


def opened(register: int, price: int, energy: int = 0) -> Image:
    """An image begins with a register, a price, and what the meter shows as left."""
    if abs(energy) >= ROLL_OVER:
        raise CardError(f"no card holds {text_of(energy)} kWh")
    return Image(energy, _shown(register), _asked(price))


def buy(image: Image, fen: int) -> Image:
    """Money paid, at the image's price."""
    if fen == 0:
        raise CardError("nothing is bought for nothing")
    energy, rest = divmod(fen * FEN + image.rest, image.price)
    return replace(image, energy=image.energy + energy, rest=rest)


def remaining(image: Image, register: int) -> int:
    """What is left when the register shows this [1e-4 kWh]; below zero more was used than we know to have been bought."""
    return image.energy - _used(image, register)


def settle(image: Image, register: int, following: int | None = None) -> Image:
    """What was used up to this register is taken off. `following`: the register that counts from then on, of another meter."""
    left = remaining(image, _shown(register))
    return replace(image, energy=left, settled=register if following is None else _shown(following))


def reprice(image: Image, register: int, price: int) -> Image:
    """From this register on another price: what remains is worth what it was worth."""
    now = settle(image, register)
    energy, rest = divmod(now.value, _asked(price))
    return Image(energy, now.settled, price, rest)


def level(left: int, low1: int = LOW1, low2: int = LOW2) -> str:
    """ok, warn1, warn2 or used-up."""
    if left <= 0:
        return "used-up"
    return "warn2" if left <= low2 else "warn1" if left <= low1 else "ok"


def fold(events: Iterable[Mapping[str, Any]]) -> Image | None:
    """The image that these events leave, oldest first: kind, register, energy, amount_fen, price. None: none has begun it. CardError."""
    image: Image | None = None
    for event in events:
        if event["kind"] == "open":
            image = opened(event["register"], event["price"], event["energy"] or 0)
        elif image is None:
            raise CardError(f"{event['kind']} comes before the card was opened")
        elif event["kind"] == "buy":
            image = buy(image, event["amount_fen"])
        elif event["kind"] == "settle":
            image = settle(image, event["register"], event["energy"])
        else:
            image = reprice(image, event["register"], event["price"])
    return image


def _shown(register: int) -> int:
    if not 0 <= register < ROLL_OVER:
        raise CardError(f"{text_of(register)} kWh: a register shows 0 to {text_of(ROLL_OVER - 1)}")
    return register


def _asked(price: int) -> int:
    if not 0 < price <= DEAREST:
        raise CardError(f"{text_of(price)} yuan: a kWh costs more than 0 and at most {text_of(DEAREST)} yuan")
    return price


def _used(image: Image, register: int) -> int:
    used = int(advance(np.array([image.settled], dtype=np.int64), np.array([register], dtype=np.int64))[0])
    if used == MISSING:
        raise CardError(
            f"the register fell from {image.settled} to {register} (1e-4 kWh): another meter, or a wrong reading; settle it by hand"
        )
    return used
