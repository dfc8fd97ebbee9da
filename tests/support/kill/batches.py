"""What the writers of scripts/kill-store bring: batches that a line of their log describes, so that what was sent can be known afterwards."""

from __future__ import annotations

import datetime as dt
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from zoneinfo import ZoneInfo

import numpy as np

from headend.plans import CURVE, DAY
from headend.store.coverage import Attempt
from headend.store.exchanges import Exchange, Said
from headend.store.intake import Delivery
from headend.store.tables import SOURCES
from protocols.localtime import Times
from protocols.quantity import quantities
from protocols.reading import Reads

ZONE = ZoneInfo("Asia/Shanghai")
EPOCH = dt.date(1970, 1, 1)
MINUTE = 60_000_000  # microseconds
QUARTER, DAY_LONG = 15 * MINUTE, 1440 * MINUTE
AHEAD = 8 * 60 * MINUTE  # what ZONE's clocks are ahead of UTC; it has no summer time
FIRST_DAY = (dt.date(2026, 1, 5) - EPOCH).days
METERS = 10
REASON = "read again, different"


@dataclass(frozen=True, slots=True)
class Item:
    """One delivery: a meter's readings of a source at some points of a local day (days since 1970), what was asked for, proved absent, and why
    the rest did not come. Points are numbers of slots (curve), 0 (day freeze) or seconds of the day (spot). `salt` 0: the meter's own value."""

    source: str
    meter: int
    day: int
    points: tuple[int, ...]
    codes: tuple[str, ...]
    salt: int = 0
    asked: tuple[int, ...] = ()
    absent: tuple[int, ...] = ()
    reason: str = ""

    def instants(self, points: Sequence[int]) -> list[int]:
        """Microseconds since 1970, UTC."""
        begin = self.day * DAY_LONG - AHEAD
        if self.source == "curve":
            return [begin + (k + 1) * QUARTER for k in points]
        if self.source == "day":
            return [begin + DAY_LONG for _ in points]
        return [begin + second * 1_000_000 for second in points]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one call of intake.save brings. `at`: microseconds since 1970, when all of it came."""

    name: str
    who: str
    at: int
    items: tuple[Item, ...]

    def line(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def parse(cls, line: str) -> Batch:
        read = json.loads(line)
        items = tuple(
            Item(**{name: tuple(value) if isinstance(value, list) else value for name, value in item.items()})
            for item in read.pop("items")
        )
        return cls(**read, items=items)


def value(meter: int, when: int, code: str, salt: int) -> int | float:
    """What the meter says; the same each time it is asked, unless `salt` makes it say something else."""
    seed = zlib.crc32(f"{meter} {when} {code}".encode())
    if quantities()[code].kind == "register":
        return when // QUARTER * 37 + meter * 1_000_000 + seed % 31 + salt
    return (1600 + seed % 400 + salt) * 0.125  # exact as a float4


def times(instants: Sequence[int]) -> Times:
    return np.array(instants, dtype=np.int64).astype("datetime64[us]")


def exchange(batch: Batch, k: int) -> Exchange:
    """What item k was said in; its task names the batch."""
    item, at = batch.items[k], np.datetime64(batch.at, "us")
    said = (
        Said(0.0, True, b"\x68" + item.meter.to_bytes(6, "little")),
        Said(0.2, False, batch.name.encode()),
    )
    return Exchange(
        1, item.meter, str(item.meter).zfill(12), "dlt645", f"{batch.name}/{k}", at, at,
        times(item.instants(item.asked)), said,
    )  # fmt: skip


def deliveries(batch: Batch) -> list[Delivery]:
    at = np.datetime64(batch.at, "us")
    made = []
    for k, item in enumerate(batch.items):
        instants = item.instants(item.points)
        columns = {
            code: np.array(
                [value(item.meter, when, code, item.salt) for when in instants],
                dtype=np.int64 if quantities()[code].kind == "register" else np.float64,
            )
            for code in item.codes
        }
        reads = Reads(np.full(len(instants), item.meter, dtype=np.int64), times(instants), columns)
        attempts: tuple[Attempt, ...] = ()
        if item.asked:
            plan = CURVE if item.source == "curve" else DAY
            asked, absent = times(item.instants(item.asked)), times(item.instants(item.absent))
            attempts = (Attempt(item.meter, plan, asked, absent, at, item.reason, batch.name),)
        made.append(Delivery(SOURCES[item.source], at, reads, attempts, exchange(batch, k)))
    return made
