"""What each trouble does to a terminal or a meter, and how it is undone."""

from __future__ import annotations

from random import Random

import numpy as np

from terminals.simulator.meter import Meter
from terminals.simulator.terminal import Terminal
from terminals.simulator.troubles import WEATHER, Trouble
from terminals.simulator.weather import Weather
from terminals.simulator.wires import Wire


def meter(meter: Meter, trouble: Trouble, now: np.datetime64, *, mended: bool) -> None:
    """Apply it to a meter, or take it away."""
    match trouble.kind:
        case "dead":
            meter.dead = not mended or meter.index in meter.area.plan.dead
        case "clock":
            meter.wander(now, meter.clock(now) - now + _seconds(trouble.value))
        case "drift":
            ahead = meter.clock(now) - now
            meter.rate = 0.0 if mended else trouble.value
            meter.wander(now, ahead)
        case "overwrite":
            meter.kept = None if mended else _seconds(3_600 * trouble.value)


def terminal(
    terminal: Terminal,
    wire: Wire,
    trouble: Trouble,
    weather: Weather,
    seed: int,
    *,
    mended: bool,
) -> None:
    """Apply it to a terminal, or take it away. `weather`: all that its line does now."""
    if trouble.kind in WEATHER:
        if terminal.passage is not None and not weather.fair:
            terminal.passage.weather = weather
        else:
            terminal.weather(weather, Random(f"{seed} {trouble.who}"))
        return
    match trouble.kind:
        case "silence":
            terminal.silent = not mended
        case "away":
            terminal.away = not mended
            if not mended:
                wire.hang_up(0.0)
        case "reboot":
            wire.hang_up(trouble.value)
        case "move":
            wire.move()


def _seconds(count: float) -> np.timedelta64:
    return np.timedelta64(round(count * 1e6), "us")
