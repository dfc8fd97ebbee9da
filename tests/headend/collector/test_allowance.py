"""A SIM without bytes: freezes are read, of the curve nothing that can wait, and every point of it has its reason."""

from __future__ import annotations

import pytest

from tests.support.collecting import Open
from tests.support.house import one, table


@pytest.fixture
def server_kind() -> str:
    """Nothing here depends on the kind of server."""
    return "embedded"


async def test_a_spent_sim_leaves_the_curve_and_says_so_of_each_point(open_house: Open) -> None:
    house = await open_house()
    terminal = one(house.conn, "SELECT terminal_id FROM terminal")
    sim = one(house.conn, "INSERT INTO sim (code, plan_bytes) VALUES ('89860001', 0) RETURNING sim_id")
    house.conn.execute(
        "INSERT INTO sim_span (sim_id, terminal_id, valid_from, valid_to) VALUES (%s, %s, '2026-01-01', 'infinity')",
        (sim, terminal),
    )
    house.conn.commit()
    daemon = house.collect()
    await house.until(lambda: daemon._context.allowances.spent(terminal) is not None)
    meters = one(house.conn, "SELECT count(*) FROM meter")
    freezes = "SELECT count(*) FROM register_read WHERE kind = 2"
    await house.until(lambda: one(house.conn, freezes) == meters)
    told = "SELECT coalesce(sum(bit_count(slots)), 0) FROM gap_reason WHERE reason = 'allowance' AND day = '2026-03-11'"
    here = "SELECT count(*) FROM slot_read WHERE ts > '2026-03-11 00:00+08'"
    for now, due in (("2026-03-11 03:07", 12), ("2026-03-11 04:07", 16)):
        before = one(house.conn, "SELECT count(*) FROM slot_read")
        house.clock.set(now)
        await house.until(lambda due=due: one(house.conn, told) + one(house.conn, here) >= due * meters)
        assert one(house.conn, "SELECT count(*) FROM slot_read") == before
    why = house.why(str(table(house.conn, "SELECT min(asset) FROM meter")[0][0]), "2026-03-11")
    (hole,) = [hole for hole in why.plans[0].holes if hole.reason == "allowance"]
    assert "used" in hole.detail
    assert "of 0 bytes this month" in hole.detail
    house.clock.set("2026-03-20 00:01")  # a day before the oldest of it is overwritten
    await house.until(lambda: house.open_points("2026-03-11") < 16 * meters)
    assert one(house.conn, "SELECT count(*) FROM slot_read WHERE ts <= '2026-03-11 01:00+08'") > 0
