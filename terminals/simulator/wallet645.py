"""What a DL/T 645-2007 meter says of its wallet, and how it takes a purchase."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Final

import numpy as np

from protocols.dlt645 import security, values
from protocols.errors import FrameError
from protocols.localtime import as_datetime
from terminals.simulator.meter import Meter
from terminals.simulator.scenario import ZONE
from terminals.simulator.standin import StandInEsam
from terminals.simulator.wallet import OTHER, Refusal

#: SERR: the security module says no; nobody has authenticated.
ESAM: Final = 0x0004
AUTHENTICATION: Final = 0x0008
LIMITS: Final = {
    0x04001001: "alarm1", 0x04001002: "alarm2", 0x04001003: "overdraft", 0x04001004: "hoarding", 0x04001005: "permit",
}  # fmt: skip
_KINDS: Final = {security.OPEN_ACCOUNT: "open", security.RECHARGE: "recharge", security.REFUND: "refund"}


def read(meter: Meter, di: int, now: np.datetime64) -> bytes | None:
    """The data of a wallet's item; None: it is none, or the meter has not got it."""
    wallet, registers = meter.wallet, meter.registers(now)
    if wallet is None or registers is None:
        return None
    remaining, overdrawn = wallet.shown(registers)
    told = {0x00900200: remaining, 0x00900201: overdrawn}
    told |= {each: getattr(wallet.limits, name) for each, name in LIMITS.items()}
    fen = told.get(di)
    if fen is not None:
        return values.encode(di, [_yuan(fen)])
    back = di & 0xFF
    if di >> 16 != 0x0333 or not 1 <= back <= len(wallet.records):
        return None
    record = wallet.records[-back]
    if di >> 8 & 0xFF == 0x01:
        return values.encode(di, [as_datetime(record.at, ZONE).replace(tzinfo=None, second=0, microsecond=0)])
    if di >> 8 & 0xFF == 0x02:
        return values.encode(di, [record.count])
    amount = {0x03: record.fen, 0x04: record.before, 0x05: record.after, 0x06: record.total}.get(
        di >> 8 & 0xFF
    )
    return None if amount is None else values.encode(di, [_yuan(amount)])


def write(meter: Meter, di: int, data: bytes) -> bool:
    """One limit. False: it is no amount."""
    assert meter.wallet is not None
    try:
        amount = values.decode(di, data)[0].value
    except FrameError:
        return False
    if not isinstance(amount, Decimal) or amount < 0:
        return False
    meter.wallet.limits = replace(meter.wallet.limits, **{LIMITS[di]: int(amount * 100)})
    return True


def secure(meter: Meter, esam: StandInEsam, di: int, data: bytes, now: np.datetime64) -> bytes:
    """03H beyond the authentication: the data of the answer. Refusal."""
    if meter.wallet is None or (di not in _KINDS and di != security.STATUS_QUERY):
        raise Refusal(OTHER, "not known to this meter")
    if not esam.authenticated(now):
        raise Refusal(AUTHENTICATION, "nobody has authenticated")
    if di == security.STATUS_QUERY:
        return _status(meter, now)
    try:
        purse, macs = security.purse_of(data)
    except FrameError as error:
        raise Refusal(OTHER, str(error)) from None
    if not esam.genuine(di, purse, macs):
        raise Refusal(ESAM, "MAC")
    meter.purchase(now, _KINDS[di], purse.fen, purse.count, purse.customer)
    return b""


def _status(meter: Meter, now: np.datetime64) -> bytes:
    """Remaining amount, count, customer number; the MACs are nobody's, since no machine looks at them."""
    wallet, registers = meter.wallet, meter.registers(now)
    assert wallet is not None
    remaining = 0 if registers is None else wallet.shown(registers)[0]
    blank = bytes(security.MAC_BYTES)
    whose = bytes.fromhex(wallet.customer.zfill(12))[::-1]
    return (
        remaining.to_bytes(4, "little") + blank + wallet.count.to_bytes(4, "little") + blank + whose + blank
    )


def _yuan(fen: int) -> Decimal:
    return Decimal(fen).scaleb(-2)
