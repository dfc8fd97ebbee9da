"""The figures of a day over a small county in a real store: counts, loads, voltages, terminals, groups, forecasts, key users, response."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from headend.jobs import statistics as job
from headend.plans import CURVE, DAY, points
from headend.store import forecasts, key_users, members, point_groups, response, statistics
from headend.store.coverage import Attempt
from headend.store.db import Connection
from headend.store.statistics import BadQuestion
from headend.store.tables import CURVES, DAYS
from protocols.localtime import midnight
from tests.support.county import DAY as TENTH
from tests.support.county import KWH, TIMES, Net, hang, insert
from tests.support.house import SHANGHAI, Place, at, deliver, moment, rows, table
from tests.support.household import run

MORNING = "2026-03-11 04:30"
NOON_AFTER = "2026-03-12 12:00"


@pytest.fixture
def net(store: Connection) -> Net:
    """Terminals of two makers; the county belongs to a city."""
    made = Net(store)
    city = insert(store, "organisation", code="SHI", name="某市", kind="city")
    store.execute(
        "UPDATE organisation_span SET parent_id = %s WHERE organisation_id = %s", (city, made.county)
    )
    store.execute("UPDATE terminal SET maker = CASE WHEN code IN ('T1', 'T2') THEN 'Wasion' ELSE '' END")
    store.commit()
    return made


def frozen(net: Net, here: Place, now: str | None = None, **attempts: Any) -> None:
    """The freezes that open and close the tenth; the second one taken at `now`."""
    opening, closing = (midnight(TENTH + dt.timedelta(days=k), SHANGHAI) for k in (0, 1))
    for when, register in ((opening, 100), (closing, 140)):
        given = rows([here.meter], [when], active_import=[register * KWH], active_export=[0])
        taken = when if when == opening or now is None else at(now)
        deliver(net.conn, DAYS, given, taken, **(attempts if when == closing else {}))


def curve(net: Net, here: Place, slots: Sequence[float], **more: Any) -> None:
    """So many kWh in each quarter-hour of the tenth."""
    register = np.concatenate([[0], np.cumsum(np.rint(np.array(slots) * KWH))]).astype(int) + 100 * KWH
    given = rows([here.meter] * 97, TIMES, active_import=register.tolist(), active_export=[0] * 97, **more)
    deliver(net.conn, CURVES, given, at("2026-03-10 23:59"))


def success(conn: Connection, by: str, **more: Any) -> dict[str, dict[str, Any]]:
    found = {row["key"]: row for row in statistics.success(conn, by, TENTH, TENTH, **more)}
    conn.commit()
    return found


def test_counts_and_rates_of_a_day(store: Connection, net: Net) -> None:
    """Of thirteen meters one freeze is missing, one came late, one at the second attempt; behind T3 nobody was heard."""
    when = points(DAY, TENTH, SHANGHAI)
    asked = at("2026-03-11 00:07")
    missing, late, again = net.homes[0][0], net.homes[0][1], net.homes[1][0]
    silent = [net.main[2], *net.homes[2]]
    for here in net.everybody:
        if here is late:
            frozen(net, here, NOON_AFTER)
        elif here is again:
            vain = Attempt(here.meter, DAY, when, when[:0], asked, "no-answer", "")
            deliver(store, DAYS, rows([], []), asked, attempts=(vain,))
            frozen(net, here)
        elif here is not missing and here not in silent:
            frozen(net, here)
    curve(net, net.homes[1][0], [0.5] * 96)
    assert job.success_of(run(store, MORNING), TENTH) == "13 freezes and 1248 points due"
    told = success(store, "all")[""]
    assert (told["freeze_due"], told["freeze_once"], told["freeze_cycle"]) == (13, 7, 8)
    assert (told["once"], told["cycle"]) == (7 / 13, 8 / 13)
    assert told["integrity"] == 96 / (13 * 96)
    # T1, T2 and TS were there: T1 by its main meter. T3 never was, and is not in service
    assert (told["operation"], told["coverage"], told["online"]) == (1.0, 10 / 13, None)
    assert success(store, "maker")["Wasion"]["freeze_due"] == 6
    lines = success(store, "line")
    # two areas and its head
    assert {key: row["freeze_due"] for key, row in lines.items()} == {"L1": 7, "L2": 4}
    assert lines["L2"]["coverage"] == 0.25
    assert success(store, "area")["A1"]["cycle"] == 1 / 3
    regions = success(store, "region")
    assert regions["GX"]["freeze_due"] == regions["SHI"]["freeze_due"] == 13
    assert regions["GX"]["name"] == "某县"
    assert list(success(store, "region", key="GX")) == ["GX"]
    with pytest.raises(BadQuestion, match="nothing is counted by 'weather'"):
        statistics.success(store, "weather", TENTH, TENTH)
    with pytest.raises(BadQuestion, match="no period"):
        statistics.success(store, "all", TENTH, TENTH - dt.timedelta(days=1))
    # the same figures as the fleet's page has
    assert table(store, "SELECT count(*) FROM success_day WHERE dimension = 'all'") == [(1,)]


def test_a_terminal_in_service_that_is_silent_lowers_the_operation_rate(store: Connection, net: Net) -> None:
    day_before = TENTH - dt.timedelta(days=1)
    for here in net.everybody:
        net.bring(here, 10, first=day_before - dt.timedelta(days=1), days=2)
    for here in net.everybody:
        if here not in (net.main[2], *net.homes[2]):
            frozen(net, here)
    for day in (day_before, TENTH):
        job.success_of(run(store, MORNING), day)
    assert success(store, "all")[""]["operation"] == 3 / 4
    found = statistics.success(store, "all", day_before, TENTH)
    assert found[0]["operation"] == (1 + 3 / 4) / 2
    assert found[0]["coverage"] == 1
    assert found[0]["days"] == 2
    assert success(store, "line")["L2"]["operation"] == 0.5  # T3, and TS by its head


def test_looks_at_the_line(store: Connection, net: Net) -> None:
    for here in net.everybody:
        frozen(net, here)
    store.execute("UPDATE terminal SET online = code <> 'T3'")
    store.commit()
    assert job.online(run(store, "2026-03-10 08:00"), TENTH) == "4 terminals"
    store.execute("UPDATE terminal SET online = code = 'T1'")
    store.commit()
    job.online(run(store, "2026-03-10 09:00"), TENTH)
    job.success_of(run(store, MORNING), TENTH)
    assert success(store, "all")[""]["online"] == 4 / 8
    assert success(store, "area")["A1"]["online"] == 1
    assert success(store, "area")["A3"]["online"] == 0


def load(conn: Connection, by: str) -> dict[str, dict[str, Any]]:
    found = {row["key"]: row for row in statistics.load(conn, by, TENTH, TENTH)}
    conn.commit()
    return found


def test_loads_of_customers(store: Connection, net: Net) -> None:
    """In A1 one home takes the first half of the day, the other one the second."""
    first, second = net.homes[0]
    curve(net, first, [1.0] * 48 + [0.0] * 48)
    curve(net, second, [0.0] * 48 + [1.0] * 47 + [2.0])
    curve(net, net.homes[1][0], [0.25] * 96)
    curve(net, net.main[0], [9.0] * 96)  # a transformer's meter is nobody's load
    who = members.load(store, TENTH, SHANGHAI)
    assert who.customer.sum() == 6
    job.load_of(run(store, MORNING), TENTH, who)
    area = load(store, "area")["A1"]
    assert (area["members"], area["whole"]) == (2, 2)
    assert (area["energy"], area["high"], area["low"]) == (97, 8, 4)
    assert area["high_at"] == moment("2026-03-11 00:00")
    assert area["low_at"] == moment("2026-03-10 00:15")
    assert area["factor"] == pytest.approx(97 / 24 / 8)
    assert area["difference_rate"] == 0.5
    assert area["simultaneity"] == pytest.approx(2 / 3)  # 2 of 1 + 2
    # of A2 one of two homes is known, of everybody three of six
    assert load(store, "area")["A2"]["energy"] is None
    everybody = load(store, "all")[""]
    assert (everybody["members"], everybody["whole"], everybody["factor"]) == (6, 3, None)


def test_voltages_by_class(store: Connection, net: Net) -> None:
    """A line's head behind a transformer of 10 kV/100 V, and homes at 220 V."""
    head, home, other = net.heads[0], net.homes[0][0], net.homes[2][0]
    thirds = {f"voltage_{p}": [None] + [57.7] * 90 + [63.0] * 6 for p in "abc"}
    curve(net, head, [1.0] * 96, **thirds)
    curve(net, home, [0.1] * 96, voltage_a=[None] + [220.0] * 84 + [196.0] * 12)
    curve(net, other, [0.1] * 96, voltage_a=[None] + [220.0] * 96)
    job.voltage_of(run(store, MORNING), TENTH, members.load(store, TENTH, SHANGHAI))
    found = {row["key"]: row for row in statistics.voltage(store, "region", TENTH, TENTH)}
    county = found["GX"]["classes"]
    assert county["A"]["rate"] == pytest.approx(1 - 6 / 96)
    assert county["D"] == {
        "rate": pytest.approx(1 - 12 / 192),
        "meters": 2,
        "monitored": 2880,
        "above": 0,
        "below": 180,
        "out": 180,
        "lost": 0,
    }
    assert found["GX"]["index"] == pytest.approx(0.5 * 90 / 96 + 0.5 * 180 / 192)
    assert found["SHI"] == {**found["GX"], "key": "SHI", "name": "某市"}
    lines = {row["key"]: row for row in statistics.voltage(store, "line", TENTH, TENTH)}
    assert lines["L2"]["index"] is None  # it has no voltage at its head
    assert lines["L2"]["classes"]["D"]["rate"] == 1


def test_groups(store: Connection, net: Net) -> None:
    store.execute("INSERT INTO customer (number, name) VALUES ('C1', '某厂')")
    store.execute(
        "INSERT INTO account (customer_id, point_id, tariff, prepaid, valid_from) SELECT customer_id, %s, 't', false, %s FROM customer",
        (net.homes[0][0].point, moment("2026-01-01 00:00")),
    )
    assert point_groups.put(store, "G", "大用户", ["C1", "P221", "P221"], key_users=True) == 2
    assert point_groups.codes(store, "G") == ["P211", "P221"]
    with pytest.raises(point_groups.BadGroup, match="neither a metering point nor a customer 'P9'"):
        point_groups.put(store, "G", "大用户", ["P211", "P9"])
    for here in net.everybody:
        frozen(net, here)
    job.success_of(run(store, MORNING), TENTH)
    assert success(store, "group")["G"]["freeze_due"] == 2
    assert point_groups.put(store, "G", "一户", ["P212"]) == 1
    assert point_groups.listing(store) == [{"code": "G", "name": "一户", "key_users": False, "points": 1}]
    point_groups.remove(store, "G")
    with pytest.raises(point_groups.UnknownGroup):
        point_groups.points(store, "G")


def whole_day(net: Net, here: Place, first: dt.date, energy: np.ndarray) -> None:
    """kWh [day, slot] from a day on, by curve."""
    times = np.concatenate(
        [
            [midnight(first, SHANGHAI)],
            *(points(CURVE, first + dt.timedelta(days=k), SHANGHAI) for k in range(len(energy))),
        ]
    )
    register = np.concatenate([[0], np.cumsum(np.rint(energy.ravel() * KWH))]).astype(int)
    deliver(
        net.conn, CURVES, rows([here.meter] * len(times), times, active_import=register.tolist(), active_export=[0] * len(times)), times[-1]
    )  # fmt: skip


def test_a_forecast_is_made_and_measured(store: Connection, net: Net) -> None:
    """The tenth of March 2026 is a Tuesday. Working days take 1 kWh a slot, days of rest 2."""
    store.execute(
        "INSERT INTO calendar_day (day, kind) SELECT d, CASE WHEN extract(isodow FROM d) > 5 THEN 'weekend' ELSE 'workday' END "
        "FROM generate_series(date '2026-02-01', date '2026-03-31', interval '1 day') d"
    )
    store.commit()
    first = TENTH - dt.timedelta(days=27)
    days = [first + dt.timedelta(days=k) for k in range(30)]
    energy = np.array([[2.0 if day.weekday() >= 5 else 1.0] * 96 for day in days])
    energy[29] *= 1.1  # the twelfth takes more than anybody said
    whole_day(net, net.main[0], first, energy)
    assert job.forecasts.job(run(store, MORNING), TENTH) == "1 areas forecast"
    twelfth = TENTH + dt.timedelta(days=2)
    told = forecasts.one(store, "A1", twelfth)
    assert told["energy"] == [1.0] * 96
    assert told["naive"] == [1.0] * 96  # the Thursday before
    assert (told["like_days"], told["level"], told["error"]) == (5, 1.0, None)
    store.commit()
    job.forecasts.job(run(store, "2026-03-13 04:30"), twelfth)
    assert forecasts.one(store, "A1", twelfth)["error"] == pytest.approx(0.1 / 1.1)
    # of the fourteenth, a Saturday: days of rest, at a level that the twelfth has raised a little
    saturday = forecasts.one(store, "A1", dt.date(2026, 3, 14))
    level = (1 + 1 + 1.1) / 3
    assert saturday["energy"] == pytest.approx([2 * level] * 96)
    (errors,) = forecasts.errors(store, TENTH, twelfth)
    assert (errors["area"], errors["days"], errors["better"]) == ("A1", 1, 0)
    assert errors["naive_error"] == pytest.approx(0.1 / 1.1)
    with pytest.raises(forecasts.NoForecast, match="no forecast of area 'A2'"):
        forecasts.one(store, "A2", twelfth)


def test_key_users(store: Connection, net: Net) -> None:
    for number, home, kva in (
        ("C1", net.homes[0][0], None),
        ("C2", net.homes[0][1], 1250),
        ("C3", net.homes[1][0], 100),
    ):
        customer = insert(store, "customer", number=number, name=number)
        hang(store, "customer", customer, industry="纺织业", capacity_kva=kva)
        store.execute(
            "INSERT INTO account (customer_id, point_id, tariff, prepaid, valid_from) VALUES (%s, %s, 't', false, %s)",
            (customer, home.point, moment("2026-01-01 00:00")),
        )
    store.execute("UPDATE installation SET ct = 2 WHERE meter_id = %s", (net.homes[1][0].meter,))
    store.execute("SELECT ensure_partitions('day_rollup', ARRAY[timestamptz '2026-03-10'])")
    for home, kwh in ((net.homes[0][0], 10), (net.homes[1][0], 40)):
        instants = (
            "voltage_a",
            "voltage_b",
            "voltage_c",
            "current_a",
            "current_b",
            "current_c",
            "active_power",
            "reactive_power",
        )
        store.execute(
            f"INSERT INTO day_rollup (meter_id, day, points, present, late, estimated, freeze_points, freeze_present, freeze_late, freeze_estimated, "
            f"import_energy, import_from, active_power_max, {', '.join(f'{name}_n' for name in instants)}) "
            f"VALUES (%s, %s, 96, 48, 0, 0, 1, 1, 0, 0, %s, 2, 3, {', '.join(['0'] * len(instants))})",
            (home.meter, TENTH, kwh * KWH),
        )
    point_groups.put(store, "G", "保供", ["C1"], key_users=True)
    store.commit()
    told = key_users.listing(store, TENTH, TENTH, SHANGHAI)
    assert [(row["customer"], row["kwh"], [en for en, _ in row["because"]]) for row in told] == [
        ("C3", 80, ["energy"]),
        ("C1", 10, ["named"]),
        ("C2", None, ["contract capacity"]),
    ]
    assert told[0]["share"] == pytest.approx(80 / 90)
    assert (told[0]["high_kw"], told[0]["integrity"], told[0]["industry"]) == (6, 0.5, "纺织业")
    with pytest.raises(BadQuestion):
        key_users.listing(store, TENTH - dt.timedelta(days=90), TENTH, SHANGHAI)


def test_what_a_call_to_save_has_brought(store: Connection, net: Net) -> None:
    """Two homes; on the tenth between 18 and 20 o'clock they take half."""
    first = TENTH - dt.timedelta(days=20)
    for home, level in ((net.homes[0][0], 0.5), (net.homes[0][1], 0.25)):
        energy = np.full((21, 96), level)
        energy[20, 72:80] /= 2
        whole_day(net, home, first, energy)
    point_groups.put(store, "DR", "需求响应", ["P211", "P212"])
    store.commit()
    told = response.effect(store, "DR", at("2026-03-10 18:00"), at("2026-03-10 20:00"), SHANGHAI)
    assert (told.points, told.whole, told.first, told.last) == (2, 2, 72, 79)
    assert told.effect.reduced == pytest.approx(8 * 0.375)
    assert told.effect.certain
    # Mondays to Fridays, the newest first
    assert told.days[:3] == [dt.date(2026, 3, 9), dt.date(2026, 3, 6), dt.date(2026, 3, 5)]
    assert len(told.days) == 10
    without = response.effect(
        store, "DR", at("2026-03-10 18:00"), at("2026-03-10 20:00"), SHANGHAI, [dt.date(2026, 3, 9)]
    )
    assert without.days[0] == dt.date(2026, 3, 6)
    # a point that was never read is left out, and said to be
    point_groups.put(store, "DR", "需求响应", ["P211", "P212", "P221"])
    more = response.effect(store, "DR", at("2026-03-10 18:00"), at("2026-03-10 20:00"), SHANGHAI)
    assert (more.points, more.whole, more.effect.reduced) == (3, 2, told.effect.reduced)
    with pytest.raises(response.NoEffect, match="within one local day"):
        response.effect(store, "DR", at("2026-03-10 22:00"), at("2026-03-11 02:00"), SHANGHAI)
    with pytest.raises(response.NoEffect, match="0 of 3 points are known on 2026-03-12"):
        response.effect(store, "DR", at("2026-03-12 18:00"), at("2026-03-12 20:00"), SHANGHAI)


def test_the_whole_job(store: Connection, net: Net) -> None:
    net.day()
    for home in net.homes[0]:
        curve(net, home, [0.5] * 96, voltage_a=[None] + [225.0] * 96)
    told = job.job(run(store, MORNING), TENTH)
    assert told.startswith("13 freezes and 1248 points due, loads of ")
    assert told.endswith("0 areas forecast, 0 outages")
    assert statistics.newest(store, "load_day") == statistics.newest(store, "success_day") == TENTH
    store.commit()
    with pytest.raises(job.NotOver):
        job.job(run(store, MORNING), TENTH + dt.timedelta(days=1))
    # again: the same, not twice
    before = table(store, "SELECT * FROM success_day ORDER BY 1, 2, 3")
    assert job.job(run(store, MORNING), TENTH) == told
    assert table(store, "SELECT * FROM success_day ORDER BY 1, 2, 3") == before
