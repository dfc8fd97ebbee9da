"""Limits of a meter's wallet: written one by one and read back. The wallet is read first: nobody who has supply may lose it by them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headend.collector.acts.writing import WritingAct
from headend.collector.books import Book, Found, Item
from headend.collector.drivers import wallets_for
from headend.collector.job import Job, Looked
from headend.control import wallet_limits
from headend.control.facts import Refusal
from protocols.errors import Misuse, Refused
from terminals.drivers.driver import Meter, Script
from terminals.drivers.wallet import WalletWay


class LimitsBook:
    """headend.collector.books.Book of a meter: fen by name."""

    most = 1

    def __init__(self, way: WalletWay) -> None:
        self._way = way

    def read(self, whom: Meter, keys: Sequence[str] | None) -> Script[Found]:
        held = yield from self._way.limits(whom)
        return Found({name: fen for name, fen in held.items() if keys is None or name in keys})

    def write(self, whom: Meter, items: Sequence[Item], found: Found) -> Script[None]:
        for item in items:
            yield from self._way.set_limit(whom, item.key, item.becomes)


class LimitsAct(WritingAct):
    """headend.collector.job.Act."""

    def __init__(self) -> None:
        super().__init__("limits")

    async def look(self, job: Job) -> Looked:
        """What stands there is what was approved, and what is left in the wallet allows the rest."""
        try:
            way = _way(job)
            held = await job.session.run(way.read(job.whom))
            around = await job.session.run(way.around(job.whom))
        except (Refused, Misuse) as why:
            return Looked((Refusal("limits", f"the wallet cannot be read: {why}"),))
        items = self.items(job.order)
        against = [
            Refusal("difference", f"{item.key} is no longer what was approved: look again, then ask again")
            for item in items
            if around.settings.get(item.key) != item.was
        ]
        if not against:
            wanted = {item.key: item.becomes for item in items}
            left = held.remaining_fen - held.overdrawn_fen
            no = wallet_limits.against(wanted, around.settings, left, is_open=around.is_open)
            against = [] if no is None else [Refusal("limits", no)]
        return Looked(tuple(against), Found(dict(around.settings)))

    def items(self, order: dict[str, Any]) -> list[Item]:
        """A lowered second alarm comes first: wherever the write ends, no meter opens before it has warned."""
        return sorted(
            super().items(order), key=lambda item: not (item.key == "alarm2" and item.becomes < item.was)
        )

    def told(self, found: Found) -> dict[str, Any]:
        return {"held": dict(found.held)}

    def book(self, job: Job) -> Book:
        return LimitsBook(_way(job))


def _way(job: Job) -> WalletWay:
    way = wallets_for(job.desk.driver)
    if way is None:
        raise Misuse(f"limits: {job.desk.driver.name} knows no wallets")
    return way
