"""Keeps the clocks of a fleet on the disk while it runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from terminals.simulator import state
from terminals.simulator.codes import terminal_code
from terminals.simulator.terminal import Terminal

#: Seconds between two writings at least; and how many times as long as the last writing took, so that it stays below a twentieth.
LEAST: Final = 1.0
TIMES: Final = 20


class Keeper:
    """`unsaved` after every change; the file follows at once, or as soon as it may."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._truth = ""
        self._terminals: Sequence[Terminal] = ()
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0.0

    def recall(self, terminals: Sequence[Terminal], truth: str) -> None:
        """Set the clocks as an earlier run of the same truth left them. Damaged: the file cannot be read."""
        kept = state.load(self._path, truth)
        self._truth, self._terminals = truth, terminals
        for terminal in terminals if kept.meters or kept.terminals else ():
            for meter in terminal.meters:
                found = kept.meters.get(meter.asset)
                if found is not None:
                    meter.restore_clock(found)
            own, told = terminal.own_clock, kept.terminals.get(terminal_code(terminal.plan.area))
            if own is not None and told is not None:
                own.wander(np.timedelta64(told.ahead_us, "us"))

    def unsaved(self) -> None:
        """Something has changed."""
        if self._timer is None and self._terminals:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, self._next - loop.time()), self._save)

    def stop(self) -> None:
        """Write what is not written yet."""
        if self._timer is not None:
            self._timer.cancel()
            self._save()
        self._terminals = ()

    def _save(self) -> None:
        self._timer = None
        begun = time.monotonic()
        meters = {
            meter.asset: meter.clock_state
            for terminal in self._terminals
            for meter in terminal.meters
            if not meter.clock_as_made
        }
        terminals = {
            terminal_code(terminal.plan.area): state.ClockState(int(own.ahead.astype(np.int64)))
            for terminal in self._terminals
            if (own := terminal.own_clock) is not None and own.ahead
        }
        state.save(self._path, state.State(meters, terminals), self._truth)
        self._next = asyncio.get_running_loop().time() + max(LEAST, TIMES * (time.monotonic() - begun))
