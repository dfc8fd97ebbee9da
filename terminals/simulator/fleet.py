"""The whole fleet in one process: truth first, then sockets, then the archive, then `ready.json`."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from terminals.simulator import archive, diary, truth
from terminals.simulator.area import TOGETHER, Area, Shelf, join
from terminals.simulator.codes import ADDRESSED, terminal_address, terminal_code
from terminals.simulator.commands import obey
from terminals.simulator.control import Control
from terminals.simulator.dialin import DialIn, Dialler
from terminals.simulator.keeper import Keeper
from terminals.simulator.meter import Meter
from terminals.simulator.mischief import Mischief
from terminals.simulator.quick645 import Quick645, Slots645
from terminals.simulator.records645 import Kept
from terminals.simulator.scenario import Scenario, stream
from terminals.simulator.terminal import Terminal
from terminals.simulator.wallet import Wallet
from terminals.simulator.wires import DialOut, SerialLine, Surroundings, Wire
from terminals.simulator.witness import Act, Witness, read_acts

#: Bytes of one meter's solved day, of a fleet in which most have one phase: 3,600 to 4,300 measured.
_METER_DAY: Final = 5_000
#: Bytes for solved days that even a small fleet may use: all days of the demo.
_LEAST: Final = 64 << 20
#: Encoded days of meters kept, 11 KB each: of those that are being read piece by piece now.
_KEPT: Final = 4_096
_TROUBLES: Final = "troubles.jsonl"
_ZERO: Final = np.timedelta64(0, "us")
#: Multiples of it are spread evenly between whole numbers.
_GOLDEN: Final = 0.6180339887498949


class Clock(Protocol):
    """Domain time."""

    def now(self) -> np.datetime64:
        """The present instant, datetime64[us] UTC."""

    def seconds_until(self, when: np.datetime64) -> float:
        """How many seconds of real waiting until `when`; 0 if past."""


class Fleet:
    """Every terminal of a scenario, reachable.

    directory   receives truth.json, truth.npz, archive/*.csv, acts.jsonl and at last ready.json
    listener    host and port of the head-end, for the terminals that dial in; it need not be there yet
    first_port  the dial-out terminals listen on this port and the following ones; 0: on any free ports
    heartbeat   seconds between heartbeats of the terminals that dial in
    bare        terminals with an archive of their own come from the factory: nobody has told them anything yet
    dial_rate   how many of them dial in a second
    faults      (kind, value, whom), see `Mischief.plant` and `whom`: the troubles that it begins with
    memory      bytes for solved days; None: two days of every area

    A directory that already holds the same truth is continued: the relays are as acts.jsonl left them, and what a terminal was told is
    in told/.
    """

    def __init__(
        self,
        scenario: Scenario,
        directory: Path,
        clock: Clock,
        listener: tuple[str, int],
        first_port: int = 0,
        *,
        heartbeat: float = 30.0,
        bare: bool = False,
        dial_rate: float = 200.0,
        memory: int | None = None,
        faults: Sequence[tuple[str, float | None, str]] = (),
    ) -> None:
        self.scenario = scenario
        self.directory = directory
        self.sha256 = ""
        self.terminals: tuple[Terminal, ...] = ()
        self.endpoints: dict[int, str] = {}
        self.wires: list[Wire] = []
        self._dialler = Dialler(listener, dial_rate)
        self._memory = memory
        self._faults = tuple(faults)
        self._clock = clock
        self._listener = listener
        self._first_port = first_port
        self._heartbeat = heartbeat
        self._bare = bare
        self._witness: Witness | None = None
        #: area -> how far its concentrator's clock was ahead when it was last looked at
        self._clocks: dict[int, np.timedelta64] = {}
        self._keys: dict[int, asyncio.TimerHandle] = {}
        self.mischief: Mischief | None = None
        self._keeper = Keeper(directory / "state.json")
        self._control: Control | None = None
        self._hanging_up: list[asyncio.TimerHandle] = []

    async def start(self) -> None:
        """Write the truth, open the wires, write the archive, say that all is ready.

        CannotListen: a port is taken. Damaged: a file of an earlier run cannot be read. Impossible: there is nobody whom a fault
        was meant for. What was opened before is closed again.
        """
        world = truth.build(self.scenario)
        acts = self._resume(world)
        self._witness = Witness(self.directory / "acts.jsonl")
        self.terminals = self._build(world)
        self._restore(acts)
        self._control = Control(partial(obey, self))
        try:
            await self._control.start()
            self._keeper.recall(self.terminals, self.sha256)
            await self._open()
            self._remember()
        except BaseException:
            await self.stop()
            raise
        archive.write(self.directory / "archive", world, self.endpoints)
        self._announce()

    def status(self) -> dict[str, float]:
        """How the fleet is: terminals, those online, logins, answers made and answers that the line swallowed; how long it took from dialling
        until the head-end answered, since all were told to come back [s]."""
        waits = sorted(self._dialler.waits)
        dialling = [wire for wire in self.wires if isinstance(wire, DialIn)]
        return {
            "terminals": len(self.terminals),
            "online": sum(wire.online for wire in dialling),
            "logins": sum(wire.logins for wire in dialling),
            "answered": sum(terminal.answered for terminal in self.terminals),
            "swallowed": sum(terminal.swallowed for terminal in self.terminals),
            "login_p99": waits[len(waits) * 99 // 100] if waits else 0.0,
            "login_worst": waits[-1] if waits else 0.0,
        }

    def reconnect(self, seconds: float = 0.0) -> int:
        """Let every terminal that dials in hang up, now or one after the other within so many seconds; how many there are.

        They dial anew at once, as fast as `dial_rate` allows."""
        dialling = [wire for wire in self.wires if isinstance(wire, DialIn)]
        for timer in self._hanging_up:
            timer.cancel()
        self._dialler.waits.clear()
        loop = asyncio.get_running_loop()
        self._hanging_up = [
            loop.call_later(seconds * k / len(dialling), wire.hang_up, 0.0) for k, wire in enumerate(dialling)
        ]
        return len(dialling)

    async def stop(self) -> None:
        """Close everything. The files stay."""
        if self._control is not None:
            await self._control.stop()
            self._control = None
        for timer in self._hanging_up:
            timer.cancel()
        self._hanging_up = []
        for timer in self._keys.values():
            timer.cancel()
        self._keys.clear()
        await self._dialler.stop()
        for wire in self.wires:
            await wire.stop()
        self.wires.clear()
        if self._witness is not None:
            self._witness.close()
            self._witness = None
        if self.mischief is not None:
            self.mischief.stop()
            self.mischief = None
        self._keeper.stop()
        (self.directory / "ready.json").unlink(missing_ok=True)

    # --- building ---

    def _resume(self, world: truth.World) -> list[Act]:
        """Write the truth. The acts of an earlier run, and what its terminals were told, count only if it had the same truth."""
        (self.directory / "ready.json").unlink(missing_ok=True)
        before = truth.digest(self.directory)
        self.sha256 = truth.write(self.directory, world)
        path = self.directory / "acts.jsonl"
        if before != self.sha256:
            path.unlink(missing_ok=True)
            shutil.rmtree(self.directory / "told", ignore_errors=True)
            (self.directory / _TROUBLES).unlink(missing_ok=True)
        return read_acts(path)

    def _remember(self) -> None:
        """The troubles of an earlier run go on; then come those that this run begins with."""
        self.mischief = Mischief(
            self.directory / _TROUBLES,
            self.scenario.seed,
            self._clock.now,
            {
                terminal_code(terminal.plan.area): (terminal, wire)
                for terminal, wire in zip(self.terminals, self.wires, strict=True)
            },
            {meter.asset: meter for terminal in self.terminals for meter in terminal.meters},
        )
        for kind, value, share in self._faults:
            self.mischief.plant(kind, self.mischief.whom(kind, share), value)

    def _build(self, world: truth.World) -> tuple[Terminal, ...]:
        """All terminals; neighbours are solved together."""
        meters = max((plan.meters for plan in world.plans), default=0)
        shelf = Shelf(
            max(len(world.plans) * meters * _METER_DAY * 2, _LEAST) if self._memory is None else self._memory
        )
        areas = [Area(self.scenario, plan, shelf) for plan in world.plans]
        join(areas)
        kept = Kept(_KEPT)
        terminals = []
        for begin in range(0, len(areas), TOGETHER):
            neighbours = areas[begin : begin + TOGETHER]
            slots = Slots645(neighbours)
            terminals += [self._terminal(world, area, slots, kept) for area in neighbours]
        return tuple(terminals)

    def _terminal(self, world: truth.World, area: Area, slots: Slots645, kept: Kept) -> Terminal:
        scenario, plan = self.scenario, area.plan
        drifts = stream(scenario.seed, "clocks", plan.area).integers(-3_000_000, 3_000_001, size=plan.meters)
        happens = diary.planned(scenario, plan)
        local = plan.prepaid if scenario.wallets and plan.protocol == "dlt645" else frozenset()
        delay = None if scenario.key_delay is None else np.timedelta64(round(scenario.key_delay * 60e6), "us")
        meters = [
            Meter(
                area,
                index,
                password=password,
                see=self._see,
                key_delay=delay,
                drift=np.timedelta64(drift, "us"),
                clock_set=self._keeper.unsaved,
                diary=diary.Diary(happens[index]) if index in happens else None,
                wallet=Wallet(scenario.tariff.prices) if index in local else None,
            )
            for index, (password, drift) in enumerate(
                zip(archive.passwords(world, plan.area), drifts.tolist(), strict=True)
            )
        ]
        lost, garbled = scenario.plan.lost, scenario.plan.garbled
        line = stream(scenario.seed, "line", plan.area) if lost or garbled else None
        return Terminal(
            plan, meters, lost, garbled, line, quick=Quick645(area, meters, slots), kept=kept, bare=self._bare,
            notes=self.directory / "told" / f"{terminal_code(plan.area)}.json",
        )  # fmt: skip

    def _restore(self, acts: Sequence[Act]) -> None:
        if acts:
            meters = {meter.asset: meter for terminal in self.terminals for meter in terminal.meters}
            for act in acts:
                meters[act.meter].restore(act)
        for terminal in self.terminals:
            self._arm(terminal)

    async def _open(self) -> None:
        around = Surroundings(self._clock.now, self._served)
        port = self._first_port
        for terminal in self.terminals:
            area, link = terminal.plan.area, terminal.plan.link
            if link == "dial-out":
                waiting = DialOut(terminal, around)
                self.endpoints[area] = await waiting.start(port)
                port += 1 if port else 0
                self.wires.append(waiting)
            elif link == "serial":
                serial = SerialLine(terminal, around)
                self.endpoints[area] = await serial.start()
                self.wires.append(serial)
            else:
                protocol = terminal.plan.protocol
                identity = terminal_address(protocol, area) if protocol in ADDRESSED else terminal_code(area)
                phase = 0.5 + area * _GOLDEN % 1.0 / 2
                dialling = DialIn(terminal, around, identity, self._dialler, self._heartbeat, phase)
                self.endpoints[area] = ""
                await dialling.start()
                self.wires.append(dialling)

    def _announce(self) -> None:
        """ready.json appears whole: its name is given only when it is complete."""
        document: dict[str, Any] = {
            "pid": os.getpid(),
            "sha256": self.sha256,
            "seed": self.scenario.seed,
            "control": self._control.port if self._control is not None else 0,
            "listener": f"{self._listener[0]}:{self._listener[1]}",
            "terminals": {
                terminal_code(t.plan.area): {
                    "protocol": t.plan.protocol,
                    "link": t.plan.link,
                    "endpoint": self.endpoints[t.plan.area],
                }
                for t in self.terminals
            },
        }
        new = self.directory / "ready.json.new"
        new.write_text(json.dumps(document, indent=1), encoding="utf-8")
        new.replace(self.directory / "ready.json")

    # --- living ---

    def _see(self, act: Act) -> None:
        if self._witness is not None:
            self._witness.see(act)

    def _served(self, terminal: Terminal) -> None:
        """It has answered: its clock may have been set, or a key promised."""
        own = terminal.own_clock
        if own is not None and own.ahead != self._clocks.get(terminal.plan.area, _ZERO):
            self._clocks[terminal.plan.area] = own.ahead
            self._keeper.unsaved()
        self._arm(terminal)

    def _arm(self, terminal: Terminal) -> None:
        """Wake up when the next key is pressed in this area."""
        area, due = terminal.plan.area, terminal.next_key()
        if due is None or area in self._keys:
            return
        loop = asyncio.get_running_loop()
        self._keys[area] = loop.call_later(self._clock.seconds_until(due), self._press, terminal)

    def _press(self, terminal: Terminal) -> None:
        del self._keys[terminal.plan.area]
        terminal.settle(self._clock.now())
        self._arm(terminal)
