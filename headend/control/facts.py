"""What the gates look at: everything about one trip that could forbid it, gathered in one transaction."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts of one trip at one moment. Times are aware; money is fen. None means not known, and not known never allows.

    requested_by, approved_by   persons (a job is 'job:NAME'), never keys
    sending                     False while the order is only being asked for: a missing approval is not yet a reason
    protected                   why the customer must not be cut off; '' if nothing is recorded; None: no account is known
    day_kind                    legal calendar of the local day: workday, weekend, holiday, no-trip; None: calendar has no such day
    next_day_kind               the same for the day after (no trip on the eve of a day off)
    prepaid                     whether the account is prepaid and we execute its fee control; None: no account
    balance_high_fen            the most favourable running balance, payments since included
    balance_as_of               when it was computed
    balance_valid               whether every reading under it passed validation
    newest_reading              the instant of the newest register under the balance
    trips_minute, _hour, _day   tokens that trips of the whole system have taken in the last minute, hour and 24 hours, this one excluded
    trips_area_…, trips_line_…, trips_organisation_…   the same of the fullest bucket of the meter's transformer areas, lines, organisation
    stop_below_fen              the balance below which supply may be stopped, never above 0; None: the organisation stops nobody, or nobody can say
    grace_until                 until when the customer has grace: days since the stop notice, and what a person granted
    noticed_at                  when the customer was told that supply will stop, by what limits.notice_counts asks for; None: never
    stopped                     the kill switch: '' while trips may go on, else who stopped them and why
    keep_power                  whether the meter itself, or the terminal whose rounds cut it off, is in keep-power, as read back last; told and not
                                read back counts as being in it
    cuts_also                   other meters that the same switch cuts off, by the archive; None: the meter hangs nowhere
    no_trip                     why the customer's organisation trips nobody today or tomorrow; '' if nothing is declared
    validated_until             the newest local day that validation has been through
    doubts                      what validation holds against readings under the balance; '' for nothing
    same_since                  since when this meter with these transformers is on the point
    usual_day_fen               what a usual day costs this account
    fall_fen                    by how much the balance has fallen since the midnight that began yesterday, at most
    fall_accepted_by            the person who has looked at that fall
    batch_size                  trips asked for together with this one, itself included
    batch_usual                 how many this requester usually asks for together
    batch_released, _by         up to which size a person has released the batch, and who
    not_before                  when it may be sent at the earliest; None: at once
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
    trips_minute: int | None
    trips_hour: int | None
    trips_day: int | None
    trips_area_minute: int | None
    trips_area_hour: int | None
    trips_area_day: int | None
    trips_line_minute: int | None
    trips_line_hour: int | None
    trips_line_day: int | None
    trips_organisation_minute: int | None
    trips_organisation_hour: int | None
    trips_organisation_day: int | None
    stop_below_fen: int | None
    grace_until: dt.datetime | None
    noticed_at: dt.datetime | None
    stopped: str | None
    keep_power: bool | None
    cuts_also: tuple[str, ...] | None
    no_trip: str | None
    validated_until: dt.date | None
    doubts: str | None
    same_since: dt.datetime | None
    usual_day_fen: int | None
    fall_fen: int | None
    fall_accepted_by: str | None
    batch_size: int | None
    batch_usual: int | None
    batch_released: int | None
    batch_released_by: str | None
    not_before: dt.datetime | None


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


#: what can count as a notice: NOTICES[0] by default; the last is for whoever tells customers by other means than the CRM
NOTICES: Final = ("delivered", "sent", "written")


@dataclass(frozen=True, slots=True)
class ControlFacts:
    """Facts of one write of load control (定值控制) to a terminal.

    requested_by, approved_by, sending, stopped, not_before   as in Facts
    meters         how many the archive knows behind the terminal
    strangers      those of customers of whom no account is known; a meter of an area, a gateway or generation cuts off nobody
    protected      who must not be cut off, and why
    kept           meters in keep-power, or told so and not read back
    terminal_day   such writes sent to this terminal in the last 24 hours, this one excluded; system_hour, system_day: to all
    """

    now: dt.datetime
    expires: dt.datetime
    requested_by: str
    approved_by: str | None
    sending: bool
    not_before: dt.datetime | None
    stopped: str | None
    meters: int
    strangers: tuple[str, ...]
    protected: tuple[str, ...]
    kept: tuple[str, ...]
    terminal_day: int | None
    system_hour: int | None
    system_day: int | None


@dataclass(frozen=True, slots=True)
class Limits:
    """The utility's own numbers. Defaults err on the side of not cutting anybody off."""

    trip_from: dt.time = dt.time(8, 0)
    trip_until: dt.time = dt.time(17, 0)
    balance_age: dt.timedelta = dt.timedelta(hours=2)
    reading_age: dt.timedelta = dt.timedelta(hours=4)
    notice_before: dt.timedelta = dt.timedelta(minutes=30)
    #: from when a notice counts: its delivery, as the CRM or a person reports it; where a gateway gives no receipts, that it was sent
    notice_counts: str = "delivered"
    #: caps of the system, a transformer area, a line and an organisation (供电单位). No public text gives a number: these let a small utility's
    #: day pass and stop a mistake after a handful. Who belongs to no area, line or organisation that the archive knows of shares one with all such.
    trips_per_minute: int = 5
    trips_per_hour: int = 20
    trips_per_day: int = 100
    trips_per_area_minute: int = 2
    trips_per_area_hour: int = 5
    trips_per_area_day: int = 20
    trips_per_line_minute: int = 3
    trips_per_line_hour: int = 10
    trips_per_line_day: int = 50
    trips_per_organisation_minute: int = 5
    trips_per_organisation_hour: int = 20
    trips_per_organisation_day: int = 100
    #: a fall of the balance, since yesterday began, of more than so many usual days waits for a person; two of them have passed by themselves.
    #: Default without a source.
    fall_days: int = 5
    #: charged days without which nobody knows a usual one; default without a source
    usual_days: int = 3
    #: findings of so many days back speak against a balance: it is settled by the month
    doubt_days: int = 31
    #: how long a meter and its transformers must have been on the point: until its first midnight has been settled. Default without a source.
    settled_in: dt.timedelta = dt.timedelta(hours=24)
    #: a batch up to this size is never unusual; beyond it so many times the usual one is. Defaults without a source.
    batch_small: int = 20
    batch_times: int = 3
    #: batches without which nobody knows a usual one; default without a source
    batch_history: int = 5
    #: entries of one terminal in 24 hours: a concentrator that is commissioned takes its whole archive at once, and nothing is lost by
    #: it; what is overwritten or erased stops being read, and beyond a handful of exchanged meters that is a mistake
    terminal_adds_per_day: int = 1000
    terminal_replaces_per_day: int = 20
    #: writes of load control. A terminal is told a plan once and corrected a few times; a small utility's day of orderly use passes. Defaults
    #: without a source.
    controls_per_terminal_day: int = 6
    controls_per_hour: int = 50
    controls_per_day: int = 200
    #: hours and prices in meters, all defaults without a source. A spare set is written so many hours before it comes into force at least,
    #: and not near midnight; into a meter whose clock is right to within this
    prices_ahead_hours: int = 24
    prices_midnight_minutes: int = 30
    prices_clock_seconds: int = 300
    #: a campaign: meters in an hour, and so many writes that failed stop it
    prices_per_hour: int = 400
    prices_stop_after: int = 3


@dataclass(frozen=True, slots=True)
class Refusal:
    """Which gate said no, and why, in a sentence a customer's lawyer could read."""

    gate: str
    why: str


def is_person(who: str | None) -> bool:
    """Whether somebody who can answer for it is named: no job, and not nobody."""
    return who is not None and bool(who.strip()) and not who.startswith("job:")
