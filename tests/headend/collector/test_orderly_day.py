"""A day of orderly use from end to end: a plan, two persons, orders on real sockets, terminals of both protocols that obey, and what it has brought,
read from the meters and compared with what the simulator knows would have been taken without it."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from headend.control.load_control import ControlOrder, document
from headend.jobs import orderly as job
from headend.jobs.frame import Run
from headend.plans import CURVE, points
from headend.store import audit, orderly, orderly_effect, orders
from headend.store.orders import Writing
from headend.store.tables import CURVES
from protocols.localtime import midnight
from terminals.simulator.area import Area
from terminals.simulator.held698 import Held698
from terminals.simulator.scenario import ZONE, Group
from tests.support.collecting import House, Open
from tests.support.house import deliver, moment, one, rows, table

TUESDAY, DAY = dt.date(2026, 3, 10), dt.date(2026, 3, 11)
#: the like days differ by this from what the day of the call would have been; the Tuesday before it is the simulator's own
LEVELS = (1.03, 0.97, 1.0, 1.02, 0.98, 1.0)
PLAN = {
    "name": "早峰", "reason": "short of 500 kW", "first_day": "2026-03-11", "last_day": "2026-03-11", "periods": ["10:00-12:00"], "shortage_kw": 500,
    "calls": [{"everybody": True, "setpoint": "50%"}],
}  # fmt: skip


async def opened(open_house: Open) -> tuple[House, dict[str, Area]]:
    """Three terminals with one customer each, who has five meters; the last one's is protected. Beside them each area as it would be if nobody
    were ever told anything: it has made the weeks before as well."""
    house = await open_house(
        Group("gdw376", "dial-out", 1), Group("dlt698", "dial-out", 1), Group("gdw376", "dial-out", 1), now="2026-03-10 15:00",
        alone=False, events=0,
    )  # fmt: skip
    conn = house.conn
    assert house.fleet is not None
    for table_, in_ in (("installation", ""), ("account", ""), ("area_role", "loss_role")):
        conn.execute(f"UPDATE {in_ or table_} SET valid_from = %s".encode(), (moment("2026-01-01 00:00"),))
    conn.execute(
        "UPDATE account a SET protected = '', customer_id = f.customer_id FROM installation i JOIN (SELECT i.terminal_id, min(a.customer_id) AS "
        "customer_id FROM installation i JOIN account a USING (point_id) GROUP BY 1) f USING (terminal_id) WHERE i.point_id = a.point_id"
    )
    conn.execute(
        "INSERT INTO customer_span (customer_id, industry, security_kw, valid_from) SELECT customer_id, '', 0.5, %s FROM customer",
        (moment("2026-01-01 00:00"),),
    )
    conn.execute(
        "UPDATE point p SET kind = 'area' WHERE NOT EXISTS (SELECT FROM account a WHERE a.point_id = p.point_id)"
    )
    codes = [row[0] for row in table(conn, "SELECT code FROM terminal ORDER BY code")]
    conn.execute(
        "UPDATE account SET protected = '医院' WHERE account_id = (SELECT min(a.account_id) FROM account a JOIN installation i USING (point_id) "
        "JOIN terminal t USING (terminal_id) WHERE t.code = %s)", (codes[2],),
    )  # fmt: skip
    conn.commit()
    twins = {}
    for terminal in house.fleet.terminals:
        real = terminal.meters[0].area
        twin = Area(house.fleet.scenario, real.plan)
        code = one(conn, "SELECT t.code FROM terminal t JOIN installation USING (terminal_id) JOIN meter m USING (meter_id) WHERE m.asset = %s",
                   terminal.meters[0].asset)  # fmt: skip
        twins[code] = twin
        for meter in terminal.meters:
            begun = twin.registers(midnight(TUESDAY, ZONE))
            assert begun is not None
            weeks_before(
                house, meter.asset, np.diff(registers(twin, 1)[meter.index]), int(begun[0, meter.index])
            )
    return house, twins


def registers(area: Area, day: int) -> np.ndarray:
    """int64[meter, slot + 1], 1e-4 kWh, of a day of the simulator's history, its first midnight included."""
    before, solved = area.day(day - 1), area.day(day)
    assert before is not None
    assert solved is not None
    return np.concatenate([before.slot_registers()[0][:, -1:], solved.slot_registers()[0]], axis=1)


def weeks_before(house: House, asset: str, steps: np.ndarray, reached: int) -> None:
    """The eight days before the fleet's history begins with registers of `reached`, each that day's slots at its own level."""
    meter = one(house.conn, "SELECT meter_id FROM meter WHERE asset = %s", asset)
    times, register = [midnight(TUESDAY - dt.timedelta(days=8), ZONE)], [0]
    for k in range(8):
        day = TUESDAY - dt.timedelta(days=8 - k)
        for when, step in zip(points(CURVE, day, ZONE), steps.tolist(), strict=True):
            times.append(when)
            register.append(register[-1] + round(step * LEVELS[k % len(LEVELS)]))
    shown = [reached - register[-1] + one for one in register]
    deliver(
        house.conn,
        CURVES,
        rows([meter] * len(times), times, active_import=shown, active_export=[0] * len(times)),
        house.clock.now(),
        ZONE,
    )


async def rounds(house: House, code: str) -> None:
    """Which rounds trip, and after how long a warning, was set when the terminal came into service."""
    order = orders.request(
        house.conn, kind="control", action="write", terminal=code, reason="commissioning", who="陈晓", now=house.clock.now(),
        expires=house.clock.now() + np.timedelta64(3, "h"),
        writing=Writing(document(ControlOrder(power_rounds=(1, 2, 3, 4), alarm_minutes=(1, 1, 1, 1)))),
    )  # fmt: skip
    orders.approve(house.conn, order, who="李敏", now=house.clock.now())
    await house.until(lambda: not open_orders(house))
    assert orders.get(house.conn, order)["state"] == "verified"
    house.conn.commit()


def open_orders(house: House) -> int:
    found = int(one(house.conn, "SELECT count(*) FROM orders WHERE is_open"))
    house.conn.commit()
    return found


def offline(house: House) -> int:
    found = int(one(house.conn, "SELECT count(*) FROM terminal WHERE NOT online"))
    house.conn.commit()
    return found


def carry_out(house: House, when: str) -> None:
    house.clock.set(when)
    job.act(Run(house.conn, ZONE, house.clock.now()))


async def test_a_day_of_orderly_use(open_house: Open) -> None:
    house, twins = await opened(open_house)
    conn = house.conn
    house.collect()
    await house.until(lambda: not offline(house))
    assert house.fleet is not None
    for terminal in house.fleet.terminals:
        assert terminal.holding is not None
        if isinstance(terminal.holding.held, Held698):  # an array that is there, of four rounds
            terminal.holding.held.put("set.81020200", bytes.fromhex("0104" + "1101" * 4))
    codes = list(twins)
    for code in codes[:2]:
        await rounds(house, code)
    plan = orderly.draft(conn, orderly.read(PLAN), who="陈晓", now=house.clock.now())
    found = orderly.get(conn, plan)
    called = {p["terminal"]: p for p in found["participants_list"]}
    assert sorted(called) == codes[:2]
    assert [(one["terminal"], one["reasons"]) for one in found["left_out"]] == [
        (codes[2], [["protected", "医院"]])
    ]
    orderly.approve(conn, plan, who="李敏", now=house.clock.now())

    carry_out(house, "2026-03-11 09:30")
    house.clock.set("2026-03-11 09:33")  # the second one's turn is 72 s after the first one's
    await house.until(lambda: not open_orders(house))
    assert [p["held"] for p in orderly.get(conn, plan)["participants_list"]] == [True, True]
    for terminal in house.fleet.terminals:
        switched = terminal.holding.held.switched(1, house.clock.now())  # type: ignore[union-attr]
        assert switched == (set() if terminal is house.fleet.terminals[2] else {"period"})

    carry_out(house, "2026-03-11 12:00")
    house.clock.set("2026-03-11 12:01")
    await house.until(lambda: not open_orders(house))
    told = orderly.get(conn, plan)
    assert (told["state"], told["held"], told["released"], told["unsure"]) == ("ended", 0, 2, 0)
    for terminal in house.fleet.terminals:
        assert terminal.holding.held.switched(1, house.clock.now()) == set()  # type: ignore[union-attr]
        assert not terminal.holding.tripped  # type: ignore[union-attr]

    house.clock.set("2026-03-12 04:30")
    await house.until(lambda: house.open_points("2026-03-11") == 0, seconds=60)
    job.job(Run(conn, ZONE, house.clock.now()), DAY)
    conn.commit()
    (day,) = orderly_effect.effects(conn, plan)
    assert (day["known"], day["participants"], day["followed"]) == (2, 2, 2)
    truth = {}
    for terminal in house.fleet.terminals:
        area = terminal.meters[0].area
        code = next(code for code, twin in twins.items() if twin.plan is area.plan)
        would, did = (registers(one, 1)[1:, 48] - registers(one, 1)[1:, 40] for one in (twins[code], area))
        truth[code] = float((would - did).sum()) / 10_000
    assert truth[codes[2]] == 0
    for p in day["participants_list"]:
        assert truth[p["terminal"]] > 1
        assert p["low_kwh"] <= truth[p["terminal"]] <= p["high_kwh"]
        assert p["reduced_kwh"] == pytest.approx(truth[p["terminal"]], rel=0.15)
    assert day["low_kwh"] <= truth[codes[0]] + truth[codes[1]] <= day["high_kwh"]
    conn.commit()
    assert audit.verify(conn).broken is None
