"""What the gates look at: everything about one trip that could forbid it, gathered in one transaction."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts of one trip at one moment. Times are aware; money is fen. None means not known, and not known never allows.

    requested_by, approved_by   persons (a job is 'job:NAME'), never keys
    sending                     False while the order is only being asked for: a missing approval is not yet a reason
    protected                   why the customer must not be cut off; '' if nothing is recorded; None: no account is known
    day_kind                    legal calendar of the local day: workday, weekend, holiday, no-trip; None: calendar has no such day
    next_day_kind               the same for the day after (no trip on the eve of a day off)
    prepaid                     whether the account is prepaid; None: no account
    balance_high_fen            the most favourable running balance, payments since included
    balance_as_of               when it was computed
    balance_valid               whether every reading under it passed validation
    newest_reading              the instant of the newest register under the balance
    trips_hour, trips_day       trips sent in the whole system in the last hour and 24 hours, this one excluded
    trips_area_hour             the same within the meter's transformer area
    noticed_at                  when the customer was last told that supply will stop; None: never
    """

    now: dt.datetime
    local: dt.datetime
    expires: dt.datetime
    requested_by: str
    approved_by: str | None
    sending: bool
    protected: str | None
    day_kind: str | None
    next_day_kind: str | None
    prepaid: bool | None
    balance_high_fen: int | None
    balance_as_of: dt.datetime | None
    balance_valid: bool
    newest_reading: dt.datetime | None
    trips_hour: int
    trips_day: int
    trips_area_hour: int
    noticed_at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class WriteFacts:
    """Facts of one write to a terminal: parameters, archive, tasks.

    requested_by, approved_by, sending   as in Facts
    adds, replaces                       entries that it makes, and that it overwrites or erases
    adds_today, replaces_today           the same of what was sent to this terminal in the last 24 hours, this one excluded
    """

    now: dt.datetime
    expires: dt.datetime
    requested_by: str
    approved_by: str | None
    sending: bool
    adds: int
    replaces: int
    adds_today: int
    replaces_today: int


@dataclass(frozen=True, slots=True)
class Limits:
    """The utility's own numbers. Defaults err on the side of not cutting anybody off."""

    trip_from: dt.time = dt.time(8, 0)
    trip_until: dt.time = dt.time(17, 0)
    balance_age: dt.timedelta = dt.timedelta(hours=2)
    reading_age: dt.timedelta = dt.timedelta(hours=4)
    notice_before: dt.timedelta = dt.timedelta(minutes=30)
    trips_per_hour: int = 20
    trips_per_day: int = 100
    trips_per_area_hour: int = 5
    #: entries of one terminal in 24 hours: a concentrator that is commissioned takes its whole archive at once, and nothing is lost by
    #: it; what is overwritten or erased stops being read, and beyond a handful of exchanged meters that is a mistake
    terminal_adds_per_day: int = 1000
    terminal_replaces_per_day: int = 20


@dataclass(frozen=True, slots=True)
class Refusal:
    """Which gate said no, and why, in a sentence a customer's lawyer could read."""

    gate: str
    why: str
