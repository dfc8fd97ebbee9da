"""One terminal: the meters behind one line, and what the line does to their answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Final, Protocol

import numpy as np

from protocols.buffer import ReceiveBuffer
from protocols.dlt645.frame import BROADCAST, BUFFER_LIMIT, find, matches
from protocols.errors import FrameError
from protocols.gdw376.frame import parse_address
from protocols.modbus.exchange import LineName
from terminals.simulator import device376, device698
from terminals.simulator.codes import terminal_address
from terminals.simulator.device645 import Device645
from terminals.simulator.devicedlms import GatewayDlms, LogicalDevice
from terminals.simulator.devicemodbus import BusModbus
from terminals.simulator.held376 import Held376
from terminals.simulator.held698 import Held698
from terminals.simulator.holding import Holding
from terminals.simulator.layout import AreaPlan
from terminals.simulator.meter import Meter
from terminals.simulator.quick645 import Quick645
from terminals.simulator.records645 import Kept
from terminals.simulator.strangers import readdress
from terminals.simulator.told376 import Told376
from terminals.simulator.told698 import Told698
from terminals.simulator.weather import Passage, Weather

#: Where an answer is garbled that has no checksum: the version in the wrapper's header of DLMS, the protocol id of Modbus TCP. TCP keeps
#: bytes intact, so any other byte would be a lie that nobody could detect; these stand for a broken converter.
_FRAGILE: Final = {"dlms": range(1, 2), "modbus-tcp": range(2, 4)}
#: Protocols whose meters speak DL/T 645 on their own bus.
_ON_645: Final = ("dlt645", "gdw376", "dlt698")
_MODBUS: Final[Mapping[str, LineName]] = {"modbus-tcp": "tcp", "modbus-rtu": "rtu"}


class Bus(Protocol):
    """What a fresh connection talks to."""

    def receive(self, data: bytes, now: Callable[[], np.datetime64]) -> Iterable[bytes]:
        """Bytes from the head-end; the answers of the meters, as they are sent."""


class Meters645:
    """The DL/T 645 side of the meters that live, each made when somebody first asks for it: most of a large fleet are asked for
    nothing but their load records.
    """

    __slots__ = ("_devices", "_kept", "_meters")

    def __init__(self, meters: Sequence[Meter], kept: Kept | None) -> None:
        self._meters = {meter.address: meter for meter in meters}
        self._kept = kept
        self._devices: dict[str, Device645] = {}

    def heard(self, address: str) -> list[Device645]:
        """Whom a frame is meant for."""
        if address in self._meters:
            return [] if self._meters[address].dead else [self._device(address)]
        return [
            self._device(own)
            for own, meter in self._meters.items()
            if not meter.dead and (address == BROADCAST or matches(address, own))
        ]

    def _device(self, address: str) -> Device645:
        device = self._devices.get(address)
        if device is None:
            device = self._devices[address] = Device645(self._meters[address], self._kept)
        return device


class Bus645:
    """An RS-485 bus behind a transparent terminal.

    The frames are cut out once and handed to the meters they are meant for; each meter checks them again
    itself. When several meters answer at once (a wildcard address), what comes back is noise, as on a real
    bus. `quick` is asked first.
    """

    __slots__ = ("_buffer", "_meters", "_quick")

    def __init__(self, meters: Meters645, quick: Quick645 | None = None) -> None:
        self._meters = meters
        self._quick = quick
        self._buffer = ReceiveBuffer(BUFFER_LIMIT)

    def receive(self, data: bytes, now: Callable[[], np.datetime64]) -> Iterator[bytes]:
        """Answers to the frames that are complete now."""
        if self._quick is not None and not self._buffer.data:
            answer = self._quick.answer(data, now)
            if answer is not None:
                yield answer
                return
        self._buffer.feed(data)
        while True:
            try:
                frame = find(self._buffer)
            except FrameError:
                continue  # meters are silent about what they cannot read
            if frame is None:
                return
            raw, at = frame.encode(), now()
            answers = [
                answer for device in self._meters.heard(frame.address) for answer in device.receive(raw, at)
            ]
            if answers:
                yield _collide(answers)


def _collide(answers: Sequence[bytes]) -> bytes:
    """Several talkers on a bus: a zero on the wire wins."""
    if len(answers) == 1:
        return answers[0]
    noise = np.full(max(map(len, answers)), 0xFF, dtype=np.uint8)
    for answer in answers:
        noise[: len(answer)] &= np.frombuffer(answer, dtype=np.uint8)
    return noise.tobytes()


class Terminal:
    """An area's terminal. `attach` is called for every new connection; `exchange` for every piece it brings.

    lost, garbled   probabilities that an answer never leaves, or leaves with one byte changed
    rng             what they are drawn from; None where both are 0
    quick           answers the most frequent question; without it nothing is different but the time it takes
    kept            encoded records, shared by a fleet
    bare            a terminal with an archive of its own comes from the factory: it is empty until somebody writes it
    notes           the file in which it keeps what it has been told

    passage  what the line does to answers; None: nothing
    silent   its line is open, and nothing comes or goes
    away     it is not there at all
    """

    __slots__ = (
        "_bus",
        "_garbled",
        "_logical",
        "_lost",
        "_meters645",
        "_quick",
        "_rng",
        "_station",
        "answered",
        "away",
        "concentrator",
        "holding",
        "meters",
        "passage",
        "plan",
        "silent",
        "swallowed",
    )  # fmt: skip

    def __init__(
        self,
        plan: AreaPlan,
        meters: Sequence[Meter],
        lost: float,
        garbled: float,
        rng: np.random.Generator | None,
        *,
        quick: Quick645 | None = None,
        kept: Kept | None = None,
        bare: bool = False,
        notes: Path | None = None,
    ) -> None:
        self.plan = plan
        self.meters = tuple(meters)
        self.answered = 0
        self.swallowed = 0
        self.passage: Passage | None = None
        self.silent = False
        self.away = False
        self._lost = lost
        self._garbled = garbled
        self._rng = rng
        self._quick = quick
        self._meters645 = Meters645(meters if plan.protocol in _ON_645 else (), kept)
        self._logical: list[LogicalDevice] = []
        self._station: device376.Concentrator | None = None
        self.concentrator: device698.Concentrator | None = None
        self.holding: Holding | None = None
        kept_on = None if notes is None else notes.with_name(f"{notes.stem}-held{notes.suffix}")
        if plan.protocol == "dlms":
            self._logical = [LogicalDevice(meter) for meter in meters]
        address = terminal_address(plan.protocol, plan.area)
        if plan.protocol == "gdw376":
            bus = Bus645(self._meters645)
            told = Told376([] if bare else [meter.address for meter in meters], notes)
            held = Held376(kept_on)
            self.holding = Holding(self.meters, held)
            self._station = device376.Concentrator(parse_address(address), meters, bus.receive, told, held)
        elif plan.protocol == "dlt698":
            bus, odd = Bus645(self._meters645), bool(plan.area % 2)
            known = Told698([] if bare else [meter.address for meter in meters], device698.FREEZES, notes)
            holds = Held698(kept_on)
            self.holding = Holding(self.meters, holds)
            self.concentrator = device698.Concentrator(address, meters, bus, odd=odd, told=known, held=holds)
        self._bus = self._fresh()

    def attach(self) -> None:
        """A new connection: half a frame of the old one and its associations are forgotten."""
        self._bus = self._fresh()
        if self.passage is not None:
            self.passage.reset()

    def weather(self, weather: Weather, random: Random) -> None:
        """What its line does to answers from now on."""
        change, fragile = readdress(self.plan.protocol), _FRAGILE.get(self.plan.protocol)
        self.passage = None if weather.fair else Passage(weather, random, change, fragile)

    @property
    def own_clock(self) -> device376.Concentrator | device698.Concentrator | None:
        """The concentrator, which has a clock; a transparent terminal has none."""
        return self._station or self.concentrator

    def exchange(self, data: bytes, now: Callable[[], np.datetime64]) -> Iterator[bytes]:
        """What the terminal sends in answer to a piece of bytes."""

        def settled() -> np.datetime64:
            at = now()
            self.settle(at)
            return at

        for answer in self._bus.receive(data, settled):
            self.answered += 1
            passed = self._line(answer)
            if passed:
                yield passed
            else:
                self.swallowed += 1

    @property
    def line(self) -> device376.Line376 | device698.Connection698 | None:
        """The present connection of a concentrator, which logs in by its own protocol; None for terminals that do not."""
        return self._bus if isinstance(self._bus, device376.Line376 | device698.Connection698) else None

    def wander(self, ahead: np.timedelta64) -> None:
        """The terminal's own clock is off by this much; nothing where it has none."""
        for station in (self._station, self.concentrator):
            if station is not None:
                station.wander(ahead)

    def settle(self, now: np.datetime64) -> None:
        """Keys that customers have pressed by now, and rounds that load control has tripped."""
        for meter in self.meters:
            meter.settle(now)
        if self.holding is not None:
            self.holding.settle(now)

    def next_key(self) -> np.datetime64 | None:
        """When the next key will be pressed here."""
        due = [meter.key_due for meter in self.meters if meter.key_due is not None]
        return min(due, default=None)

    def _fresh(self) -> Bus:
        if self._station is not None:
            return device376.Line376(self._station)
        if self.concentrator is not None:
            return device698.Connection698(self.concentrator)
        if self.plan.protocol in _MODBUS:
            return BusModbus(self.meters, _MODBUS[self.plan.protocol])
        return GatewayDlms(self._logical) if self._logical else Bus645(self._meters645, self._quick)

    def _line(self, answer: bytes) -> bytes:
        if self._rng is None:
            return answer
        luck = self._rng.random()
        if luck < self._lost:
            return b""
        if luck >= self._lost + self._garbled:
            return answer
        fragile = _FRAGILE.get(self.plan.protocol)
        at = int(self._rng.integers(len(answer))) if fragile is None else fragile.start
        changed = bytearray(answer)
        changed[at] ^= int(self._rng.integers(1, 256))
        return bytes(changed)
