"""A DL/T 645-2007 meter: requests to what the meter has, and its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocols.dlt645 import values
from protocols.dlt645.blocks import decode_request
from protocols.dlt645.device import control_request
from protocols.dlt645.exchange import (
    AddressRequest,
    BroadcastTime,
    ControlRequest,
    Device,
    ReadRequest,
    SealedControlRequest,
    SecureRequest,
    WriteRequest,
)
from protocols.dlt645.security import AUTHENTICATE, CLASS_1
from protocols.dlt645.status import AUTHENTICATED
from protocols.dlt645.words import SEALED, SIGNED
from protocols.errors import FrameError
from protocols.exchange import NEED_DATA, Send
from protocols.localtime import as_datetime, from_local
from terminals.simulator import events645, records645, wallet645
from terminals.simulator.area import CURVE_DAYS
from terminals.simulator.layout import Ints
from terminals.simulator.meter import Meter
from terminals.simulator.physics import DAY_US, NOT_SHOWN, SHOWN, SLOT_US
from terminals.simulator.relay import CannotAct, Command, Contact
from terminals.simulator.scenario import ZONE
from terminals.simulator.standin import StandInEsam
from terminals.simulator.tables645 import is_table
from terminals.simulator.wallet import Refusal, Stage

OTHER: Final = 0x01
NO_DATA: Final = 0x02
NOT_AUTHORISED: Final = 0x04

#: Error word of 1CH: MAC, password, authentication, command time, keep-power.
WORD_MAC: Final = 0x0002
WORD_PASSWORD: Final = 0x0004
WORD_AUTHENTICATION: Final = 0x0008
WORD_TIME: Final = 0x0010
WORD_KEEP: Final = 0x0020

#: N1 of 1CH -> command, and the execution word of the answer.
_COMMANDS: Final = {
    0x1A: (Command.TRIP, 0x0004),
    0x1B: (Command.PERMIT, 0x0002),
    0x1C: (Command.CLOSE, 0x0001),
    0x3A: (Command.KEEP_POWER, 0x0100),
    0x3B: (Command.END_KEEP_POWER, 0x0200),
}
#: What a smart meter takes at level 02: giving supply back. A trip and the rest need the security module.
_IN_CLEAR_TEXT: Final = (0x1B, 0x1C)
#: SERR of C3: authentication failed; any other reason.
SERR_AUTHENTICATION: Final = 0x0008
#: A broadcast moves a meter's clock by no more than this; a larger error needs an authenticated write.
_BROADCAST_LIMIT: Final = np.timedelta64(5, "m")
_SLOT: Final = np.timedelta64(SLOT_US, "us")
#: Days of encoded load records kept by a meter that shares with nobody: a round reads one or two, a back-fill goes day by day.
_ENCODED_DAYS: Final = 3

#: DI2 of the variables -> rows of SHOWN, per block position.
_PHASES: Final = {
    0x01: ("va", "vb", "vc"),
    0x02: ("ia", "ib", "ic"),
    0x03: ("p", "pa", "pb", "pc"),
    0x04: ("q", "qa", "qb", "qc"),
}
_SIZES: Final = {0x01: 2, 0x02: 3, 0x03: 3, 0x04: 3}


class _Lacks(Exception):
    """The meter has no such item: error byte 02."""


class Device645:
    """The protocol side of one meter. `receive` takes a whole frame addressed to it (or to everybody)."""

    __slots__ = ("_device", "_esam", "_kept", "_words", "meter")

    def __init__(self, meter: Meter, kept: records645.Kept | None = None) -> None:
        self.meter = meter
        self._device = Device(meter.address)
        self._esam = StandInEsam(meter.address)
        #: Every fourth area has meters from before the 2014 supplement, which answer 1CH without a word.
        self._words = meter.area.plan.area % 4 != 3
        self._kept = records645.Kept(_ENCODED_DAYS) if kept is None else kept

    def receive(self, data: bytes, now: np.datetime64) -> Iterator[bytes]:
        """The bytes the meter sends in answer, at the instant `now` (UTC)."""
        self._device.receive_data(data)
        while (event := self._device.next_event()) is not NEED_DATA:
            answer = event.data if isinstance(event, Send) else self._serve(event, now)
            if answer:
                yield answer

    def _serve(self, request: object, now: np.datetime64) -> bytes:
        match request:
            case ReadRequest():
                answer = self._answer(request, now)
            case AddressRequest():
                answer = self._device.answer()
            case BroadcastTime(when):
                self._synchronise(when, now)
                answer = self._device.answer()
            case WriteRequest():
                answer = self._write(request, now)
            case ControlRequest():
                answer = self._control(request, now)
            case SealedControlRequest():
                answer = self._sealed_control(request, now)
            case SecureRequest():
                answer = self._authenticate(request, now)
            case _:
                answer = self._device.refuse(OTHER)
        return answer

    # --- reading ---

    def _answer(self, request: ReadRequest, now: np.datetime64) -> bytes:
        try:
            return self._device.answer(self._read(request, now))
        except _Lacks:
            return self._device.refuse(NO_DATA)

    def _read(self, request: ReadRequest, now: np.datetime64) -> bytes:
        readers: dict[int, Callable[[int, np.datetime64], bytes]] = {
            0x00: self._energy,
            0x02: self._variable,
            0x03: self._event,
            0x04: self._parameter,
            0x05: self._freeze,
        }
        kind = request.di >> 24
        purse = wallet645.read(self.meter, request.di, now)
        if purse is not None and not request.extra:
            return purse
        if kind == 0x06:
            return self._load(request, now)
        reader = readers.get(kind)
        if reader is None or request.extra:
            raise _Lacks
        return reader(request.di, now)

    def _energy(self, di: int, now: np.datetime64) -> bytes:
        """00 00|01|02 tt 00: combined, forward, reverse; the present settlement period only."""
        registers = self.meter.registers(now)
        direction, tariff, settlement = di >> 16 & 0xFF, di >> 8 & 0xFF, di & 0xFF
        if registers is None or direction > 2 or settlement:
            raise _Lacks
        return _registers(registers if direction < 2 else np.zeros_like(registers), tariff)

    def _variable(self, di: int, now: np.datetime64) -> bytes:
        shown = self.meter.shown(now)
        kind, phase, rest = di >> 16 & 0xFF, di >> 8 & 0xFF, di & 0xFF
        if di == 0x02800002:
            return values.encode(di, [Decimal("50.00")])
        if shown is None or rest:
            raise _Lacks
        if kind == 0x06:
            return self._power_factor(di, shown)
        rows = _PHASES.get(kind)
        if rows is None:
            raise _Lacks
        present = [(k, int(shown[SHOWN.index(row)])) for k, row in enumerate(rows)]
        present = [(k, value) for k, value in present if value != NOT_SHOWN]
        if phase == 0xFF:
            return b"".join(_packed(value, _SIZES[kind]) for _, value in present)
        wanted = phase - 1 if len(rows) == 3 else phase
        for k, value in present:
            if k == wanted:
                return _packed(value, _SIZES[kind])
        raise _Lacks

    def _power_factor(self, di: int, shown: NDArray[np.int32]) -> bytes:
        p, q = float(shown[SHOWN.index("p")]), float(shown[SHOWN.index("q")])
        if di != 0x02060000:
            raise _Lacks
        apparent = float(np.hypot(p, q))
        return _packed(1_000 if apparent == 0 else round(1_000 * p / apparent), 2)

    def _parameter(self, di: int, now: np.datetime64) -> bytes:
        local = as_datetime(self.meter.clock(now), ZONE).replace(tzinfo=None)
        weekday = local.isoweekday() % 7
        status = self._status() | self.meter.sets_in_use(now)
        status |= AUTHENTICATED if self._esam.authenticated(now) else 0
        words = [0, 0, status, 0, 0, 0, 0]
        plain: dict[int, list[values.Typed]] = {
            0x04000101: [local.date(), weekday],
            0x04000102: [local.time()],
            0x04000103: [15],
            0x0400010C: [local, weekday],
            0x04000401: [self.meter.asset],
            0x04000402: [self.meter.asset],
            0x04000403: [self.meter.asset],
            0x04000404: ["220V"],
            0x04000407: ["1.0" if self.meter.index else "0.2S"],
            0x0400040B: ["SIM645-3" if self.meter.phases == 3 else "SIM645-1"],
            0x0400040D: ["DL/T645-2007"],
            **{0x04000501 + k: [word] for k, word in enumerate(words)},
            0x040005FF: list(words),
            0x04000901: [0b001011],
            **{0x04000A01 + number: [15] for number in records645.CLASSES},
            0x04001401: [0],
        }
        if di in plain:
            return values.encode(di, plain[di])
        table = self.meter.tables(now).read(di)
        if table is None:
            raise _Lacks
        return table

    def _status(self) -> int:
        """Run status word 3: relay state, relay command state, amount-prepaid, keep-power."""
        relay = self.meter.relay
        word = relay.open << 4 | (relay.contact is Contact.OPEN) << 6 | relay.keep << 12
        wallet = self.meter.wallet
        low = wallet is not None and wallet.stage >= Stage.ALARM
        return word | (2 << 8 if self.meter.prepaid or wallet is not None else 0) | low << 7

    def _event(self, di: int, now: np.datetime64) -> bytes:
        found = events645.answer(self.meter, di, now)
        if found is None:
            raise _Lacks
        return found

    def _freeze(self, di: int, now: np.datetime64) -> bytes:
        """05 06 cc nn: the nn-th last day freeze: time, forward block, reverse block, or all."""
        found = self.meter.freeze(now, di & 0xFF)
        if di >> 16 != 0x0506 or found is None:
            raise _Lacks
        at, registers = found
        time = values.encode(0x05060001, [as_datetime(at, ZONE).replace(tzinfo=None)])
        forward, reverse = _registers(registers, 0xFF), _registers(np.zeros_like(registers), 0xFF)
        parts = {0x00: time, 0x01: forward, 0x02: reverse}
        category = di >> 8 & 0xFF
        if category == 0xFF:
            return b"".join(parts.get(k, b"") + b"\xaa" for k in (*range(0x0B), 0x10))
        if category not in parts:
            raise _Lacks
        return parts[category]

    # --- load records ---

    def _load(self, request: ReadRequest, now: np.datetime64) -> bytes:
        """06 cc 00 mm: mm 0 the earliest N, 1 the first N from a time on, 2 the latest N."""
        number, mode = request.di >> 16 & 0xFF, request.di & 0xFFFF
        if number and number not in records645.CLASSES:
            raise _Lacks
        try:
            count, start = decode_request(request.extra)
        except FrameError:
            raise _Lacks from None
        order = (number,) if number else records645.ALL_CLASSES
        latest = self._last_end(now)
        oldest = latest - self._held(now, latest)
        if mode == 1 and start is not None:
            first = from_local(np.array([start], dtype="datetime64[us]"), ZONE)[0]
            first = latest - (latest - first) // _SLOT * _SLOT  # the first quarter-hour not before `start`
            found = self._blocks(max(first, oldest), latest, now, order, count)
        elif mode == 2 and start is None:
            found = self._latest(oldest, latest, now, order, count)
        elif mode == 0 and start is None:
            found = self._blocks(oldest, latest, now, order, count)
        else:
            raise _Lacks
        if not found:
            raise _Lacks
        return b"".join(found)

    def _last_end(self, now: np.datetime64) -> np.datetime64:
        """The end of the last whole slot."""
        _, us = self.meter.area.locate(now)
        end: np.datetime64 = (now - us % SLOT_US * np.timedelta64(1, "us")).astype("datetime64[us]")
        return end

    def _held(self, now: np.datetime64, latest: np.datetime64) -> np.timedelta64:
        """From the oldest record still held to the latest."""
        today, _ = self.meter.area.locate(now)
        day, us = self.meter.area.locate(latest - np.timedelta64(1, "us"))
        days = day - max(0, today - CURVE_DAYS)
        held = np.timedelta64(us // SLOT_US * SLOT_US + days * DAY_US, "us")
        return held if self.meter.kept is None else min(held, self.meter.kept // _SLOT * _SLOT)

    def _latest(
        self,
        oldest: np.datetime64,
        latest: np.datetime64,
        now: np.datetime64,
        order: tuple[int, ...],
        count: int,
    ) -> list[bytes]:
        found: list[bytes] = []
        begin = latest
        while len(found) < count and begin > oldest:
            begin = max(begin - np.timedelta64(6, "h"), oldest)
            found = self._blocks(begin, latest, now, order, None)[-count:]
        return found

    def _blocks(
        self,
        first: np.datetime64,
        last: np.datetime64,
        now: np.datetime64,
        order: tuple[int, ...],
        count: int | None,
    ) -> list[bytes]:
        """The recorded blocks whose slots end in [first, last], oldest first, `count` at most."""
        found: list[bytes] = []
        at = first
        while at <= last and (count is None or len(found) < count):
            day, us = self.meter.area.locate(at - np.timedelta64(1, "us"))
            k = us // SLOT_US
            many = min(96 - k, int((last - at) // _SLOT) + 1)
            found += [block for block in self._day_blocks(day, at, now, order)[k : k + many] if block]
            at = at + many * _SLOT
        return found[:count]

    def _day_blocks(
        self, day: int, at: np.datetime64, now: np.datetime64, order: tuple[int, ...]
    ) -> list[bytes]:
        """96 blocks, b'' where nothing was recorded. Kept until the day is solved anew or newer days push
        it out.
        """
        solved = self.meter.area.day(day) if day >= 0 else None
        key = (self.meter.area.plan.area, self.meter.index, day, order)
        kept = None if solved is None or self.meter.kept is not None else self._kept.get(key, solved)
        if kept is not None:
            return kept
        record = self.meter.record(now, at)
        if record is None:
            return [b""] * 96
        made = records645.blocks(record.ends, record.registers[0], record.shown, order)
        made = [block if there else b"" for block, there in zip(made, record.recorded, strict=True)]
        if self.meter.kept is None:  # else it is another day with every quarter-hour that is overwritten
            self._kept.put(key, record.solved, made)
        return made

    # --- writing ---

    def _synchronise(self, when: np.datetime64, now: np.datetime64) -> None:
        utc = from_local(np.array([when]), ZONE)[0]
        if abs(utc - self.meter.clock(now)) <= _BROADCAST_LIMIT:
            self.meter.set_clock(now, utc)

    def _write(self, request: WriteRequest, now: np.datetime64) -> bytes:
        limit = request.di in wallet645.LIMITS and self.meter.wallet is not None
        if limit or (is_table(request.di) and self.meter.tables(now).takes(request.di)):
            return self._write_parameter(request, now)
        if not self._authorised(request):
            return self._device.refuse(NOT_AUTHORISED)
        try:
            typed = [value.value for value in values.decode(request.di, request.data)]
        except FrameError:
            return self._device.refuse(OTHER)
        if typed[0] is None:  # a field of fillers is no time
            return self._device.refuse(OTHER)
        clock = as_datetime(self.meter.clock(now), ZONE).replace(tzinfo=None)
        if request.di == 0x04000101:
            day = np.datetime64(str(typed[0]), "D")
            local = day + (np.datetime64(clock, "us") - np.datetime64(clock.date(), "us"))
        elif request.di == 0x04000102:
            local = np.datetime64(f"{clock.date()}T{typed[0]}", "us")
        elif request.di == 0x0400010C:
            local = np.datetime64(str(typed[0]).replace(" ", "T"), "us")
        else:
            return self._device.refuse(NO_DATA)
        self.meter.set_clock(now, from_local(np.array([local], dtype="datetime64[us]"), ZONE)[0])
        return self._device.answer()

    def _write_parameter(self, request: WriteRequest, now: np.datetime64) -> bytes:
        data = self._opened(request, now)
        if data is None:
            return self._device.refuse(NOT_AUTHORISED)
        if request.di in wallet645.LIMITS:
            taken = wallet645.write(self.meter, request.di, data)
        else:
            clock = as_datetime(self.meter.clock(now), ZONE).replace(tzinfo=None)
            taken = self.meter.tables(now).write(request.di, data, clock)
        return self._device.answer() if taken else self._device.refuse(OTHER)

    def _opened(self, request: WriteRequest, now: np.datetime64) -> bytes | None:
        """A parameter in clear text; None: nobody may. Class 1 with the machine's MAC alone; class 2 with the password, or enciphered."""
        if request.level in (SEALED, SIGNED) and not self._esam.authenticated(now):
            return None
        of_class_1 = request.di in CLASS_1
        if request.level == (SIGNED if of_class_1 else SEALED):
            return self._esam.open_parameter(request.di, request.data, enciphered=not of_class_1)
        return request.data if self._authorised(request) and not of_class_1 else None

    def _authorised(self, request: WriteRequest | ControlRequest) -> bool:
        return request.level == 2 and request.password == self.meter.password

    def _control(self, request: ControlRequest, now: np.datetime64) -> bytes:
        known = _COMMANDS.get(request.action)
        if known is None or not self.meter.has_relay:
            self.meter.refuse(now, f"{request.action:02X}", "not known to this meter")
            return self._device.refuse(OTHER)
        command, word = known
        if request.level != SEALED and (
            request.action not in _IN_CLEAR_TEXT or not self._authorised(request)
        ):
            return self._deny(now, command, "password", WORD_PASSWORD)
        if request.expires is not None:
            expires = from_local(np.array([request.expires]), ZONE)[0]
            if expires < self.meter.clock(now):
                return self._deny(now, command, "expired", WORD_TIME)
        try:
            self.meter.command(now, command)
        except CannotAct:
            return self._refuse(WORD_KEEP)
        return self._device.answer(word.to_bytes(2, "little") if self._words else b"")

    def _authenticate(self, request: SecureRequest, now: np.datetime64) -> bytes:
        if request.di != AUTHENTICATE:
            try:
                return self._device.answer(
                    wallet645.secure(self.meter, self._esam, request.di, request.data, now)
                )
            except Refusal as why:
                return self._device.refuse(why.word, size=2)
        answer = self._esam.authenticate(request.data, now)
        return (
            self._device.refuse(SERR_AUTHENTICATION, size=2)
            if answer is None
            else self._device.answer(answer)
        )

    def _sealed_control(self, request: SealedControlRequest, now: np.datetime64) -> bytes:
        if not self._esam.authenticated(now):
            self.meter.refuse(now, "relay", "no authentication")
            return self._refuse(WORD_AUTHENTICATION)
        plain = self._esam.open_control(request.sealed)
        if plain is None:
            self.meter.refuse(now, "relay", "MAC")
            return self._refuse(WORD_MAC)
        return self._control(control_request(plain, SEALED, "", request.operator), now)

    def _deny(self, now: np.datetime64, command: Command, why: str, word: int) -> bytes:
        self.meter.refuse(now, command.value, why)
        return self._refuse(word)

    def _refuse(self, word: int) -> bytes:
        """The error word, or what an older meter makes of it in one byte."""
        if self._words:
            return self._device.refuse(word, size=2)
        return self._device.refuse(NOT_AUTHORISED if word == WORD_PASSWORD else OTHER)


def _registers(registers: Ints, tariff: int) -> bytes:
    """Total and four tariffs in 0.01 kWh: one of them, or all (FF)."""
    if tariff == 0xFF:
        return records645.packed(registers // 100, 4).tobytes()
    if tariff >= len(registers):
        raise _Lacks
    return records645.packed(registers[tariff : tariff + 1] // 100, 4).tobytes()


def _packed(value: int, size: int) -> bytes:
    """Packed decimals, low byte first; the highest bit is the sign."""
    raw = bytearray.fromhex(f"{abs(value):0{2 * size}d}")
    raw[0] |= 0x80 if value < 0 else 0
    return bytes(raw[::-1])
