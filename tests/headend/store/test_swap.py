"""A meter exchanged: both registers at the instant, the archive from it on, the point's energy whole; and all that cannot be."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import numpy as np
import pytest

from headend.store import archive, blocks, exchanges
from headend.store.archive import ArchiveError
from headend.store.coverage import UnknownMeter
from headend.store.db import Connection
from headend.store.swap import CannotBe, Done, Swap, swap
from headend.store.tables import CURVES, SPOT_READS
from tests.support.house import SHANGHAI, at, deliver, moment, one, place, rows, table

NOW = at("2026-03-11 12:00")
WHEN = at("2026-03-11 10:20")
OLD, NEW = "410000000001", "410000000099"


def exchanged(conn: Connection, dry_run: bool = False, **changes: Any) -> Done:
    given: dict[str, Any] = {
        "old": OLD, "new": NEW, "at": WHEN, "last": 1_000_500, "first": 20_000, "who": "陈晓", "why": "read off the display",
        "more": {"address": NEW},
    }  # fmt: skip
    return swap(conn, Swap(**{**given, **changes}), now=NOW, zone=SHANGHAI, dry_run=dry_run)


def hung(conn: Connection) -> list[tuple[Any, ...]]:
    return table(
        conn,
        "SELECT asset, i.address, p.code, i.valid_from, i.valid_to = 'infinity' FROM installation i JOIN meter USING (meter_id) "
        "JOIN point p USING (point_id) ORDER BY i.valid_from, asset",
    )


def test_the_points_energy_is_whole_across_it(store: Connection) -> None:
    here = place(store, OLD, customer="C1")
    slots = [at(f"2026-03-11 {h:02d}:{m:02d}") for h in (10,) for m in (0, 15, 30, 45)]
    deliver(store, CURVES, rows([here.meter] * 2, slots[:2], active_import=[1_000_000, 1_000_300]), NOW)
    done = exchanged(store)
    assert (done.terminal, done.protocol) == ("T1", "dlt645")
    when = dt.datetime(2026, 3, 11, 10, 20, tzinfo=SHANGHAI)
    assert hung(store)[1:] == [(NEW, NEW, f"P{OLD}", when, True)]
    new = one(store, "SELECT meter_id FROM meter WHERE asset = %s", NEW)
    deliver(store, CURVES, rows([new] * 2, slots[2:], active_import=[20_100, 20_400]), NOW)
    block = blocks.energies(store, dt.date(2026, 3, 11), SHANGHAI, ("active_import",))
    values = block.energies["active_import"].energy[0]
    # 10:15-10:30: 0.0200 kWh by the old meter until 10:20, then 0.0100 by the new one
    assert values[40:43].tolist() == [300, 200 + 100, 300]
    area = table(store, "SELECT DISTINCT role, valid_to = 'infinity' FROM area_role")
    assert area == [("receive", True)]  # the point is to its area what it was


def test_what_cuts_it_off_stays_where_it_is(store: Connection) -> None:
    """The breaker is the point's, whichever meter hangs there."""
    place(store, OLD, protocol="gdw376", pn=3, login="33010001", switch=("round 2",), customer="C1")
    exchanged(store)
    assert table(
        store, "SELECT asset, i.pn, i.switch FROM installation i JOIN meter USING (meter_id) ORDER BY asset"
    ) == [(OLD, 3, ["round 2"]), (NEW, 3, ["round 2"])]


def test_who_said_so_is_the_evidence(store: Connection) -> None:
    place(store, OLD)
    exchanged(store)
    found = table(
        store,
        "SELECT m.asset, active_import, r.evidence FROM register_read r JOIN meter m USING (meter_id) WHERE kind = 3 ORDER BY 1",
    )
    assert [(asset, value) for asset, value, _ in found] == [(OLD, 1_000_500), (NEW, 20_000)]
    assert found[0][2] == found[1][2]
    day = moment("2026-03-11 00:00")
    kept = exchanges.named(store, found[0][2], day, day + dt.timedelta(days=1), [])
    store.commit()
    assert kept is not None
    assert json.loads(kept.said[0].raw) == {
        "old": OLD, "new": NEW, "last_kwh": "100.0500", "first_kwh": "2.0000", "source": "typed", "who": "陈晓",
        "why": "read off the display",
    }  # fmt: skip


def test_a_dry_run_changes_nothing(store: Connection) -> None:
    place(store, OLD)
    done = exchanged(store, dry_run=True)
    assert (done.archive.new["meters"], done.archive.ended["meters"]) == (1, 1)
    assert [row[0] for row in hung(store)] == [OLD]
    assert one(store, "SELECT count(*) FROM register_read") == 0
    exchanged(store)
    assert [row[0] for row in hung(store)] == [OLD, NEW]


def test_two_meters_on_one_point_and_one_meter_on_two(store: Connection) -> None:
    place(store, OLD)
    place(store, NEW)
    with pytest.raises(CannotBe, match=f"meter {NEW} hangs at P{NEW}: a meter cannot be on two points"):
        exchanged(store)
    with pytest.raises(CannotBe, match="exchanged for itself"):
        exchanged(store, new=OLD)
    with pytest.raises(UnknownMeter):
        exchanged(store, old="410000000077")
    exchanged(store, new="410000000098", more={"address": "410000000098"})
    with pytest.raises(CannotBe, match=f"meter {OLD} does not hang anywhere at 2026-03-11T03:"):
        exchanged(store, new="410000000097", at=at("2026-03-11 11:00"))
    assert one(store, "SELECT count(*) FROM installation WHERE valid_to = 'infinity'") == 2


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"last": 999_999}, r"showed 100.0000 kWh at 2026-03-11T02:15:00\+00:00; it cannot end with 99.9999"),
        ({"at": at("2026-03-11 10:10")}, "was read at 2026-03-11T02:15.*, after it is said to have gone"),
        ({"at": at("2026-03-11 12:01")}, "has not come yet"),
        ({"at": at("2026-01-01 00:00")}, "was hung at that very instant"),
        ({"at": at("2025-12-31 00:00")}, "does not hang anywhere"),
    ],
)
def test_what_contradicts_the_readings(store: Connection, changes: dict[str, Any], why: str) -> None:
    here = place(store, OLD)
    deliver(store, CURVES, rows([here.meter], [at("2026-03-11 10:15")], active_import=[1_000_000]), NOW)
    with pytest.raises(CannotBe, match=why):
        exchanged(store, **changes)
    store.rollback()
    assert [row[0] for row in hung(store)] == [OLD]
    exchanged(store, last=1_000_000)  # it may have stood still


def test_a_used_meter_goes_on_from_where_it_was(store: Connection) -> None:
    place(store, OLD)
    used = place(store, NEW, until="2026-02-01 00:00", point="P9")
    deliver(store, SPOT_READS, rows([used.meter], [at("2026-02-01 00:00")], active_import=[20_001]), NOW)
    with pytest.raises(CannotBe, match=f"meter {NEW} showed 2.0001 kWh .* it cannot begin with 2.0000"):
        exchanged(store)
    store.rollback()
    exchanged(store, first=20_001)


def test_what_the_import_refuses_is_refused(store: Connection) -> None:
    """Another meter answers to that address already; nothing is left behind."""
    place(store, OLD)
    other = place(store, "410000000002")
    with pytest.raises(ArchiveError):
        exchanged(store, more={"address": "410000000002"})
    assert other.terminal
    assert one(store, "SELECT count(*) FROM register_read") == 0
    assert {row.asset for row in archive.installed(store, NOW)} == {OLD, "410000000002"}


def test_the_instant_is_kept_to_the_microsecond(store: Connection) -> None:
    """As of a live reading: an energy is joined at the very instant or not at all."""
    place(store, OLD)
    exchanged(store, at=WHEN + np.timedelta64(123_456, "us"))
    stamps = table(
        store, "SELECT DISTINCT ts FROM register_read UNION SELECT max(valid_from) FROM installation"
    )
    assert len(stamps) == 1
