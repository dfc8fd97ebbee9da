"""Reading and writing what a terminal holds: parameters, archive, tasks; the same way a meter's tables (prices.py).

A write is an order with every item as it was and as it shall become. What the terminal holds is read again before the first byte; if it
is not what was approved, nothing is sent. Then piece by piece: written once, read back, compared; at the first that is not as it
should be nothing more is written. What was interrupted is found out about by reading, never by writing again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import structlog

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
        if job.order["action"] != "write":
            return Looked()
        found = await self._read(job, [item.key for item in items_of(job)])
        against = [
            Refusal(
                "difference",
                f"{self._kind} {item.key} is no longer what was approved: look again, then ask again",
            )
            for item in items_of(job)
            if found.held.get(item.key) != item.was
        ]
        return Looked(tuple(against), found)

    async def send(self, job: Job, looked: Looked, asked: np.datetime64, left: float) -> None:
        if job.order["action"] == "write":
            await self._write(job, looked.known)
            return
        try:
            found = await self._read(job, job.order["request"].get("keys"))
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

    async def _write(self, job: Job, before: Found) -> None:
        book, items, until = self._book(job), items_of(job), self._until(job)
        done = 0
        for piece in _pieces(items, book.most):
            if as_datetime(job.now()) >= until:
                await self._stop(job, f"its time ran out after {done} of {len(items)}")
                return
            try:
                await job.session.run(book.write(job.whom, piece, before), attempts=1)
            except (Refused, Misuse) as refusal:
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
            wrong = [item.key for item in piece if back.held.get(item.key) != item.becomes]
            if wrong:
                await self._stop(
                    job,
                    f"{self._kind} {wrong[0]} reads back other than it was written; nothing further was sent",
                )
                return
            done += len(piece)
        await self._written(job, done)

    async def _written(self, job: Job, done: int) -> None:
        """All has been written, and each piece read back."""
        await job.step(Event.ANSWER, f"{done} written", {"read_back_at": _now(job)})
        await job.step(Event.PROVE, f"{done} written, each read back as approved")

    def _until(self, job: Job) -> dt.datetime:
        """From then on nothing more is written."""
        until: dt.datetime = job.order["expires_at"]
        return until

    async def _stop(self, job: Job, why: str) -> None:
        """An end before the end: what was taken is read, for a piece may have been taken in part."""
        await job.step(Event.LOSE, why)
        await self.find_out(job)

    async def find_out(self, job: Job) -> None:
        items = items_of(job)
        found = await self._read(job, self._again(items))
        wrong = [item.key for item in items if not self._stands(job, found, item)]
        result = {"read_back_at": _now(job), "not_as_approved": wrong} | self._kept(found)
        if wrong:
            right = len(items) - len(wrong)
            detail = f"read back: {right} of {len(items)} as approved; not so: {', '.join(wrong[:10])}{' …' if wrong[10:] else ''}"
            await job.step(Event.DISPROVE, detail, result)
        else:
            await job.step(Event.PROVE, f"read back: all {len(items)} as approved", result)

    def _again(self, items: Sequence[Item]) -> Sequence[str] | None:
        """What is read to find out what became of a write."""
        return [item.key for item in items]

    def _stands(self, job: Job, found: Found, item: Item) -> bool:
        """Whether it is there as approved."""
        return bool(found.held.get(item.key) == item.becomes)

    def _kept(self, found: Found) -> dict[str, Any]:
        """What of it stands in the order's result."""
        return {}

    def resolved_by_reading(self, order: dict[str, Any]) -> bool:
        return bool(order["action"] == "write")

    async def _read(self, job: Job, keys: Sequence[str] | None) -> Found:
        return await job.session.run(self._book(job).read(job.whom, keys))

    def _book(self, job: Job) -> Book:
        return book_of(job.speaker.name, self._kind)


def items_of(job: Job) -> list[Item]:
    return [Item(**item) for item in job.order["request"]["items"]]


def _pieces(items: Sequence[Item], most: int) -> Iterator[Sequence[Item]]:
    """Erasures one by one, before anything else: each is read back before the next."""
    out = [item for item in items if item.becomes is None]
    put = [item for item in items if item.becomes is not None]
    yield from ([item] for item in out)
    yield from (put[k : k + most] for k in range(0, len(put), most))


def _now(job: Job) -> str:
    return as_datetime(job.now()).isoformat()
