"""Hours and prices of a meter: read, or written into its spare set and read back.

A write is an order with every key as it was and as it shall become, the switch of the zones last, and with all that the meter held when it was
worked out. Before the first byte all of it is read again, and the meter's clock: where anything else stands there, or the clock is off, or
the day has come too near, nothing is sent. How it goes on is `WritingAct`'s: once, read back, stopped at the first doubt.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

from headend.collector import clockwork
from headend.collector.acts.writing import WritingAct
from headend.collector.books import Book, Found, Item
from headend.collector.job import Job, Looked, WireTrouble
from headend.control import price_policy
from headend.control.facts import Refusal
from headend.control.order_state import Event
from headend.store import cluster, price_tables
from protocols.errors import Misuse, Refused
from protocols.localtime import as_datetime
from terminals.drivers.driver import Driver, Meter, Script

_DAY: Final = dt.timedelta(days=1)


class TablesBook:
    """headend.collector.books.Book of a meter. One key a write: what is refused must not take others with it."""

    most = 1

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def read(self, whom: Meter, keys: Sequence[str] | None) -> Script[Found]:
        return Found((yield from self._driver.tables(whom, keys)))

    def write(self, whom: Meter, items: Sequence[Item], found: Found) -> Script[None]:
        for item in items:
            yield from self._driver.write_table(whom, item.key, item.becomes, found.held)


class PricesAct(WritingAct):
    """headend.collector.job.Act."""

    def __init__(self) -> None:
        super().__init__("prices")

    async def look(self, job: Job) -> Looked:
        if job.order["action"] != "write":
            return Looked()
        try:
            found = await self._read(job, None)
            ahead = (await clockwork.measure(job.session, job.speaker, job.whom, job.desk.clock)).ahead
        except (Refused, Misuse) as why:
            return Looked((Refusal("prices", f"the meter cannot be read: {why}"),))
        against = [
            Refusal("difference", f"{key} is no longer what was approved: look again, then ask again")
            for key in _other(job.order["request"].get("held", {}), found.held)
        ]
        noes = [] if self._taking_back(job) else await self._policy(job, found, ahead)
        return Looked((*against, *(Refusal("prices", no) for no in noes)), found)

    async def _policy(self, job: Job, found: Found, ahead: float) -> list[str]:
        order = job.order
        limits, outdated = await job.desk.database.call(
            lambda conn: (
                cluster.limits(conn),
                price_tables.outdated(
                    conn,
                    order["meter_id"],
                    order["request"]["tariff"],
                    since=order["requested_at"],
                    now=job.now(),
                ),
            )
        )
        noes = price_policy.why_not(
            limits, now=_local(job), at=dt.datetime.fromisoformat(order["request"]["at"]),
            keys=[item.key for item in self.items(order)], switches=found.held, clock_ahead=ahead,
        )  # fmt: skip
        return [outdated, *noes] if outdated else noes

    async def written(self, job: Job, done: int) -> None:
        """Everything is read once more: what no key of the order names must not have moved either."""
        wanted = {
            **job.order["request"]["held"],
            **{item.key: item.becomes for item in self.items(job.order)},
        }
        try:
            back = await self._read(job, None)
        except WireTrouble as trouble:
            await job.step(Event.LOSE, f"{done} written, but not read back as a whole: {trouble}")
            raise
        result = {"read_back_at": as_datetime(job.now()).isoformat(), **self.told(back)}
        await job.step(Event.ANSWER, f"{done} written", result)
        wrong = _other(wanted, back.held)
        if wrong:
            await job.step(Event.DISPROVE, f"written, but {', '.join(wrong)} read back otherwise")
        else:
            await job.step(Event.PROVE, f"{done} written, all read back as approved")

    def end(self, job: Job) -> dt.datetime:
        """The order's end, or before the midnight that nobody writes near; a switch is taken back at any time."""
        if self._taking_back(job):
            return super().end(job)
        now = _local(job)
        midnight = dt.datetime.combine(now.date() + _DAY, dt.time(), job.desk.database.zone)
        return min(super().end(job), midnight - dt.timedelta(minutes=5))

    def again(self, items: Sequence[Item]) -> Sequence[str] | None:
        return None

    def stands(self, job: Job, found: Found, item: Item) -> bool:
        """Who could not be read before the switch may be read after it: then what was spare is present."""
        if super().stands(job, found, item):
            return True
        switched = _local(job) >= dt.datetime.fromisoformat(job.order["request"]["at"])
        present = found.held.get(item.key.removeprefix("spare "))
        if not switched or not item.key.startswith("spare "):
            return False
        if isinstance(present, dict):  # of the dates of its present steps a meter tells nothing
            return bool({**present, "dates": None} == {**item.becomes, "dates": None})
        return bool(present == item.becomes)

    def _taking_back(self, job: Job) -> bool:
        """A switch that is taken back keeps what is: neither clock nor hour speaks against it."""
        return all(item.becomes is None for item in self.items(job.order))

    def told(self, found: Found) -> dict[str, Any]:
        return {"held": dict(found.held)}

    def book(self, job: Job) -> Book:
        return TablesBook(job.desk.driver)


def _local(job: Job) -> dt.datetime:
    return as_datetime(job.now(), job.desk.database.zone).replace(tzinfo=None)


def _other(approved: Mapping[str, Any], held: Mapping[str, Any]) -> list[str]:
    return sorted(key for key in approved.keys() | held if approved.get(key) != held.get(key))
