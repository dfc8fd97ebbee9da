"""A simulated DL/T 698.45 terminal on the table, without sockets: real frames through the driver's exchange and the terminal."""

from __future__ import annotations

import datetime as dt
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import numpy as np

from protocols.errors import Refused
from protocols.exchange import NEED_DATA, Answer, Ignored, Send
from protocols.localtime import instant
from protocols.machine import AskMachine
from terminals.drivers.dlt698 import Dlt698Driver
from terminals.drivers.driver import Meter
from terminals.simulator import archive, truth
from terminals.simulator.area import Area
from terminals.simulator.device698 import Concentrator
from terminals.simulator.meter import Meter as Simulated
from terminals.simulator.scenario import ZONE, Group, Plan, small, stream
from terminals.simulator.standin import StandInMachine
from terminals.simulator.terminal import Terminal

GROUP = Group("dlt698", "dial-out", 4)
QUIET = Plan(dead=0, missing=0, thieves=0, excursions=0, unbalanced=0, prepaid=2, lost=0.0, garbled=0.0)
DRIFT = np.timedelta64(2, "s")


def civil(text: str) -> np.datetime64:
    """'2026-03-11 11:07' in the fleet's civil time -> UTC."""
    return instant(dt.datetime.fromisoformat(text).replace(tzinfo=ZONE))


def world_of(first_day: str = "2026-03-10", **plan: int) -> truth.World:
    """Four terminals of six meters each; areas 0 and 2 are even, 1 and 3 odd."""
    day = dt.date.fromisoformat(first_day)
    later = dt.datetime.combine(day + dt.timedelta(days=1), dt.time(10, 45))
    scenario = small(
        7,
        groups=(GROUP,),
        plan=replace(QUIET, **plan),
        first_day=day,
        commissioned=later - dt.timedelta(hours=11),
        broke_from=later,
        broke_until=later + dt.timedelta(minutes=45),
    )
    return truth.build(scenario)


class StillClock:
    """Domain time that does not pass."""

    def __init__(self, time: np.datetime64) -> None:
        self.time = time

    def now(self) -> np.datetime64:
        return self.time

    def seconds_until(self, when: np.datetime64) -> float:
        return 1e6


class Table:
    """One terminal and a driver beside it; time stands still."""

    def __init__(self, world: truth.World, area: int, now: str) -> None:
        self.world = world
        self.plan = world.plans[area]
        self.now = civil(now)
        self.heard: list[bytes] = []
        keys = archive.passwords(world, area)
        land = Area(world.scenario, self.plan)
        self.acts: list[Any] = []
        meters = [
            Simulated(land, k, password=keys[k], see=self.acts.append, key_delay=None, drift=DRIFT)
            for k in range(self.plan.meters)
        ]
        self.terminal = Terminal(self.plan, meters, lost=0.0, garbled=0.0, rng=stream(1, "line", area))
        self.driver = Dlt698Driver(machine=StandInMachine())
        self.meters = [
            Meter(k + 1, m.address, ZONE, m.phases, {"password": keys[k]}, self.concentrator.address)
            for k, m in enumerate(meters)
        ]

    @property
    def concentrator(self) -> Concentrator:
        assert self.terminal.concentrator is not None
        return self.terminal.concentrator

    def run(self, meter: Meter, work: Generator[Any, Any, Any]) -> Any:
        """A script's result; TimeoutError if the terminal stays silent."""
        exchange = self.driver.exchange(meter)
        try:
            request = next(work)
            while True:
                try:
                    answer = self._answer(exchange, request)
                except Refused as refused:
                    request = work.throw(refused)
                else:
                    request = work.send(answer)
        except StopIteration as done:
            return done.value
        finally:
            work.close()

    def _answer(self, exchange: Any, request: Any) -> Any:
        if isinstance(request, AskMachine):
            return request.question.ask(request.machine)
        return self.ask(exchange, request)

    def ask(self, exchange: Any, request: Any) -> Any:
        pieces = self._say(exchange.send(request))
        while True:
            event = exchange.next_event()
            if event is NEED_DATA:
                if not pieces:
                    raise TimeoutError
                exchange.receive_data(pieces.pop(0))
            elif isinstance(event, Send):
                pieces += self._say(event.data)
            elif isinstance(event, Answer):
                return event.value
            else:
                assert isinstance(event, Ignored)

    def _say(self, data: bytes) -> list[bytes]:
        self.heard.append(data)
        return list(self.terminal.exchange(data, lambda: self.now))
