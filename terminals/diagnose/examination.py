"""What a device that was found says: one step after the other, over any session with it. Reads only; changes nothing.

The same on a line that is ours alone and in one turn on a line that a collector owns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final, TypeVar

import numpy as np

from protocols.errors import Misuse, ProtocolError, Refused
from protocols.localtime import local_fields
from protocols.quantity import quantities
from protocols.reading import Reads
from terminals.diagnose.diagnosis import NAMES, OPTIONAL, Cause, Flag, State, Step, Trait, Trip, Words
from terminals.diagnose.phasors import Judge, Phasors, phasors_of, weak
from terminals.diagnose.probe import Power, Probe, instants
from terminals.diagnose.probes.dlt645 import says_zh
from terminals.diagnose.trouble import both, cause_of, told
from terminals.drivers.driver import Meter, RelayState
from terminals.links.link import LinkError
from terminals.session import Session, SessionError

T = TypeVar("T")

#: Beyond this a clock has to be set. DL/T 645's broadcast corrects at most 5 minutes.
CLOCK_LIMIT: Final = 300.0
#: Round trips kept of one step; a step has a dozen, a search of settings more.
TRIPS: Final = 64
#: Volts below which a meter's clock battery is worn: a lithium cell of 3.6 V. No public source gives the limit, so it may be set.
BATTERY_LOW: Final = 3.0
#: dBm below which a radio link is weak: what operators' guides call the edge of GSM coverage; no standard of meters gives a limit.
SIGNAL_WEAK: Final = -100.0

NOT_TRIED: Final = Words("not tried", "未检查")
_VOLTAGES: Final = ("voltage_a", "voltage_b", "voltage_c")

Report = Callable[[Step], None]
#: Seconds since the diagnosis began, as the wire has them.
Elapsed = Callable[[], float]
#: Domain time (UTC).
Now = Callable[[], np.datetime64]


class Stop(Exception):
    """There is no point in further steps."""


class Trips:
    """The round trips of the present step, passwords blotted out."""

    def __init__(self, passwords: Sequence[str], elapsed: Elapsed) -> None:
        self._secrets = [password.encode() for password in passwords if password]
        self._elapsed = elapsed
        self._last = 0.0
        self._kept: deque[Trip] = deque(maxlen=TRIPS)

    def note(self, sent: bytes, received: bytes, seconds: float) -> None:
        """A session's observer. Its seconds are its own; ours come from the wire, which a recording has too."""
        now = self._elapsed()
        self._kept.append(Trip(self._hidden(sent), self._hidden(received), round(now - self._last, 6)))
        self._last = now

    def take(self) -> tuple[Trip, ...]:
        kept = tuple(self._kept)
        self._kept.clear()
        return kept

    def _hidden(self, data: bytes) -> str:
        for secret in self._secrets:
            data = data.replace(secret, b"*" * len(secret))
        return data.hex(" ").upper()


class Log:
    """The steps as they end, each with what it took."""

    def __init__(self, report: Report, elapsed: Elapsed, trips: Trips) -> None:
        self.steps: list[Step] = []
        self._report = report
        self._elapsed = elapsed
        self._trips = trips
        self._begun = 0.0

    def end(
        self, key: str, state: State, detail: Words, cause: Cause = Cause.NONE, seconds: float | None = None
    ) -> None:
        """A step has ended. `seconds`: of a step that shares its time with the next one, which keeps the round trips."""
        now = self._elapsed()
        taken = now - self._begun if seconds is None else seconds
        trips = self._trips.take() if seconds is None else ()
        self._begun = now if seconds is None else self._begun + taken
        step = Step(key, state, detail, cause, round(taken, 6), trips)
        self.steps.append(step)
        self._report(step)

    def rest(self, *, terminal: bool) -> None:
        """Whatever has not been tried."""
        done = {step.key for step in self.steps}
        for key in NAMES:
            if key not in done and (key not in OPTIONAL or terminal):
                self.end(key, State.UNKNOWN, NOT_TRIED, Cause.NOT_TRIED)


class Examination:
    """One device, one session, all questions. What was found is in the attributes, whatever became of the rest."""

    def __init__(
        self, session: Session, probe: Probe, meter: Meter, log: Log, now: Now, judge: Judge | None = None
    ) -> None:
        self.offset: float | None = None
        self.reads: Reads | None = None
        self.relay: RelayState | None = None
        self.phasors: Phasors | None = None
        self.traits: tuple[Trait, ...] = ()
        self.flags: tuple[Flag, ...] = ()
        self.battery: float | None = None
        self.signal: float | None = None
        self.wiring: Words | None = None
        self._session = session
        self._probe = probe
        self._meter = meter
        self._log = log
        self._now = now
        self._judge = judge

    async def run(self) -> None:
        """All steps from the identity on. Ends early when the wire is gone."""
        try:
            await self._identity()
            await self._clock()
            await self._registers()
            await self._power()
            await self._status()
            await self._battery()
            await self._relay()
            if self._probe.terminal:
                await self._signal()
        except Stop:
            return

    async def _identity(self) -> None:
        traits = await self._ask("identity", self._probe.identity(self._meter))
        if traits is None:
            return
        self.traits = traits
        en = "; ".join(f"{t.name.en} {t.value}" for t in traits)
        zh = "；".join(f"{t.name.zh} {t.value}" for t in traits)
        self._log.end("identity", State.OK, Words(en, zh))

    async def _clock(self) -> None:
        clock = await self._ask("clock", self._probe.clock(self._meter))
        if clock is None:
            return
        offset = self.offset = round(float((clock - self._now()) / np.timedelta64(1, "s")), 1)
        good = abs(offset) <= CLOCK_LIMIT
        local = local_fields(np.array([clock]), self._meter.zone)[0]
        shown = str(local.astype("datetime64[s]")).replace("T", " ")
        detail = Words(f"{shown}, {offset:+.0f} s against us", f"{shown}，与本机相差 {offset:+.0f} 秒")
        self._log.end(
            "clock", State.OK if good else State.FAILED, detail, Cause.NONE if good else Cause.WRONG
        )

    async def _registers(self) -> None:
        reads = await self._ask("registers", self._probe.registers(self._meter, self._now()))
        if reads is None:
            self._log.end("voltages", State.UNKNOWN, NOT_TRIED, Cause.NOT_TRIED)
            return
        self.reads = reads
        registers = [c for c in reads.columns if quantities()[c].kind == "register" and reads.valid(c).any()]
        if registers:
            self._log.end("registers", State.OK, listed(reads, registers))
        else:
            self._log.end("registers", State.UNKNOWN, _GIVES_NONE, Cause.REFUSED)
        self._voltages(reads)

    def _voltages(self, reads: Reads) -> None:
        present = [code for code in _VOLTAGES if reads.valid(code).any()]
        if not present:
            self._log.end("voltages", State.UNKNOWN, _GIVES_NONE, Cause.REFUSED)
            return
        values = [float(reads.columns[code][reads.valid(code)][-1]) for code in present]
        # The nominal voltage is not known here (57.7, 100 or 220 V): a phase far below the others has lost its supply.
        good = min(values) > 0.5 * max(values) > 0
        state, cause = (State.OK, Cause.NONE) if good else (State.FAILED, Cause.WRONG)
        self._log.end("voltages", state, listed(reads, present), cause)

    async def _power(self) -> None:
        power = await self._ask("phasors", self._probe.power(self._meter))
        if power is not None:
            self._show_power(power)

    def _show_power(self, power: Power) -> None:
        known = (instants(self.reads) if self.reads is not None else {}) | power.values
        self.phasors = phasors_of(known, power.star)
        if self.phasors is None:
            self._log.end("phasors", State.UNKNOWN, _GIVES_NONE, Cause.REFUSED)
            return
        if self._judge is not None and (said := self._judge(self.phasors)) is not None:
            self.wiring = Words(*said)
        self._log.end("phasors", State.OK, _angles(self.phasors))

    async def _status(self) -> None:
        status = await self._ask("status", self._probe.status(self._meter))
        if status is None:
            return
        self.flags = status.flags
        alarms = [flag for flag in status.flags if flag.alarm and not flag.doubt]
        state, cause = (State.FAILED, Cause.WRONG) if alarms else (State.OK, Cause.NONE)
        self._log.end("status", state, _flags(status.words, status.flags), cause)

    async def _battery(self) -> None:
        volts = await self._ask("battery", self._probe.battery(self._meter))
        if volts is None:
            return
        self.battery = volts
        low = volts < BATTERY_LOW
        detail = both(f"{volts:.2f} V")
        self._log.end(
            "battery", State.FAILED if low else State.OK, detail, Cause.WRONG if low else Cause.NONE
        )

    async def _relay(self) -> None:
        relay = await self._ask("relay", self._probe.relay(self._meter))
        if relay is None:
            return
        self.relay = relay
        en = "open, the key may close it" if relay.permitted else "open" if relay.open else "closed"
        zh = "断开（合闸允许）" if relay.permitted else "断开" if relay.open else "闭合"
        kept = (", keep-power", "，保电") if relay.keep_power else ("", "")
        load = "" if np.isnan(relay.load_kw) else f", {relay.load_kw:.3f} kW"
        self._log.end(
            "relay", State.OK, Words(f"{en}{kept[0]}{load}", f"{zh}{kept[1]}{load.replace(', ', '，')}")
        )

    async def _signal(self) -> None:
        dbm = await self._ask("signal", self._probe.signal(self._meter))
        if dbm is None:
            return
        self.signal = dbm
        poor = dbm < SIGNAL_WEAK
        self._log.end(
            "signal",
            State.FAILED if poor else State.OK,
            both(f"{dbm:.0f} dBm"),
            Cause.WRONG if poor else Cause.NONE,
        )

    async def _ask(self, key: str, script: Generator[Any, Any, T]) -> T | None:
        """The script's result; None when the step has ended badly. Stop when the wire is gone."""
        try:
            return await self._session.run(script)
        except Refused as error:
            self._log.end(key, State.UNKNOWN, _NOT_THERE if error.absent else both(str(error)), Cause.REFUSED)
        except Misuse as error:  # nothing was asked: this device is none of which that can be asked
            self._log.end(key, State.UNKNOWN, both(str(error)), Cause.REFUSED)
        except LinkError as error:
            self._log.end(key, State.FAILED, both(str(error)), cause_of(error))
            raise Stop from None
        except (SessionError, ProtocolError) as error:
            self._log.end(key, State.FAILED, told(error), cause_of(error))
        return None


_GIVES_NONE: Final = Words("the meter gives none", "电表未给出")
_NOT_THERE: Final = Words("the meter has no such data", "表计无此数据项")


def listed(reads: Reads, codes: Sequence[str]) -> Words:
    """Values with names and units in both languages; of each the newest."""
    rows = [
        (quantities()[code], float(reads.columns[code][reads.valid(code)][-1]) * quantities()[code].scale)
        for code in codes
    ]
    shown = [f"{value:.4g} {q.unit}" if q.kind == "instant" else f"{value:.2f} {q.unit}" for q, value in rows]
    return Words(
        "; ".join(f"{q.name_en} {text}" for (q, _), text in zip(rows, shown, strict=True)),
        "；".join(f"{q.name_zh} {text}" for (q, _), text in zip(rows, shown, strict=True)),
    )


def _angles(phasors: Phasors) -> Words:
    """One phase after the other: what flows, and by how much the current lags."""
    en, zh = [], []
    for phase in phasors.phases:
        if np.isnan(phase.angle) or weak(phase, phasors):
            en.append(
                f"{phase.name}: no load, no angle" if weak(phase, phasors) else f"{phase.name}: angle unknown"
            )
            zh.append(
                f"{phase.name}相：无负荷，无相角" if weak(phase, phasors) else f"{phase.name}相：相角未知"
            )
            continue
        way = ("lagging", "滞后") if phase.angle >= 0 else ("leading", "超前")
        back = (", flowing backwards", "，反向") if abs(phase.angle) > 90 else ("", "")
        en.append(f"{phase.name}: {abs(phase.angle):.1f}° {way[0]}{back[0]} ({_BY_EN[phase.source.value]})")
        zh.append(
            f"{phase.name}相：{way[1]} {abs(phase.angle):.1f}°{back[1]}（{_BY_ZH[phase.source.value]}）"
        )
        if phase.doubt:
            en[-1] += ", against its own P and Q"
            zh[-1] += "，与其有功、无功不符"
    return Words("; ".join(en), "；".join(zh))


_BY_EN: Final = {
    "meter": "the meter's", "P and Q": "from P and Q", "power factor": "from the power factor, lag assumed", "unknown": "",
}  # fmt: skip
_BY_ZH: Final = {
    "meter": "表计测量", "P and Q": "由有功、无功计算", "power factor": "由功率因数计算，按滞后计", "unknown": "",
}  # fmt: skip


def _flags(words: dict[int, str], flags: Sequence[Flag]) -> Words:
    codes = " ".join(words.values())
    en = "; ".join(
        f"{'! ' if f.alarm else ''}{f.name.en}: {f.says}{f' ({f.doubt})' if f.doubt else ''}" for f in flags
    )
    zh = "；".join(
        f"{'! ' if f.alarm else ''}{f.name.zh}：{says_zh(f.says)}{'（公开资料说法不一，以表计说明书为准）' if f.doubt else ''}"
        for f in flags
    )
    return Words(
        f"{codes}: {en}" if en else f"{codes}: nothing set", f"{codes}：{zh}" if zh else f"{codes}：无置位"
    )
