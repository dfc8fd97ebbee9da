"""The troubles of a running fleet: planted, told to it, and mended again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from terminals.simulator import troubles, upset
from terminals.simulator.meter import Meter
from terminals.simulator.scenario import stream
from terminals.simulator.terminal import Terminal
from terminals.simulator.troubles import KINDS, WEATHER, Impossible, Record, Trouble
from terminals.simulator.weather import Weather
from terminals.simulator.wires import Wire


class Mischief:
    """`going`: (kind, who) -> the troubles that go on. `terminals`: code -> terminal and its wire; `meters`: asset number -> meter."""

    def __init__(
        self,
        path: Path,
        seed: int,
        now: Callable[[], np.datetime64],
        terminals: Mapping[str, tuple[Terminal, Wire]],
        meters: Mapping[str, Meter],
    ) -> None:
        self.going: dict[tuple[str, str], Trouble] = {}
        self._seed = seed
        self._now = now
        self._terminals = terminals
        self._meters = meters
        self._mending: dict[tuple[str, str], asyncio.TimerHandle] = {}
        earlier = troubles.read(path)
        self._record = Record(path)
        for trouble in earlier:
            if trouble.until is None:
                self._begin(trouble)

    def stop(self) -> None:
        """What goes on stands in the record, and goes on with the next start."""
        for timer in self._mending.values():
            timer.cancel()
        self._record.close()

    def whom(self, kind: str, text: str) -> list[str]:
        """'all', a share such as '5%', or names with commas between -> codes or asset numbers. Impossible: there is no such kind or name.

        Which ones a share are is a matter of the seed.
        """
        if kind not in KINDS:
            raise Impossible(f"{kind!r} is none of {', '.join(KINDS)}")
        names = self._meters if KINDS[kind].of == "meter" else self._terminals
        if text == "all":
            return list(names)
        if text.endswith("%"):
            count = round(len(names) * _share(text))
            chosen = stream(self._seed, f"trouble {kind}").permutation(len(names))[:count]
            every = list(names)
            return [every[k] for k in sorted(chosen.tolist())]
        for name in text.split(","):
            if name not in names:
                raise Impossible(f"{name!r} is no {KINDS[kind].of} here")
        return text.split(",")

    def plant(
        self, kind: str, who: Sequence[str], value: float | None = None, seconds: float | None = None
    ) -> int:
        """A trouble begins for these, and ends after so many seconds of real time (None: goes on); for how many it is new.

        Impossible: the value is none that the kind can have.
        """
        rule = KINDS[kind]
        settled = rule.value if value is None else value
        if not rule.least <= settled <= rule.most:
            raise Impossible(f"{kind} takes a number between {rule.least:g} and {rule.most:g}")
        now = self._now()
        until = now if rule.passing else None
        same = {name for name in who if (t := self.going.get((kind, name))) and t.value == settled}
        seconds = None if rule.passing else seconds
        new = [Trouble(kind, name, settled, now, until, seconds) for name in who if name not in same]
        self._record.begin(new)
        for trouble in new:
            self._begin(trouble)
        return len(new)

    def mend(self, kind: str, who: Sequence[str]) -> int:
        """A trouble is over for these; of how many."""
        over = [trouble for name in who if (trouble := self.going.pop((kind, name), None)) is not None]
        for trouble in over:
            timer = self._mending.pop((kind, trouble.who), None)
            if timer is not None:
                timer.cancel()
        self._record.end(over, self._now())
        for trouble in over:
            self._apply(trouble, mended=True)
        return len(over)

    def _begin(self, trouble: Trouble) -> None:
        if not KINDS[trouble.kind].passing:
            self.going[trouble.kind, trouble.who] = trouble
        if trouble.seconds is not None:
            loop = asyncio.get_running_loop()
            self._mending[trouble.kind, trouble.who] = loop.call_later(
                trouble.seconds, self.mend, trouble.kind, [trouble.who]
            )
        self._apply(trouble)

    def _apply(self, trouble: Trouble, *, mended: bool = False) -> None:
        if KINDS[trouble.kind].of == "meter":
            upset.meter(self._meters[trouble.who], trouble, self._now(), mended=mended)
            return
        terminal, wire = self._terminals[trouble.who]
        now = {kind: t.value for kind in WEATHER if (t := self.going.get((kind, trouble.who)))}
        upset.terminal(terminal, wire, trouble, Weather(**now), self._seed, mended=mended)


def _share(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise Impossible(f"{text!r} is no share between 0% and 100%")
    return share
