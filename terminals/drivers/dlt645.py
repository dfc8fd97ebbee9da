"""DL/T 645-2007 meters: load records, daily freezes, registers, clock and relay as scripts.

What a meter proved not to have is `absent`, and only that. A record is proven absent when the meter has a
later one, or when its own clock has passed the time and it still says "no data": a meter whose clock is slow
has not failed, it has not got there yet.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from protocols.dlt645 import blocks, security
from protocols.dlt645.bulk import LoadColumns, answer_columns, load_columns
from protocols.dlt645.exchange import (
    Control,
    ControlAnswer,
    Master,
    Read,
    ReadAnswer,
    SealedControl,
    Secure,
    SecureAnswer,
    SetTimeBroadcast,
)
from protocols.dlt645.requests import Write, control_plain
from protocols.dlt645.status import COMMAND_OPEN, KEEP_POWER, RELAY_OPEN
from protocols.dlt645.values import Typed, decode, encode, quantity_values
from protocols.dlt645.words import CONTROL_DONE_BITS, CONTROL_PENDING, PASSWORD_ERROR, bit_names
from protocols.errors import FrameError, Misuse, Refused
from protocols.localtime import Times, from_local, local_fields
from protocols.machine import AskMachine
from protocols.reading import REGISTER_QUANTITIES, SLOT_QUANTITIES, Reads, empty_column, no_reads
from terminals.drivers import events645, tables645
from terminals.drivers.driver import (
    ClockWay,
    EventsOf,
    Meter,
    Outcome,
    RelayAction,
    RelayAnswer,
    RelayState,
    Retention,
    Script,
)
from terminals.drivers.happening import Happening, News
from terminals.drivers.without import NoSession, NothingBehind

DATE, TIME = 0x04000101, 0x04000102
DATE_AND_TIME: Final = 0x0400010C
STATUS_3 = 0x04000503
POWER = 0x02030000
LOAD_FROM_TIME, LOAD_LATEST = 0x06000001, 0x06000002
FREEZE_TIME, FREEZE_IMPORT, FREEZE_EXPORT = 0x05060000, 0x05060100, 0x05060200

#: The daily freeze keeps 62 days (Table A.6).
FREEZES: Final = 62
SLOT: Final = np.timedelta64(15, "m")
#: Wanted slots this far apart still share a request: the blocks between cost less than another question.
BRIDGE: Final = 2
#: Around local midnight the freeze list may shift by one between two reads of the same script.
RESTLESS: Final = dt.timedelta(minutes=10)

_ACTIONS: Final = {
    RelayAction.TRIP: 0x1A,
    RelayAction.PERMIT: 0x1B,
    RelayAction.CLOSE: 0x1C,
    RelayAction.KEEP_POWER: 0x3A,
    RelayAction.END_KEEP_POWER: 0x3B,
}
#: The present values of `registers`: each DI, and the single-phase DI to try where a meter refuses the block.
_PRESENT: Final = (
    (0x0001FF00, 0x00010000),
    (0x00020000, None),
    (0x0201FF00, 0x02010100),
    (0x0202FF00, 0x02020100),
    (POWER, None),
)


class Dlt645Driver(NoSession, NothingBehind):
    """terminals.drivers.driver.Driver for DL/T 645-2007.

    blocks_per_request   of the load record: a full block is 103 bytes and a frame holds 200, so 9 are 5 frames, as full as those of any larger
                         number. A frame lost in the middle costs no more than those, and on a radio link somebody with an order waits
                         some 3 s for them, which cannot be interrupted
    curve_kept           how long the load record reaches back; the meter's memory and its classes decide, so
                         this is a cautious default
    machine              the utility's cipher machine: then relays are switched after an authentication, at level 98. Meters from
                         before the security module have the secret `relay` = "password" and keep level 02
    """

    name = "dlt645-2007"
    events_of: EventsOf = "meter"
    clock_ways = frozenset((ClockWay.BROADCAST, ClockWay.WRITE))

    def __init__(
        self,
        *,
        blocks_per_request: int = 9,
        curve_kept: dt.timedelta = dt.timedelta(days=10),
        wakeup: int = 4,
        machine: security.CipherMachine | None = None,
    ) -> None:
        self.retention = Retention(curve_kept, dt.timedelta(days=FREEZES), dt.timedelta(days=FREEZES))
        self._blocks = blocks_per_request
        self._wakeup = wakeup
        self.machine = machine

    def known(self, meter: Meter) -> str:
        return ""  # every answer explains itself

    def recall(self, meter: Meter, known: str) -> None:
        if known:
            raise ValueError(f"DL/T 645 keeps nothing of a meter, and this was kept: {known[:60]!r}")

    def exchange(self, meter: Meter) -> Master:
        return Master(self._wakeup)

    # --- interval data ---

    def curve(self, meter: Meter, slots: Times) -> Script[Outcome]:
        """Load records 06000001 from each first missing slot on; unasked blocks on the slot grid are kept."""
        found = _Curve(meter, slots)
        while found.pending:
            yield from self._curve_step(meter, found)
        return found.outcome()

    def _curve_step(self, meter: Meter, found: _Curve) -> Script[None]:
        """One request; takes at least the first pending slot off the list."""
        start = found.pending[0]
        times = yield from self._blocks_from(meter, found, start, found.run(self._blocks))
        if times is None:
            yield from self._nothing_from(meter, found, start)
            return
        later = [time for time in times if time >= start]
        if not later:
            found.leave(start)  # an answer about another time proves nothing
            return
        if later[0] > start:
            # Either the meter has nothing in between, or this is a late answer to an older request: ask.
            again = yield from self._blocks_from(meter, found, start, 1)
            if again is None or (again and again[0] >= later[0]):
                found.prove_absent(start, later[0])
            elif start not in again:
                found.leave(start)
        for before, after in pairwise(later):
            if after - before > SLOT:  # neighbours have nothing between them
                found.prove_absent(before, after)

    def _blocks_from(
        self, meter: Meter, found: _Curve, start: np.datetime64, count: int
    ) -> Script[list[np.datetime64] | None]:
        """The times of the blocks that came, ascending; None for "no data". The blocks are in `found`."""
        local = local_fields(np.array([start]), meter.zone)[0]
        extra = blocks.from_time(local, count)
        try:
            answer: ReadAnswer = yield Read(meter.address, LOAD_FROM_TIME, extra)
        except Refused as refused:
            if not refused.absent:
                raise
            return None
        return found.take(answer.data)

    def _nothing_from(self, meter: Meter, found: _Curve, start: np.datetime64) -> Script[None]:
        """The meter has no data from `start` on: never, or not yet? Its newest record and its clock tell."""
        if found.latest is None:
            found.latest = yield from self._newest_block(meter, found)
        if start < found.latest:
            found.absent.add(start)  # it has later ones, so this one is missing for good
            found.leave(start)
            return
        if found.clock is None:
            found.clock = yield from self.clock(meter)
        for slot in [slot for slot in found.pending if slot >= start]:
            if slot <= found.clock - np.timedelta64(1, "m"):
                found.absent.add(slot)
            found.leave(slot)

    def _newest_block(self, meter: Meter, found: _Curve) -> Script[np.datetime64]:
        """The time of the newest record; the beginning of time if there is none."""
        never = np.datetime64(0, "us")
        try:
            answer: ReadAnswer = yield Read(meter.address, LOAD_LATEST, blocks.number_of_blocks(1))
        except Refused as refused:
            if not refused.absent:
                raise
            return never
        return max(found.take(answer.data), default=never)

    # --- daily freezes ---

    def day_freeze(self, meter: Meter, midnights: Times, now: np.datetime64) -> Script[Outcome]:
        """Daily freezes 0506xxnn by their time stamp: nn counted from `now`, searched if it differs."""
        stamps = _Stamps()
        times: list[np.datetime64] = []
        imports: list[bytes] = []
        exports: list[bytes] = []
        absent: list[np.datetime64] = []
        clock: np.datetime64 | None = None
        for midnight in np.sort(midnights)[::-1]:
            day = _local(midnight, meter)
            number = yield from self._find_freeze(meter, stamps, day, _local(now, meter))
            if number is None:
                if not stamps.later_than(day):  # not there: never, or not yet?
                    if clock is None:
                        clock = yield from self.clock(meter)
                    if clock - np.timedelta64(1, "m") < midnight:
                        continue
                absent.append(midnight)
                continue
            energy = yield from _read_or_none(meter, FREEZE_IMPORT | number)
            back = None
            if energy is not None and not stamps.no_export:
                back = yield from _read_or_none(meter, FREEZE_EXPORT | number)
                stamps.no_export = back is None  # a meter without reverse energy refuses it for every day
            if _restless(_local(now, meter)):
                stamps.forget()
                moved = yield from self._stamp(meter, stamps, number)
                if moved != day:
                    continue  # the list shifted under us: whose energy it was is not proven
            if energy is None:
                absent.append(midnight)
                continue
            times.append(midnight)
            imports.append(energy)
            exports.append(back or b"")
        return _freeze_outcome(meter, times, imports, exports, absent)

    def month_freeze(self, meter: Meter, midnights: Times, now: np.datetime64) -> Script[Outcome]:
        """The day freezes of the days that close months: the same registers at the same instants."""
        return (yield from self.day_freeze(meter, midnights, now))

    def _find_freeze(
        self, meter: Meter, stamps: _Stamps, day: dt.datetime, now: dt.datetime
    ) -> Script[int | None]:
        """The nn whose stamp is `day`, or None when the whole list is seen not to have it."""
        first, last = stamps.bracket(day)
        guess = stamps.guess(day, now)
        while first <= last:
            guess = min(max(guess, first), last)
            stamp = yield from self._stamp(meter, stamps, guess)
            if stamp == day:
                return guess
            if stamp is None or stamp < day:
                last = guess - 1
            else:
                first = guess + 1
            guess = guess + (stamp - day).days if stamp is not None else (first + last) // 2
        return None

    def _stamp(self, meter: Meter, stamps: _Stamps, number: int) -> Script[dt.datetime | None]:
        """When freeze nn was taken; None where the list has no such entry."""
        if number not in stamps.known:
            raw = yield from _read_or_none(meter, FREEZE_TIME | number)
            value = decode(FREEZE_TIME | number, raw)[0].value if raw is not None else None
            stamps.known[number] = value if isinstance(value, dt.datetime) else None
        return stamps.known[number]

    # --- present values and clock ---

    def registers(self, meter: Meter, now: np.datetime64) -> Script[Reads]:
        """The present energies, voltages, currents and power. What the meter does not have is missing."""
        found: dict[str, int | float | np.datetime64] = {}
        for di, single in _PRESENT:
            answer = yield from _read_or_none(meter, di)
            if answer is None and single is not None:
                di, answer = single, (yield from _read_or_none(meter, single))  # noqa: PLW2901
            if answer is not None:
                found |= quantity_values(di, answer)
        columns = {}
        for code, value in found.items():
            columns[code] = empty_column(code, 1)
            columns[code][0] = value
        return (
            Reads(np.array([meter.key]), np.array([now], "datetime64[us]"), columns)
            if columns
            else no_reads()
        )

    def clock(self, meter: Meter) -> Script[np.datetime64]:
        """Date and time are two reads, and midnight may fall between them: then the date is read again."""
        date: ReadAnswer = yield Read(meter.address, DATE)
        time: ReadAnswer = yield Read(meter.address, TIME)
        clock = decode(TIME, time.data)[0].value
        if isinstance(clock, dt.time) and clock < dt.time(0, 5):
            date = yield Read(meter.address, DATE)
        day = decode(DATE, date.data)[0].value
        if not isinstance(day, dt.date) or not isinstance(clock, dt.time):
            raise FrameError("clock: the meter gives no date or time")
        local = np.array([dt.datetime.combine(day, clock)], "datetime64[us]")
        return np.datetime64(from_local(local, meter.zone)[0], "us")

    def set_clock(self, meter: Meter, now: np.datetime64) -> Script[None]:
        """Broadcast 08H, which needs no password and gets no answer: read the clock back to know.

        Meters take it once a day and only for a small correction; all meters on the line hear it.
        """
        yield SetTimeBroadcast(local_fields(np.array([now]), meter.zone)[0])

    def write_clock(self, meter: Meter, now: np.datetime64) -> Script[None]:
        """14H at level 02 of 0400010C: date, weekday and time in one, so that no midnight falls between; of 04000101 and 04000102 where the
        meter is older than that item.

        Misuse without the secret `password`. A meter with a security module refuses a password: then a person must go there.
        """
        password = meter.secrets.get("password")
        if password is None:
            raise Misuse(f"clock: meter {meter.address} has no password configured")
        operator = meter.secrets.get("operator", "00000000")
        local = _local(now, meter).replace(microsecond=0)
        weekday = local.isoweekday() % 7

        def write(di: int, *told: Typed) -> Write:
            return Write(meter.address, di, encode(di, told), 2, password, operator)

        try:
            yield write(DATE_AND_TIME, local, weekday)
        except Refused as refused:
            if not refused.absent:
                raise
            yield write(DATE, local.date(), weekday)
            yield write(TIME, local.time())

    # --- events ---

    def events(self, meter: Meter, since: np.datetime64, now: np.datetime64) -> Script[tuple[Happening, ...]]:
        """The logs of events645.LOGS."""
        return (yield from events645.events(meter, since))

    def news(self, meter: Meter) -> News:
        return News()  # a meter on a bus speaks when it is asked

    # --- hours and prices ---

    def tables(self, meter: Meter, keys: Collection[str] | None = None) -> Script[dict[str, Any]]:
        return (yield from tables645.read(meter, keys))

    def write_table(self, meter: Meter, key: str, value: Any, held: Mapping[str, Any]) -> Script[None]:
        yield from tables645.write(self.machine, meter, key, value, held)

    # --- relay ---

    def relay_clock(self, meter: Meter) -> Script[np.datetime64]:
        """Its own."""
        return self.clock(meter)

    def relay(self, meter: Meter, action: RelayAction, expires: np.datetime64) -> Script[RelayAnswer]:
        """1CH: sealed by the cipher machine where there is one, else at level 02 with the secrets `password` and `operator`.

        Misuse without either. There is no way from one to the other: a refused authentication ends the order.
        """
        local = local_fields(np.array([expires]), meter.zone)[0]
        if self.machine is None or meter.secrets.get("relay") == "password":
            answer = yield from _plain_control(meter, _ACTIONS[action], local)
        else:
            answer = yield from _sealed_control(self.machine, meter, _ACTIONS[action], local)
        word = answer.word or 0
        return RelayAnswer(
            pending=bool(word & CONTROL_PENDING), detail=", ".join(bit_names(word, CONTROL_DONE_BITS))
        )

    def relay_state(self, meter: Meter) -> Script[RelayState]:
        """Run status word 3 and the present total power."""
        status: ReadAnswer = yield Read(meter.address, STATUS_3)
        load = yield from self.power(meter)
        word = decode(STATUS_3, status.data)[0].value
        if not isinstance(word, int):
            raise FrameError("run status word 3: missing")
        is_open = bool(word & RELAY_OPEN)
        return RelayState(
            open=is_open,
            permitted=is_open and not word & COMMAND_OPEN,
            keep_power=bool(word & KEEP_POWER),
            load_kw=load,
            detail=f"run status word 3 {word:04X}H",
        )

    def power(self, meter: Meter) -> Script[float]:
        """The present total power in kW, NaN if it shows none."""
        answer: ReadAnswer = yield Read(meter.address, POWER)
        return float(quantity_values(POWER, answer.data).get("active_power", np.nan))


def _plain_control(meter: Meter, action: int, expires: np.datetime64) -> Script[ControlAnswer]:
    password = meter.secrets.get("password")
    if password is None:
        raise Misuse("relay: there is no cipher machine and this meter has no password configured")
    operator = meter.secrets.get("operator", "00000000")
    try:
        answer: ControlAnswer = yield Control(
            meter.address, action, expires, password=password, operator=operator
        )
    except Refused as refused:
        if refused.code & PASSWORD_ERROR:
            why = f"{refused}; a smart meter takes this only through the utility's cipher machine"
            raise Refused(why, code=refused.code) from None
        raise
    return answer


def _sealed_control(
    machine: security.CipherMachine, meter: Meter, action: int, expires: np.datetime64
) -> Script[ControlAnswer]:
    """03H 070000FF, then 1CH at level 98. The machine keeps the keys; what passes here is its ciphertext."""
    operator = meter.secrets.get("operator", "00000000")
    session = yield from authenticate(machine, meter)
    question = security.SealControl(session, control_plain(action, 0, expires))
    sealed: security.Sealed = yield AskMachine(machine, question)
    order = SealedControl(meter.address, sealed.encode(security.SEALED_CONTROL_BYTES), operator)
    answer: ControlAnswer = yield order
    return answer


def authenticate(machine: security.CipherMachine, meter: Meter) -> Script[security.Session]:
    """03H 070000FF. Whatever was sealed for an earlier authentication is worth nothing to the meter from now on."""
    operator = meter.secrets.get("operator", "00000000")
    factor = security.dispersion_of(meter.address)
    challenge: security.Challenge = yield AskMachine(machine, security.Authenticate(factor))
    known: SecureAnswer = yield Secure(meter.address, security.AUTHENTICATE, challenge.encode(), operator)
    return security.session_of(challenge, known.data)


# --- what the scripts remember ---


NO_TIMES: Final[Times] = np.empty(0, dtype="datetime64[us]")


@lru_cache(maxsize=256)
def _askable(slots: bytes, zone: ZoneInfo) -> tuple[Times, Times]:
    """The slots, ascending, and those of them that can be asked for: the second pass of a repeated hour has the local time of the first.

    Remembered, since all meters are asked for the same ones."""
    wanted = np.unique(np.frombuffer(slots, dtype="datetime64[us]"))
    wanted.flags.writeable = False
    return wanted, wanted[from_local(local_fields(wanted, zone), zone) == wanted]


class _Curve:
    """What one curve script has got and still wants."""

    def __init__(self, meter: Meter, slots: Times) -> None:
        self._meter = meter
        self._loaded: list[LoadColumns] = []
        self.absent: set[np.datetime64] = set()
        self.latest: np.datetime64 | None = None
        self.clock: np.datetime64 | None = None
        self._wanted, reachable = _askable(slots.astype("datetime64[us]").tobytes(), meter.zone)
        self.pending: list[np.datetime64] = list(reachable)

    def run(self, most: int) -> int:
        """How many blocks to ask for from the first pending slot on."""
        start = last = self.pending[0]
        for slot in self.pending:
            if slot - last > (BRIDGE + 1) * SLOT or slot - start >= most * SLOT:
                break
            last = slot
        return int((last - start) / SLOT) + 1

    def take(self, data: bytes) -> list[np.datetime64]:
        """Keep an answer; the UTC times of its blocks, ascending. FrameError if it is corrupt."""
        loaded = load_columns([data])
        if loaded.errors:
            raise loaded.errors[0]
        self._loaded.append(loaded)
        times = sorted(from_local(loaded.time, self._meter.zone))
        got = set(times)
        self.pending = [slot for slot in self.pending if slot not in got]
        return times

    def leave(self, slot: np.datetime64) -> None:
        """No more questions about this slot in this script."""
        self.pending = [other for other in self.pending if other != slot]

    def prove_absent(self, begin: np.datetime64, end: np.datetime64) -> None:
        """The meter's records go from before `begin` straight to `end`: it has none of those between."""
        gone = {slot for slot in self.pending if begin <= slot < end}
        self.absent |= gone
        self.pending = [slot for slot in self.pending if slot not in gone]

    def outcome(self) -> Outcome:
        loaded = self._loaded or [load_columns([])]
        local = np.concatenate([some.time for some in loaded])
        utc = from_local(local, self._meter.zone)
        columns = {c: np.concatenate([some.columns[c] for some in loaded]) for c in loaded[0].columns}
        if len(utc) > 1:
            utc, first = np.unique(utc, return_index=True)
            local, columns = local[first], {code: column[first] for code, column in columns.items()}
        on_grid = (local - local.astype("datetime64[D]")) % SLOT == np.timedelta64(0)
        reads = Reads(np.full(len(utc), self._meter.key, np.int64), utc, columns)
        filled = np.zeros(len(utc), np.bool_)
        for code in SLOT_QUANTITIES:
            filled |= reads.valid(code)
        if not self.absent and filled.all() and on_grid.all():
            return Outcome(reads, NO_TIMES)
        # A record that the meter marks as faulty, or that holds nothing, is one it does not have.
        empty = np.intersect1d(utc[~filled], self._wanted)
        absent = np.union1d(np.array(sorted(self.absent), "datetime64[us]"), empty)
        return Outcome(reads.take(filled & (on_grid | np.isin(utc, self._wanted))), absent)


@dataclass(slots=True)
class _Stamps:
    """The freeze list as far as seen: nn -> its time, None where there is no entry. Newest first."""

    known: dict[int, dt.datetime | None] = field(default_factory=dict)
    no_export: bool = False

    def later_than(self, day: dt.datetime) -> bool:
        return any(stamp is not None and stamp > day for stamp in self.known.values())

    def forget(self) -> None:
        self.known.clear()

    def bracket(self, day: dt.datetime) -> tuple[int, int]:
        """Where `day` can stand, given what is known."""
        newer = [nn for nn, stamp in self.known.items() if stamp is not None and stamp > day]
        older = [nn for nn, stamp in self.known.items() if stamp is None or stamp < day]
        return max(newer, default=0) + 1, min(older, default=FREEZES + 1) - 1

    def guess(self, day: dt.datetime, now: dt.datetime) -> int:
        """Counted from the nearest known stamp, else from today: nn = 1 is last midnight's."""
        near = [(abs((s - day).days), nn + (s - day).days) for nn, s in self.known.items() if s is not None]
        return min(near)[1] if near else (now.date() - day.date()).days + 1


def _freeze_outcome(
    meter: Meter,
    times: Sequence[np.datetime64],
    imports: Sequence[bytes],
    exports: Sequence[bytes],
    absent: Sequence[np.datetime64],
) -> Outcome:
    columns, errors = answer_columns(FREEZE_IMPORT | 1, imports, REGISTER_QUANTITIES)
    given = [row for row, answer in enumerate(exports) if answer]
    back, back_errors = answer_columns(FREEZE_EXPORT | 1, [exports[row] for row in given], ("active_export",))
    for error in (*errors.values(), *back_errors.values()):
        raise error
    columns["active_export"][given] = back["active_export"]
    reads = Reads(np.full(len(times), meter.key, np.int64), np.array(times, "datetime64[us]"), columns).take(
        np.argsort(np.array(times, "datetime64[us]"))
    )
    filled = np.zeros(len(reads), np.bool_)
    for code in REGISTER_QUANTITIES:
        filled |= reads.valid(code)
    gone = np.union1d(np.array(absent, "datetime64[us]"), reads.time[~filled])
    return Outcome(reads.take(filled), gone)


def _read_or_none(meter: Meter, di: int) -> Script[bytes | None]:
    """The data, or None where the meter says it has none. Any other refusal goes up."""
    try:
        answer: ReadAnswer = yield Read(meter.address, di)
    except Refused as refused:
        if not refused.absent:
            raise
        return None
    return answer.data


def _local(when: np.datetime64, meter: Meter) -> dt.datetime:
    local: dt.datetime = local_fields(np.array([when]), meter.zone)[0].astype(dt.datetime)
    return local


def _restless(now: dt.datetime) -> bool:
    since = now - now.replace(hour=0, minute=0, second=0, microsecond=0)
    return not RESTLESS <= since <= dt.timedelta(days=1) - RESTLESS
