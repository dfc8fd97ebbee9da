"""Recorded exchanges through today's decoder: the same driver, the same script, the answers from the store instead of the wire."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from headend.collector.tasks import EVENTS, meter_of, script, source_of
from headend.store import archive, exchanges, intake, reads
from headend.store.db import Connection, StoreError
from headend.store.exchanges import Exchange
from headend.store.intake import Delivery
from headend.store.tables import Table
from protocols.errors import FrameError, ProtocolError, Refused
from protocols.exchange import NEED_DATA, Answer, Send
from protocols.exchange import Exchange as Conversation
from protocols.localtime import as_datetime, midnight
from protocols.quantity import quantities
from protocols.reading import Column, Reads
from terminals.drivers.driver import Driver, Meter, Outcome, Script

#: request numbers are small counters that go round: DLMS counts to 16, other protocols to 256
NUMBERS: Final = 256


class NotReplayed(StoreError):
    """Today's driver asks for something that was not said then."""


class Silent(Exception):
    """The recorded conversation ended without an answer, as it did then."""


@dataclass(slots=True)
class _Tape:
    """The recorded round trips, in order: what was sent (None: unknown), what came."""

    trips: list[tuple[bytes | None, bytes]]
    at: int = 0

    def answer_to(self, sent: bytes) -> bytes | None:
        """What came to these bytes the next time they were sent; None if they were not sent again."""
        for place in range(self.at, len(self.trips)):
            asked, came = self.trips[place]
            if asked is None or asked == sent:
                self.at = place + 1
                return came
        return None

    def repeated(self, sent: bytes) -> bytes | None:
        """What came when they were sent once more, at once; None if they were not."""
        if self.at == len(self.trips) or self.trips[self.at][0] != sent:
            return None
        return self.answer_to(sent)

    @classmethod
    def of(cls, exchange: Exchange) -> _Tape:
        trips: list[tuple[bytes | None, bytes]] = []
        for said in exchange.said:
            if said.sent:
                trips.append((said.raw, b""))
            elif trips:
                trips[-1] = (trips[-1][0], trips[-1][1] + said.raw)
        return cls(trips)


def replay(exchange: Exchange, driver: Driver, meter: Meter) -> Outcome:
    """What today's driver makes of the exchange.

    NotReplayed: it asks otherwise than was asked then. Silent, FrameError or Refused: as it would have ended on the wire.
    """
    driver.recall(meter, exchange.known)
    conversation = driver.exchange(meter)
    _play(driver.open(meter), conversation, _Tape([(None, came) for came in exchange.opening]))
    task = script(driver, meter, exchange.task, exchange.asked, exchange.began)
    outcome: Outcome = _play(task, conversation, _Tape.of(exchange))
    return outcome


def _play(task: Script[Any], conversation: Conversation, tape: _Tape) -> Any:
    try:
        request = next(task)
        while True:
            try:
                answer = _ask(conversation, request, tape)
            except Refused as refusal:
                request = task.throw(refusal)
            else:
                request = task.send(answer)
    except StopIteration as done:
        return done.value
    finally:
        task.close()


def _ask(conversation: Conversation, request: Any, tape: _Tape) -> Any:
    """The recorded answer to a request, by way of every repeat that was needed."""
    asked = False
    for _ in range(NUMBERS):
        sent = conversation.send(request)
        came = tape.answer_to(sent)
        if came is None:
            conversation.abandon()  # its number is used up: the next try has the next one, as the session had got on
            continue
        asked = True
        try:
            return _hear(conversation, came, tape)
        except _Unanswered:
            conversation.abandon()
    if asked:
        raise Silent
    raise NotReplayed(f"today's driver asks {type(request).__name__}, which was not asked then")


class _Unanswered(Exception):
    """What came was no answer: the request was repeated, or given up."""


def _hear(conversation: Conversation, came: bytes, tape: _Tape) -> Any:
    conversation.receive_data(came)
    part: bytes | None = None  # the request for a part of the answer that may be sent again
    again = False
    while True:
        try:
            event = conversation.next_event()
        except FrameError:
            continue  # spoilt, and waited for again
        except Refused:
            if again:  # a meter that knows no repeats: the session began anew
                raise _Unanswered from None
            raise
        if isinstance(event, Answer):
            return event.value
        more: bytes | None
        if isinstance(event, Send):
            part, again = event.data if event.again else None, False
            more = tape.answer_to(event.data)
        elif event is NEED_DATA:
            more, again = None if part is None else tape.repeated(part), True
        else:
            continue
        if more is None:
            raise _Unanswered
        conversation.receive_data(more)


@dataclass(frozen=True, slots=True)
class Difference:
    """A cell that today's decoder reads otherwise than the store has it. `stored` None: it is not there; `decoded` None: not any more."""

    meter: int
    source: str
    time: np.datetime64
    quantity: str
    stored: int | float | None
    decoded: int | float | None


@dataclass(slots=True)
class Report:
    """What came of a day's exchanges. `said_nothing`: silent, garbled or refused then, and so again; `not_replayed`: why -> how often."""

    exchanges: int = 0
    readings: int = 0
    equal: int = 0
    differences: list[Difference] = field(default_factory=list)
    said_nothing: int = 0
    not_replayed: dict[str, int] = field(default_factory=dict)
    written: reads.Written = field(default_factory=reads.Written)


#: differences kept for showing; the rest is only counted by whoever applies them
MOST_DIFFERENCES: Final = 10_000


def day(
    conn: Connection,
    drivers: Mapping[str, Driver],
    of: dt.date,
    zone: ZoneInfo,
    *,
    meter: int | None = None,
    apply: bool = False,
    who: str = "",
    now: np.datetime64 | None = None,
) -> Report:
    """Decode again whatever was said on a local day, and compare it with what is stored; `apply` brings in what differs, as revisions.

    Nothing is committed here."""
    begin, end = (as_datetime(midnight(d, zone)) for d in (of, of + dt.timedelta(days=1)))
    report = Report()
    for exchange in exchanges.taken(conn, begin, end, meter=meter):
        if exchange.protocol not in drivers:  # a file: its readings are compared when it is imported again
            continue
        report.exchanges += 1
        if exchange.task == EVENTS:  # what was told once is told as it was: an event has no versions
            continue
        try:
            outcome = replay(exchange, drivers[exchange.protocol], _meter(conn, exchange, zone))
        except NotReplayed as why:
            report.not_replayed[str(why)] = report.not_replayed.get(str(why), 0) + 1
            continue
        except (Silent, ProtocolError):
            report.said_nothing += 1
            continue
        _compare(conn, exchange, outcome.reads, report)
        if apply and len(outcome.reads):
            delivery = Delivery(
                source_of(exchange.task),
                exchange.taken if now is None else now,
                outcome.reads,
                exchange=exchange,
            )
            report.written += intake.save(conn, [delivery], zone, who=who, reason="decoded again")
    return report


def _meter(conn: Connection, exchange: Exchange, zone: ZoneInfo) -> Meter:
    """The meter as it hung there then."""
    found = [
        row
        for row in archive.installed(conn, exchange.began, [exchange.terminal])
        if row.meter_id == exchange.meter
    ]
    if found:
        return replace(meter_of(found[0], zone), address=exchange.address)
    return Meter(exchange.meter, exchange.address, zone, phases=3)


def _compare(conn: Connection, exchange: Exchange, decoded: Reads, report: Report) -> None:
    for table in source_of(exchange.task).tables:
        for difference in _differences(conn, table, exchange, decoded, report):
            if len(report.differences) < MOST_DIFFERENCES:
                report.differences.append(difference)


def _differences(
    conn: Connection, table: Table, exchange: Exchange, decoded: Reads, report: Report
) -> Iterator[Difference]:
    codes = [code for code in table.codes if code in decoded.columns]
    if not codes or not len(decoded):
        return
    stored, evidence = reads.stored(conn, table, decoded, codes)
    for code in codes:
        given, held = decoded.valid(code), stored.valid(code)
        values, old = decoded.columns[code], stored.columns[code]
        same = given & held & (_as_kept(table, code, values) == _as_kept(table, code, old))
        report.readings += int(given.sum())
        report.equal += int(same.sum())
        for k in np.flatnonzero((given | held) & ~same & (given | (evidence == exchange.evidence))):
            yield Difference(
                int(decoded.meter[k]), table.source, decoded.time[k], code,
                _shown(code, old[k]) if held[k] else None, _shown(code, values[k]) if given[k] else None,
            )  # fmt: skip


def _as_kept(table: Table, code: str, values: Column) -> Column:
    """With the precision that the column keeps."""
    return values.astype(np.float32) if table.type(code) == "float4" else values


def _shown(code: str, value: Any) -> int | float:
    return int(value) if quantities()[code].kind in ("register", "event") else float(value)
