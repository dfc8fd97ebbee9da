"""Reading and writing what a terminal holds: parameters, archive, tasks; the same way a meter's tables (prices.py).

A write is an order with every item as it was and as it shall become. What the terminal holds is read again before the first byte; if it
is not what was approved, nothing is sent. Then piece by piece: written once, read back, compared; at the first that is not as it
should be nothing more is written. What was interrupted is found out about by reading, never by writing again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import numpy as np
import structlog

from headend.collector.acts.validity import TooLate
from headend.collector.books import Book, Found, Item, book_of
from headend.collector.job import Job, Looked, WireTrouble
from headend.control.facts import Refusal
from headend.control.order_state import Event
from protocols.errors import Misuse, Refused
from protocols.localtime import as_datetime

log = structlog.get_logger()


class WritingAct:
    """headend.collector.job.Act, for one kind of order."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    async def look(self, job: Job) -> Looked:
        if not self.resolved_by_reading(job.order):
            return Looked()
        items = self.items(job.order)
        found = await self._read(job, [item.key for item in items])
        against = [
            Refusal(
                "difference",
                f"{self._kind} {item.key} is no longer what was approved: look again, then ask again",
            )
            for item in items
            if found.held.get(item.key) != item.was
        ]
        return Looked(tuple(against), found)

    async def send(self, job: Job, looked: Looked, asked: np.datetime64, left: float) -> None:
        if self.resolved_by_reading(job.order):
            await self.write(job, self.book(job), looked.known)
            return
        try:
            found = await self._read(job, self.keys(job.order))
        except WireTrouble as trouble:
            await job.step(Event.REJECT, str(trouble))
            return
        result = {
            "held": dict(found.held),
            "denied": [list(pair) for pair in found.denied],
            "read_at": _now(job),
        }
        await job.step(Event.ANSWER, "read", result)
        await job.step(
            Event.PROVE, f"{len(found.held)} {'entries' if self._kind == 'archive' else 'settings'} read"
        )

    async def write(
        self,
        job: Job,
        book: Book,
        before: Found,
        within: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> None:
        """Piece by piece, each read back before the next. `within`: what each writing happens in; TooLate: not a byte of it has left."""
        items, end = self.needed(self.items(job.order), before), self.end(job)
        done = 0
        for piece in _pieces(items, book.most):
            if as_datetime(job.now()) >= end:
                await self._stop(job, f"its time ran out after {done} of {len(items)}")
                return
            try:
                async with within():
                    await job.session.run(book.write(job.whom, piece, before), attempts=1)
            except (Refused, Misuse, TooLate) as refusal:
                await self._stop(job, f"after {done} of {len(items)}: {refusal}")
                return
            except WireTrouble as trouble:  # a corrupt answer too: it says nothing about what was taken
                await job.step(Event.LOSE, f"{done} of {len(items)} written; then sent, but {trouble}")
                raise
            try:
                back = await self._read(job, [item.key for item in piece])
            except WireTrouble as trouble:
                await job.step(
                    Event.LOSE, f"{done + len(piece)} of {len(items)} sent, but not read back: {trouble}"
                )
                raise
            wrong = [item.key for item in piece if not self.proves(back.held.get(item.key), item)]
            if wrong:
                await self._stop(
                    job,
                    f"{self._kind} {wrong[0]} reads back other than it was written; nothing further was sent",
                )
                return
            done += len(piece)
        await self.written(job, done)

    async def _stop(self, job: Job, why: str) -> None:
        """An end before the end: what was taken is read, for a piece may have been taken in part."""
        await job.step(Event.LOSE, why)
        await self.find_out(job)

    async def find_out(self, job: Job) -> None:
        # of what is written twice the last counts
        items = list({item.key: item for item in self.items(job.order)}.values())
        found = await self._read(job, self.again(items))
        wrong = [item.key for item in items if not self.stands(job, found, item)]
        result = {"read_back_at": _now(job), "not_as_approved": wrong} | self.told(found)
        if wrong:
            right = len(items) - len(wrong)
            detail = f"read back: {right} of {len(items)} as approved; not so: {', '.join(wrong[:10])}{' …' if wrong[10:] else ''}"
            await job.step(Event.DISPROVE, detail, result | self.unproved(job, found))
        else:
            await job.step(Event.PROVE, f"read back: all {len(items)} as approved", result)

    def resolved_by_reading(self, order: dict[str, Any]) -> bool:
        return bool(order["action"] != "read")

    async def _read(self, job: Job, keys: Sequence[str] | None) -> Found:
        return await job.session.run(self.book(job).read(job.whom, keys))

    # --- what differs by kind ---

    def items(self, order: dict[str, Any]) -> list[Item]:
        """What is to be written."""
        return [Item(**item) for item in order["request"]["items"]]

    def needed(self, items: list[Item], before: Found) -> list[Item]:
        """Those of them that are not without effect."""
        return items

    def keys(self, order: dict[str, Any]) -> Sequence[str] | None:
        """What a read asks for; None: for all there is."""
        keys: Sequence[str] | None = order["request"].get("keys")
        return keys

    def book(self, job: Job) -> Book:
        return book_of(job.speaker.name, self._kind)

    def proves(self, held: Any, item: Item) -> bool:
        """Whether what was read back is what was written."""
        return bool(held == item.becomes)

    def end(self, job: Job) -> dt.datetime:
        """From then on nothing more is written."""
        end: dt.datetime = job.order["expires_at"]
        return end

    async def written(self, job: Job, done: int) -> None:
        """All has been written, and each piece read back."""
        await job.step(Event.ANSWER, f"{done} written", {"read_back_at": _now(job)})
        await job.step(Event.PROVE, f"{done} written, each read back as approved")

    def again(self, items: Sequence[Item]) -> Sequence[str] | None:
        """What is read to find out what became of a write; None: all there is."""
        return [item.key for item in items]

    def stands(self, job: Job, found: Found, item: Item) -> bool:
        """Whether it is there as approved, however long after it was written."""
        return self.proves(found.held.get(item.key), item)

    def told(self, found: Found) -> dict[str, Any]:
        """What of it stands in the order's result."""
        return {}

    def unproved(self, job: Job, found: Found) -> dict[str, Any]:
        """The same where it was found not to be as approved."""
        return {}


def _pieces(items: Sequence[Item], most: int) -> Iterator[Sequence[Item]]:
    """Erasures one by one, before anything else: each is read back before the next."""
    out = [item for item in items if item.becomes is None]
    put = [item for item in items if item.becomes is not None]
    yield from ([item] for item in out)
    yield from (put[k : k + most] for k in range(0, len(put), most))


def _now(job: Job) -> str:
    return as_datetime(job.now()).isoformat()
