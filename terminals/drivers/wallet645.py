"""Wallets of DL/T 645-2007 local prepaid meters.

Read with 11H: remaining and overdrawn amount (00900200, 00900201), count and amount of the newest purchase (03330201, 03330301), limits
(04001001 to 04001005). A purchase goes with 03H (070101FF opens an account, 070102FF recharges) after an authentication, with MACs of
the utility's cipher machine over what it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from protocols.dlt645 import security
from protocols.dlt645.exchange import Read, ReadAnswer, Secure
from protocols.dlt645.status import RELAY_OPEN
from protocols.dlt645.values import decode, encode, quantity_values
from protocols.errors import FrameError, Misuse, Refused
from protocols.machine import AskMachine
from terminals.drivers.dlt645 import STATUS_3, authenticate
from terminals.drivers.driver import Meter, Script
from terminals.drivers.parameter645 import write_parameter
from terminals.drivers.wallet import Around, Declined, Purchase, Repeated, Wallet

REMAINING: Final = 0x00900200
OVERDRAWN: Final = 0x00900201
COUNT: Final = 0x03330201
LAST: Final = 0x03330301
ENERGIES: Final = 0x0001FF00
SETTINGS: Final = {
    "alarm1": 0x04001001,
    "alarm2": 0x04001002,
    "overdraft": 0x04001003,
    "hoarding": 0x04001004,
    "permit": 0x04001005,
}
#: SERR of C3: 重复充值
SERR_REPEATED: Final = 0x0002
_ITEMS: Final = {
    "open": security.OPEN_ACCOUNT,
    "recharge": security.RECHARGE,
    "refund": security.REFUND,
}
_REGISTERS: Final = ("active_import", *(f"active_import_t{k}" for k in range(1, 5)))


class Wallet645:
    """terminals.drivers.wallet.WalletWay."""

    def __init__(self, machine: security.CipherMachine | None) -> None:
        self._machine = machine

    def able(self) -> None:
        self._needed()

    def read(self, meter: Meter) -> Script[Wallet]:
        remaining = yield from _fen(meter, REMAINING)
        overdrawn = yield from _fen(meter, OVERDRAWN)
        count = yield from _number(meter, COUNT)
        last = yield from _fen(meter, LAST)
        if remaining is None:
            raise Refused(
                f"meter {meter.address} has no wallet: it does not know 00900200", code=2, absent=True
            )
        # a wallet that nothing was put into has no record of a purchase
        return Wallet(remaining, overdrawn or 0, count or 0, last)

    def total(self, meter: Meter) -> Script[int | None]:
        raw = yield from _read(meter, ENERGIES)
        total = None if raw is None else quantity_values(ENERGIES, raw).get(_REGISTERS[0])
        return None if total is None else int(total)

    def around(self, meter: Meter) -> Script[Around]:
        registers = yield from self._registers(meter)
        status = yield from _number(meter, STATUS_3)
        settings = yield from self.limits(meter)
        return Around(registers, None if status is None else bool(status & RELAY_OPEN), settings)

    def limits(self, meter: Meter) -> Script[Mapping[str, int]]:
        found = {}
        for name, di in SETTINGS.items():
            fen = yield from _fen(meter, di)
            if fen is not None:
                found[name] = fen
        return found

    def set_limit(self, meter: Meter, name: str, fen: int) -> Script[None]:
        """04001001 and 04001002 are of class 1, the others of class 2."""
        di = SETTINGS[name]
        yield from write_parameter(self._machine, meter, di, encode(di, [Decimal(fen).scaleb(-2)]))

    def _registers(self, meter: Meter) -> Script[tuple[int, ...] | None]:
        raw = yield from _read(meter, ENERGIES)
        if raw is None:
            return None
        found = quantity_values(ENERGIES, raw)
        # a meter of fewer tariffs sends fewer, and the rest count nothing; one that it marks as invalid is not known
        if any(code not in found for code in _REGISTERS[: max(1, len(raw) // 4)]):
            return None
        return tuple(int(found.get(code, 0)) for code in _REGISTERS)

    def carry(self, meter: Meter, purchase: Purchase) -> Script[None]:
        machine, di = self._needed(), _ITEMS[purchase.action]
        purse = security.Purse(purchase.fen, purchase.count, purchase.customer)
        # what cannot be said is found before anything is
        purse.encode((bytes(security.MAC_BYTES), bytes(security.MAC_BYTES)))
        session = yield from authenticate(machine, meter)
        macs: tuple[bytes, bytes] = yield AskMachine(machine, security.SignPurchase(session, di, purse))
        try:
            yield Secure(meter.address, di, purse.encode(macs), meter.secrets.get("operator", "00000000"))
        except Refused as refused:
            # in an error of one byte this bit is another one; then too the wallet is read, and says how it is
            if refused.code & SERR_REPEATED:
                raise Repeated(str(refused), code=refused.code) from None
            raise Declined(str(refused), code=refused.code) from None

    def bar(self, meter: Meter) -> Script[None]:
        """A fresh authentication: MACs are made for one, and the one before it is over."""
        yield from authenticate(self._needed(), meter)

    def _needed(self) -> security.CipherMachine:
        if self._machine is None:
            raise Misuse(
                "purchase: a meter takes one through the utility's cipher machine alone; configure HEADEND_CIPHER_MACHINE"
            )
        return self._machine


def _read(meter: Meter, di: int) -> Script[bytes | None]:
    """The data, None where the meter says that it has none."""
    try:
        answer: ReadAnswer = yield Read(meter.address, di)
    except Refused as refused:
        if not refused.absent:
            raise
        return None
    return answer.data


def _fen(meter: Meter, di: int) -> Script[int | None]:
    """An amount XXXXXX.XX in fen; None where the meter has none, or marks it as invalid."""
    raw = yield from _read(meter, di)
    value = None if raw is None else decode(di, raw)[0].value
    if value is None:
        return None
    if not isinstance(value, Decimal) or value < 0:
        raise FrameError(f"{di:08X}: {value!r} is no amount")
    return int(value * 100)


def _number(meter: Meter, di: int) -> Script[int | None]:
    raw = yield from _read(meter, di)
    value = None if raw is None else decode(di, raw)[0].value
    if value is not None and not isinstance(value, int | Decimal):
        raise FrameError(f"{di:08X}: {value!r} is no number")
    return None if value is None else int(value)
