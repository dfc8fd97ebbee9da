"""The whole fleet in one process: truth first, then sockets, then the archive, then `ready.json`."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from terminals.simulator import archive, diary, truth
from terminals.simulator.area import Area
from terminals.simulator.codes import ADDRESSED, terminal_address, terminal_code
from terminals.simulator.layout import AreaPlan
from terminals.simulator.meter import Meter
from terminals.simulator.scenario import Scenario, stream
from terminals.simulator.terminal import Terminal
from terminals.simulator.wires import DialIn, DialOut, SerialLine, Surroundings
from terminals.simulator.witness import Act, Witness, read_acts

_MINUTE = np.timedelta64(60_000_000, "us")


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

    A directory that already holds the same truth is continued: the relays are as acts.jsonl left them.
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
    ) -> None:
        self.scenario = scenario
        self.directory = directory
        self.sha256 = ""
        self.terminals: tuple[Terminal, ...] = ()
        self.endpoints: dict[int, str] = {}
        self.wires: list[DialOut | DialIn | SerialLine] = []
        self._clock = clock
        self._listener = listener
        self._first_port = first_port
        self._heartbeat = heartbeat
        self._witness: Witness | None = None
        self._keys: dict[int, asyncio.TimerHandle] = {}

    async def start(self) -> None:
        """Write the truth, open the wires, write the archive, say that all is ready.

        CannotListen: a port is taken; what was opened before is closed again.
        """
        world = truth.build(self.scenario)
        acts = self._resume(world)
        self._witness = Witness(self.directory / "acts.jsonl")
        self.terminals = tuple(self._terminal(world, plan) for plan in world.plans)
        self._restore(acts)
        try:
            await self._open()
        except BaseException:
            await self.stop()
            raise
        archive.write(self.directory / "archive", world, self.endpoints)
        self._announce()

    async def stop(self) -> None:
        """Close everything. The files stay."""
        for timer in self._keys.values():
            timer.cancel()
        self._keys.clear()
        for wire in self.wires:
            await wire.stop()
        self.wires.clear()
        if self._witness is not None:
            self._witness.close()
            self._witness = None
        (self.directory / "ready.json").unlink(missing_ok=True)

    # --- building ---

    def _resume(self, world: truth.World) -> list[Act]:
        """Write the truth. The acts of an earlier run count only if it had the same truth."""
        (self.directory / "ready.json").unlink(missing_ok=True)
        before = truth.digest(self.directory)
        self.sha256 = truth.write(self.directory, world)
        path = self.directory / "acts.jsonl"
        if before != self.sha256:
            path.unlink(missing_ok=True)
        return read_acts(path)

    def _terminal(self, world: truth.World, plan: AreaPlan) -> Terminal:
        scenario = self.scenario
        area = Area(scenario, plan)
        rng = stream(scenario.seed, "clocks", plan.area)
        happens = diary.planned(scenario, plan)
        delay = None if scenario.key_delay is None else np.timedelta64(round(scenario.key_delay * 60e6), "us")
        meters = [
            Meter(
                area,
                index,
                password=password,
                see=self._see,
                key_delay=delay,
                drift=np.timedelta64(int(rng.integers(-3_000_000, 3_000_001)), "us"),
                diary=diary.Diary(happens.get(index, ())),
            )
            for index, password in enumerate(archive.passwords(world, plan.area))
        ]
        line = stream(scenario.seed, "line", plan.area)
        return Terminal(plan, meters, lost=scenario.plan.lost, garbled=scenario.plan.garbled, rng=line)

    def _restore(self, acts: Sequence[Act]) -> None:
        meters = {meter.asset: meter for terminal in self.terminals for meter in terminal.meters}
        for act in acts:
            meters[act.meter].restore(act)
        for terminal in self.terminals:
            self._arm(terminal)

    async def _open(self) -> None:
        around = Surroundings(self._clock.now, self._arm)
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
                dialling = DialIn(terminal, around, identity, self._listener, self._heartbeat)
                self.endpoints[area] = ""
                await dialling.start()
                self.wires.append(dialling)

    def _announce(self) -> None:
        """ready.json appears whole: its name is given only when it is complete."""
        document: dict[str, Any] = {
            "pid": os.getpid(),
            "sha256": self.sha256,
            "seed": self.scenario.seed,
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
