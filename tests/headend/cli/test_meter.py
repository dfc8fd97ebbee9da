"""`headend meter exchange` beside a collector: from the live register to the terminal's own archive."""

from __future__ import annotations

import pytest

from tests.headend.cli.test_terminal import opened
from tests.headend.collector.conftest import open_house as open_house  # noqa: PLC0414  the fixture
from tests.support.collecting import Open
from tests.support.house import table


@pytest.fixture
def server_kind() -> str:
    """One will do, as for all commands."""
    return "embedded"


async def test_from_the_live_register_to_the_terminal(open_house: Open) -> None:
    house, headend, code = await opened(open_house, "gdw376")
    await house.until(lambda: house.open_points() == 0)
    old, new = "410000010002", "419999990002"
    words = (
        "meter",
        "exchange",
        old,
        new,
        "--last",
        "live",
        "--first",
        "1.5",
        "--reason",
        "burnt terminal",
        "--person",
        "陈晓",
    )
    dry = await headend(*words)
    assert (dry.code, "nothing was changed; --yes does it" in dry.out) == (0, True), dry
    done = await headend(*words, "--yes")
    assert done.code == 0, done
    told = done.err.splitlines()[-1]
    assert told.startswith("order ")
    assert f"tells terminal {code}; it waits for another person" in told
    approved = await headend("terminal", "approve", told.split()[1], "--person", "李敏", "--json")
    assert approved.json()["state"] == "verified", approved
    assert [item["becomes"]["address"] for item in approved.json()["request"]["items"]] == [new]
    assert (await headend("terminal", "archive", "compare", code)).code == 0
    found = table(
        house.conn,
        "SELECT asset, i.pn, i.valid_to = 'infinity', r.active_import FROM installation i JOIN meter m USING (meter_id) "
        "JOIN register_read r ON r.meter_id = m.meter_id AND r.kind = 3 AND r.ts IN (i.valid_from, i.valid_to) "
        "WHERE asset = ANY(%s) ORDER BY i.valid_from",
        [old, new],
    )
    assert [row[:3] for row in found] == [(old, 2, False), (new, 2, True)]
    assert found[1][3] == 15_000
    again = await headend(*words, "--yes")
    assert again.code == 1
    assert "is not installed anywhere" in again.line or "does not hang anywhere" in again.line
