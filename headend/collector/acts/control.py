"""Load control (定值控制) and keep-power (保电) of a terminal: written piece by piece as any setting is, but void after its time, by the
terminal's own clock.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import numpy as np

from headend.collector.acts.validity import in_time, validity
from headend.collector.acts.writing import WritingAct
from headend.collector.books import ControlBook, Found, Item, controls_of
from headend.collector.job import Job, Looked
from headend.control import load_steps
from headend.control.facts import Refusal
from headend.store import leases, orders
from headend.store.purchases import FOREIGN
from protocols.errors import ProtocolError
from terminals.drivers.control import Term

_OFF: Final = {"on": False}
#: What is in the customer's favour, or nobody's harm, is told even to a terminal that has no usable clock.
CLOCKLESS = ("release", "keep-power", "end-keep-power")


class ControlAct(WritingAct):
    """headend.collector.job.Act."""

    def __init__(self) -> None:
        super().__init__("control")

    async def look(self, job: Job) -> Looked:
        """The terminal's clock, what stands there, and what of that speaks against the order. What favours the customer waits for no more than
        it must.

        `known`: by how much its clock is ahead of ours (None: it has no usable one), and what was found."""
        if not self.resolved_by_reading(job.order):
            return Looked()
        action, request = job.order["action"], job.order["request"]
        ahead = await self._ahead(job)
        keys = load_steps.asked(action, request)
        if action not in CLOCKLESS:
            keys += [item.key for item in self.items(job.order)]
        found = await self._read(job, list(dict.fromkeys(keys))) if keys else Found({})
        against = [Refusal(gate, why) for gate, why in load_steps.against(action, request, found.held)]
        if action == "write" and ahead is not None and load_steps.by_the_clock(request):
            against += _clock(ahead)
        if action == "write" and str(job.order["request_key"]).startswith(orders.ORDERLY):
            against += [Refusal(gate, why) for gate, why in load_steps.lowered(request, found.held)]
        # what stood there before: of a purchase whose answer is lost it says whether another one has come over it
        return Looked(tuple(against), (ahead, found), {"before": dict(found.held)})

    async def send(self, job: Job, looked: Looked, asked: np.datetime64, left: float) -> None:
        if not self.resolved_by_reading(job.order):
            await super().send(job, looked, asked, left)
            return
        job.order["result"] |= looked.kept or {}
        ahead, found = looked.known
        until = validity(job, ahead, asked, left)

        def term() -> Term | None:
            return None if ahead is None else Term(job.now() + ahead, until.shown)

        @asynccontextmanager
        async def within() -> AsyncIterator[None]:
            """No byte leaves after its time, whether or not the terminal looks at the time in the frame. The lease, which is renewed while the
            steps go on, is looked at again before each."""
            nonlocal until
            begun, fence = job.now(), job.desk.fence
            held = await job.desk.database.call(
                lambda conn: leases.left(conn, fence.owner, fence.terminal_id, fence.epoch)
            )
            until = validity(job, ahead, begun, held)
            with in_time(job, until.last):
                yield

        await self.write(job, ControlBook(controls_of(job.speaker.name), term), found, within)

    async def _ahead(self, job: Job) -> np.timedelta64 | None:
        try:
            shown = await job.session.run(job.speaker.clock(job.whom))
        except ProtocolError:
            if job.order["action"] not in CLOCKLESS:
                raise
            return None
        # our time after the answer: the difference is rather too small, and the validity with it
        return np.timedelta64(shown - job.now())

    def items(self, order: dict[str, Any]) -> list[Item]:
        return [
            Item(name, None, value) for name, value in load_steps.steps(order["action"], order["request"])
        ]

    def needed(self, items: list[Item], before: Found) -> list[Item]:
        """What is off already is not switched off: a terminal may deny it, and nobody needs it."""
        return [item for item in items if item.becomes != _OFF or before.held.get(item.key) != _OFF]

    def keys(self, order: dict[str, Any]) -> Sequence[str]:
        return load_steps.names(order["request"].get("group", 1))

    def book(self, job: Job) -> ControlBook:
        return ControlBook(controls_of(job.speaker.name))

    def proves(self, held: Any, item: Item) -> bool:
        return load_steps.proves(held, item.becomes)

    def unproved(self, job: Job, found: Found) -> dict[str, Any]:
        """A purchase that was proved absent is offered again, and its payment may be taken back. It is absent where the terminal names the same
        newest one as before; where it names this one, another one or none, a person looks."""
        if job.order["purchase_id"] is None:
            return {}
        newest = f"purchase.{job.order['request'].get('group', 1)}"
        before = job.order["result"].get("before", {}).get(newest)
        return {} if before and before == found.held.get(newest) else {FOREIGN: True}


def _clock(ahead: np.timedelta64) -> list[Refusal]:
    """Whoever goes by a wrong clock is held in hours that nobody approved."""
    off = ahead.astype("timedelta64[us]").astype(dt.timedelta)
    if abs(off) <= load_steps.CLOCK_OFF:
        return []
    which = "ahead" if off > dt.timedelta() else "behind"
    says = str(abs(off)).partition(".")[0]
    return [Refusal("clock", f"the terminal's clock is {says} {which}, and it would hold at other hours")]
