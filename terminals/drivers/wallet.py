"""Wallets (钱包): what a meter that executes its own fee control holds, and how a purchase (充值) is put into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from protocols.errors import Refused
from terminals.drivers.driver import Meter, Script, T


@dataclass(frozen=True, slots=True)
class Purchase:
    """`action`: open (开户), recharge or refund. `count`: the how manieth purchase it is (购电次数). `customer`: the customer number."""

    action: str
    count: int
    fen: int
    customer: str


@dataclass(frozen=True, slots=True)
class Wallet:
    """What is in it, in fen. `last_fen`: the newest purchase, None where the meter does not say."""

    remaining_fen: int
    overdrawn_fen: int
    count: int
    last_fen: int | None = None


@dataclass(frozen=True, slots=True)
class Around:
    """What stands beside a wallet.

    registers  total and T1 to T4 [1e-4 kWh], None where the meter gives none
    is_open    whether the relay is, None where nobody knows
    settings   limits in fen by name (alarm1, alarm2, overdraft, hoarding, permit), those that the meter has
    """

    registers: tuple[int, ...] | None = None
    is_open: bool | None = None
    settings: Mapping[str, int] = field(default_factory=dict)


class Declined(Refused):
    """The meter was offered the purchase and says no. Who carried it may have done so twice, and this may be the answer to the second time."""


class Repeated(Declined):
    """The meter says that it has taken a purchase with this count before."""


class WalletWay(Protocol):
    """How one protocol speaks of wallets."""

    def able(self) -> None:
        """Misuse: nothing can be put into a wallet from here."""

    def read(self, meter: Meter) -> Script[Wallet]:
        """The wallet. Refused: the meter has none."""

    def total(self, meter: Meter) -> Script[int | None]:
        """The register of all energy [1e-4 kWh], None where the meter does not give it."""

    def around(self, meter: Meter) -> Script[Around]:
        """What stands beside it."""

    def carry(self, meter: Meter, purchase: Purchase) -> Script[None]:
        """Offer the purchase, once. Declined: the meter says no; Repeated: it has taken one with this count; Refused: it was not even offered."""

    def limits(self, meter: Meter) -> Script[Mapping[str, int]]:
        """Around.settings alone."""

    def set_limit(self, meter: Meter, name: str, fen: int) -> Script[None]:
        """Write one of them. Refused: the meter says no, or has no such limit; Misuse: nobody may."""

    def bar(self, meter: Meter) -> Script[None]:
        """From now on the meter takes no purchase that was sent before: what it says of its wallet then stays true."""


@dataclass(frozen=True, slots=True)
class WalletBehind:
    """The same through the terminal in front of the meter: `through` carries a script of the meter's own protocol."""

    way: WalletWay
    through: Callable[[Meter, Script[T]], Script[T]]

    def able(self) -> None:
        self.way.able()

    def read(self, meter: Meter) -> Script[Wallet]:
        return (yield from self.through(meter, self.way.read(meter)))

    def total(self, meter: Meter) -> Script[int | None]:
        return (yield from self.through(meter, self.way.total(meter)))

    def around(self, meter: Meter) -> Script[Around]:
        return (yield from self.through(meter, self.way.around(meter)))

    def carry(self, meter: Meter, purchase: Purchase) -> Script[None]:
        yield from self.through(meter, self.way.carry(meter, purchase))

    def limits(self, meter: Meter) -> Script[Mapping[str, int]]:
        return (yield from self.through(meter, self.way.limits(meter)))

    def set_limit(self, meter: Meter, name: str, fen: int) -> Script[None]:
        yield from self.through(meter, self.way.set_limit(meter, name, fen))

    def bar(self, meter: Meter) -> Script[None]:
        yield from self.through(meter, self.way.bar(meter))
