"""One meter as its protocol's device sees it: registers, records, clock, relay. No bytes, no sockets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocols.localtime import as_datetime
from terminals.simulator.area import CURVE_DAYS, Area
from terminals.simulator.diary import Diary, Entry
from terminals.simulator.layout import Ints
from terminals.simulator.physics import SLOT_US, SolvedDay
from terminals.simulator.relay import CannotAct, Command, Contact, Relay, after
from terminals.simulator.scenario import SLOTS, ZONE
from terminals.simulator.state import ClockState
from terminals.simulator.tables645 import Tables
from terminals.simulator.wallet import Refusal, Stage, Wallet
from terminals.simulator.witness import Act

_US: Final = np.timedelta64(1, "us")
_DAY: Final = np.timedelta64(1, "D")
_EPOCH: Final = np.datetime64(0, "us")
#: Times that a clock was set that are remembered: what was noted before is shown with the clock of then.
_MOVES: Final = 64
_CLOSED: Final = Relay()
_SECOND: Final = np.timedelta64(1, "s")
#: What an act of the wallet is called in the acts of a fleet.
PURCHASE: Final = "purchase"


@dataclass(frozen=True, slots=True, eq=False)
class DayRecord:
    """What a meter has of one day.

    ends       datetime64[us][96]  UTC ends of the slots
    registers  int[5, 96]          1e-4 kWh
    shown      int32[14, 96]
    recorded   bool[96]
    solved     the day it was cut from, for caches
    """

    ends: NDArray[np.datetime64]
    registers: Ints
    shown: NDArray[np.int32]
    recorded: NDArray[np.bool_]
    solved: SolvedDay


class Meter:
    """Meter `index` of an area.

    `see` is told of every act, `clock_set` of every change of the clock; `key_delay` is how long after a permit
    the customer presses the key (None: never). `drift`: how far its clock is ahead; `rate`: seconds a day that it
    gains on what it was set to. Call `settle` with the present before anything else: keys pressed since then take
    effect at their own instants.
    """

    __slots__ = (
        "_clock_set",
        "_diary",
        "_drift",
        "_key_delay",
        "_moves",
        "_see",
        "_settled",
        "_tables",
        "area",
        "clock_as_made",
        "dead",
        "has_relay",
        "index",
        "kept",
        "key_due",
        "password",
        "phases",
        "prepaid",
        "rate",
        "relay",
        "wallet",
    )  # fmt: skip

    def __init__(
        self,
        area: Area,
        index: int,
        *,
        password: str,
        see: Callable[[Act], None],
        key_delay: np.timedelta64 | None,
        drift: np.timedelta64,
        clock_set: Callable[[], None] | None = None,
        rate: float = 0.0,
        diary: Diary | None = None,
        wallet: Wallet | None = None,
    ) -> None:
        self.area = area
        self.index = index
        self.phases = area.plan.phases(index)
        self.password = password
        self.dead = index in area.plan.dead
        self.prepaid = index in area.plan.prepaid
        #: A supply meter behind current transformers has no relay.
        self.has_relay = index > 0
        self.relay = _CLOSED
        self.key_due: np.datetime64 | None = None
        self._see = see
        self._clock_set = clock_set
        self._key_delay = key_delay
        self._drift = drift
        self.rate = rate
        #: None as long as nothing happens: most meters of a large fleet
        self._diary = diary
        self._moves: deque[tuple[np.datetime64, np.timedelta64]] | None = None
        self.clock_as_made = True
        #: of a meter that executes its own fee control; None: nothing is counted down in it
        self.wallet = wallet
        #: until when the wallet has been counted down
        self._settled: np.datetime64 | None = None
        self._tables: Tables | None = None
        #: how far its load record reaches back; None: CURVE_DAYS
        self.kept: np.timedelta64 | None = None

    @property
    def asset(self) -> str:
        """The 12-digit asset number."""
        return self.area.plan.asset(self.index)

    @property
    def address(self) -> str:
        """What the protocol calls this meter."""
        return self.area.plan.address(self.index)

    # --- clock ---

    def clock(self, now: np.datetime64) -> np.datetime64:
        """What the meter takes for UTC at the instant `now`."""
        moves = self._moves or ()
        since, ahead = next((move for move in reversed(moves) if move[0] <= now), (None, self._drift))
        gained = 0.0 if since is None else self.rate * float((now - since) / _DAY)
        return now + ahead + np.timedelta64(round(gained * 1e6), "us")

    @property
    def diary(self) -> Diary:
        """What has happened to it."""
        return Diary() if self._diary is None else self._diary

    def tables(self, now: np.datetime64) -> Tables:
        """Its hours and prices, as they are by its own clock. None are kept of a meter that nobody has asked for them."""
        if self._tables is None:
            tariff = self.area.scenario.tariff
            self._tables = Tables(tariff.hours, tariff.prices if self.prepaid else None)
        self._tables.settle(as_datetime(self.clock(now), ZONE).replace(tzinfo=None))
        return self._tables

    def sets_in_use(self, now: np.datetime64) -> int:
        """The bits of run status word 3 that say which set runs."""
        return 0 if self._tables is None else self.tables(now).status

    def set_clock(self, now: np.datetime64, clock: np.datetime64) -> None:
        """Set by somebody: that is an event, and noted."""
        shown = self.clock(now)
        self.wander(now, clock - now)
        self._diary = self.diary
        self._diary.note(Entry("clock-set", now, now, before=shown, after=clock))

    def wander(self, now: np.datetime64, ahead: np.timedelta64) -> None:
        """The clock is off by this much from now on, and gains `rate` on it; nobody noted it."""
        if self._moves is None:
            self._moves = deque(maxlen=_MOVES)
        self._moves.append((now, ahead.astype("timedelta64[us]")))
        self.clock_as_made = False
        if self._clock_set is not None:
            self._clock_set()

    @property
    def clock_state(self) -> ClockState:
        """The clock, for a restart."""
        as_of, ahead = self._moves[-1] if self._moves else (_EPOCH, self._drift)
        return ClockState(
            int(ahead.astype(np.int64)), int(as_of.astype("datetime64[us]").astype(np.int64)), self.rate
        )

    def restore_clock(self, state: ClockState) -> None:
        """The clock of an earlier run of the same fleet."""
        self.rate = state.rate
        self.wander(np.datetime64(state.as_of_us, "us"), np.timedelta64(state.ahead_us, "us"))

    # --- records ---

    def registers(self, now: np.datetime64) -> Ints | None:
        """int[5], 1e-4 kWh: total and tariffs at `now`."""
        found = self.area.registers(now)
        return None if found is None else np.asarray(found[:, self.index])

    def shown(self, now: np.datetime64) -> NDArray[np.int32] | None:
        """int32[14]: physics.SHOWN at `now`."""
        found = self.area.shown(now)
        return None if found is None else np.asarray(found[:, self.index])

    def freeze(self, now: np.datetime64, back: int) -> tuple[np.datetime64, Ints] | None:
        """The back-th last day freeze (1 the newest): its midnight, UTC, and int[5] in 1e-4 kWh."""
        today, us = self.area.locate(now)
        found = self.area.freeze(today - back)
        if found is None or back < 1:
            return None
        at = now - (us + (back - 1) * SLOTS * SLOT_US) * _US
        return at.astype("datetime64[us]"), np.asarray(found[:, self.index])

    def record(self, now: np.datetime64, at: np.datetime64) -> DayRecord | None:
        """The day that owns the slot ending at `at`; None if it lies in the future, before history or is
        forgotten.
        """
        today, _ = self.area.locate(now)
        day, _ = self.area.locate(at - _US)
        if day > today or day <= today - 1 - CURVE_DAYS:
            return None
        solved = self.area.day(day)
        if solved is None:
            return None
        begin = self.area.locate(at - _US)[1]
        midnight = at - (begin + 1) * _US
        recorded = self.area.plan.recorded.get(day)
        ends = (midnight + np.arange(1, SLOTS + 1) * np.timedelta64(SLOT_US, "us")).astype("datetime64[us]")
        return DayRecord(
            ends=ends,
            registers=solved.meter_registers(self.index),
            shown=solved.meter_shown(self.index),
            recorded=self._still_there(ends, recorded, now),
            solved=solved,
        )

    def _still_there(
        self, ends: NDArray[np.datetime64], recorded: NDArray[np.bool_] | None, now: np.datetime64
    ) -> NDArray[np.bool_]:
        """bool[96]: what was recorded, and is not overwritten yet."""
        there = np.ones(SLOTS, dtype=np.bool_) if recorded is None else recorded[self.index]
        return there if self.kept is None else there & (ends > now - self.kept)

    # --- relay ---

    def command(self, now: np.datetime64, command: Command) -> Relay:
        """A command that came over the wire and passed the protocol's own checks. CannotAct: the relay
        refuses.
        """
        return self._act(now, command)

    def refuse(self, now: np.datetime64, command: str, why: str) -> None:
        """The protocol's checks refused a command: bear witness."""
        self._see(Act(now, self.asset, "refused", self.relay.open, f"{command}: {why}"))

    def settle(self, now: np.datetime64) -> None:
        """What has come about by now: keys that were pressed, and what the wallet does by itself, in the order in which it did."""
        while True:
            low = self._lower(now)
            if self.key_due is not None and self.key_due <= (now if low is None else low):
                due, self.key_due = self.key_due, None
                self._settled = None if self._settled is None else max(self._settled, due)
                if self.relay.contact is Contact.PERMITTED:
                    self._act(due, Command.KEY)
            elif low is not None:
                self._sink(low)
            else:
                self._settled = now
                return

    def restore(self, act: Act) -> None:
        """An act of an earlier run of the same fleet, already witnessed."""
        if act.act == PURCHASE:
            kind, fen, count, customer = act.detail.split()
            self._take(act.at, kind, int(fen), int(count), customer)
        elif act.act != "refused":
            self._move(act.at, after(self.relay, Command(act.act)))
        if self.wallet is not None:  # what it did on its way down until then is among the acts
            registers = self.registers(act.at)
            assert registers is not None
            self.wallet.stage, self._settled = self.wallet.stage_of(registers), act.at
            shut = self.relay.contact is Contact.OPEN
            self.wallet.tripped = shut and (self.wallet.tripped or self.wallet.stage is Stage.TRIP)

    # --- wallet ---

    def purchase(self, now: np.datetime64, kind: str, fen: int, count: int, customer: str) -> None:
        """A purchase that came over the wire and passed the protocol's own checks. Refusal: the wallet does not take it."""
        try:
            self._take(now, kind, fen, count, customer)
        except Refusal as why:
            self.refuse(now, f"{kind} {count}", str(why))
            raise
        self._see(Act(now, self.asset, PURCHASE, self.relay.open, f"{kind} {fen} {count} {customer}"))
        registers = self.registers(now)
        assert self.wallet is not None
        assert registers is not None
        if self.wallet.tripped and self.wallet.may_close(registers):
            self.wallet.tripped = False
            if self.relay.contact is Contact.OPEN:
                self._act(now, Command.PERMIT)

    def _take(self, at: np.datetime64, kind: str, fen: int, count: int, customer: str) -> None:
        registers = self.registers(at)
        if self.wallet is None or registers is None:
            raise Refusal(1, "there is no wallet")
        self.wallet.take(kind, fen, count, customer, registers, at)
        self.wallet.stage, self._settled = self.wallet.stage_of(registers), at

    def _lower(self, now: np.datetime64) -> np.datetime64 | None:
        """The second in which the wallet sank lower than it had; None: it has not, up to `now`."""
        begin = self._settled
        if self.wallet is None or not self.wallet.open or begin is None or begin >= now:
            return None
        if not self._sunk(now):
            return None
        end = now
        while end - begin > _SECOND:
            middle = (begin + (end - begin) // 2).astype("datetime64[us]")
            begin, end = (begin, middle) if self._sunk(middle) else (middle, end)
        return end

    def _sunk(self, at: np.datetime64) -> bool:
        registers = self.registers(at)
        assert self.wallet is not None
        return registers is not None and self.wallet.stage_of(registers) > self.wallet.stage

    def _sink(self, at: np.datetime64) -> None:
        """It is lower than it was: what the meter does then, unless power is to be kept."""
        registers = self.registers(at)
        assert self.wallet is not None
        assert registers is not None
        stage = self.wallet.stage = self.wallet.stage_of(registers)
        self._settled = at
        if stage < Stage.PRE_TRIP or self.relay.keep:
            return
        if stage is Stage.TRIP:
            self.wallet.tripped = True
            if self.relay.contact is not Contact.OPEN:
                self._act(at, Command.TRIP)
        elif not self.relay.open:  # opened once, as a warning
            self._act(at, Command.TRIP)
            self._act(at, Command.PERMIT)

    def _act(self, at: np.datetime64, command: Command) -> Relay:
        try:
            then = after(self.relay, command)
        except CannotAct as why:
            self.refuse(at, command.value, str(why))
            raise
        self._move(at, then)
        self._see(Act(at, self.asset, command.value, self.relay.open))
        return self.relay

    def _move(self, at: np.datetime64, then: Relay) -> None:
        if self.relay.open != then.open:
            self.area.switch(at, self.index, closed=not then.open)
        self.relay = then
        if self.relay.contact is not Contact.PERMITTED:
            self.key_due = None
        elif self._key_delay is not None and self.key_due is None:
            self.key_due = (at + self._key_delay).astype("datetime64[us]")
