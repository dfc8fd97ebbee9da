"""A campaign reads, shows, waits for a second person, writes a few at a time, and stops by itself. What meters answer is made up here; real
ones are in tests/headend/collector/test_prices.py."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import numpy as np
import pytest

from headend.jobs import campaigns as job
from headend.jobs.frame import Run
from headend.store import campaigns, cluster, db, orders, tariffs
from headend.store.db import Connection, StoreError
from protocols.localtime import as_datetime
from tests.headend.store.test_tariffs import FIRST, offered, put
from tests.support.house import SHANGHAI, at, moment, one, place, table
from tests.support.tables import held

AT = dt.date(2026, 4, 1)
NOW = at("2026-03-11 10:00")
PLAN = "zhejiang-residential-peak-valley"


@pytest.fixture
def server_kind() -> str:
    return "embedded"


def fleet(conn: Connection, many: int = 6) -> None:
    for number in range(1, many + 1):
        place(conn, f"{number:03d}", terminal=f"T{number}", customer=f"90{number}")
    place(conn, "900", terminal="T900", protocol="dlms", customer="9900")
    place(conn, "901", terminal="T901", customer="9901", tariff="beijing-residential-steps")


def begin(conn: Connection, **more: Any) -> int:
    return campaigns.begin(conn, tariff=PLAN, at=AT, reason="notice 7", who="陈晓", now=NOW, **more)


def go(conn: Connection, now: np.datetime64 = NOW) -> str:
    return job.job(Run(conn, SHANGHAI, now), dt.date(2026, 3, 11))


def answered(
    conn: Connection,
    state: str = "verified",
    document: Any = None,
    action: str = "read",
    most: int = 99,
    why: str = "",
) -> int:
    """Orders that are approved end so, as if a collector had carried them out."""
    rows = table(
        conn, "SELECT order_id FROM orders WHERE kind = 'prices' AND action = %s AND state = 'approved' ORDER BY order_id LIMIT %s", action, most,
    )  # fmt: skip
    for (order,) in rows:
        conn.execute(
            "UPDATE orders SET state = %s, is_open = false, ended_at = %s, outcome = %s, result = %s::jsonb WHERE order_id = %s",
            (state, as_datetime(NOW), why, json.dumps({"held": document} if document else {}), order),
        )
    conn.commit()
    return len(rows)


def states(conn: Connection, campaign: int) -> dict[str, int]:
    (row,) = (row for row in campaigns.listing(conn) if row["campaign_id"] == campaign)
    conn.commit()
    return dict(row["meters"])


def ready(conn: Connection, campaign: int, document: Any = None) -> str:
    """Read and worked out: the name of what waits for approval."""
    go(conn)
    answered(conn, document=document or held())
    go(conn)
    shown = campaigns.digest(campaigns.meters(conn, campaign, ["ready"]))
    conn.commit()
    return shown


def test_from_the_list_to_the_last_meter(store: Connection) -> None:
    fleet(store)
    number = begin(store)
    assert states(store, number) == {"listed": 6, "unreached": 1}
    assert go(store) == "campaign 1: 6 reading, 1 unreached"
    assert one(store, "SELECT count(*) FROM orders WHERE requested_by = 'job:campaigns'") == 6
    answered(store, document=held())
    go(store)
    assert states(store, number) == {"ready": 6, "unreached": 1}
    rows = campaigns.meters(store, number, ["ready"])
    (group,) = campaigns.differences(rows)
    assert (group["meters"], group["example"]) == (6, "001")
    assert [item["key"] for item in group["items"]][-1] == "switch zones"
    # one person is not enough, nor what was shown before something else came
    with pytest.raises(StoreError, match="陈晓 began campaign 1"):
        campaigns.approve(store, number, campaigns.digest(rows), who="陈晓", now=NOW)
    with pytest.raises(StoreError, match="is not 'abc' any more"):
        campaigns.approve(store, number, "abc", who="李敏", now=NOW)
    store.rollback()
    assert campaigns.approve(store, number, campaigns.digest(rows), who="李敏", now=NOW) == 6
    # as many as would stop it, until so many have succeeded
    assert go(store) == "campaign 1: 3 approved, 1 unreached, 3 writing"
    assert go(store) == "campaign 1: 3 approved, 1 unreached, 3 writing"
    found = orders.get(store, one(store, "SELECT min(order_id) FROM orders WHERE action = 'write'"))
    assert (found["requested_by"], found["approved_by"], found["state"]) == ("陈晓", "李敏", "approved")
    assert found["request"]["items"] == group["items"]
    assert answered(store, action="write") == 3
    assert go(store) == "campaign 1: 3 done, 1 unreached, 3 writing"
    answered(store, action="write")
    assert go(store) == "campaign 1: 6 done, 1 unreached"
    (row,) = campaigns.listing(store)
    assert row["state"] == "ended"
    assert campaigns.causes(store, number) == [
        {
            "state": "unreached",
            "why": "dlms meters have no tables that are written here",
            "meters": 1,
            "example": "900",
        }
    ]
    store.commit()
    assert go(store) == "no campaign runs"


def test_what_becomes_ready_while_somebody_approves_was_not_shown_to_him(
    store: Connection, store_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet(store, 2)
    number = begin(store)
    go(store)
    answered(store, document=held(), most=1)
    go(store)
    shown = campaigns.digest(campaigns.meters(store, number, ["ready"]))
    store.commit()
    assert states(store, number) == {"reading": 1, "ready": 1, "unreached": 1}
    digest = campaigns.digest

    def meanwhile(rows: Any) -> str:
        """The job works out the other one between the look and the word."""
        with db.connect(store_dsn) as other:
            answered(other, document=held())
            go(other)
        return digest(rows)

    monkeypatch.setattr(campaigns, "digest", meanwhile)
    assert campaigns.approve(store, number, shown, who="李敏", now=NOW) == 1
    assert states(store, number) == {"approved": 1, "ready": 1, "unreached": 1}


def test_who_has_another_plan_by_now_is_not_told_the_one_that_was_approved(store: Connection) -> None:
    """What was approved waits for its turn for weeks."""
    fleet(store, 3)
    number = begin(store)
    campaigns.approve(store, number, ready(store, number), who="李敏", now=NOW)
    store.execute(
        "UPDATE account SET tariff = 'zhejiang-residential-steps' FROM customer c WHERE c.customer_id = account.customer_id AND c.number = '902'"
    )
    store.commit()
    assert go(store) == "campaign 1: 2 unreached, 2 writing"
    assert {row["why"] for row in campaigns.causes(store, number)} >= {"its account is on this plan no more"}


def test_a_plan_that_was_revised_since_is_not_written_as_it_was(store: Connection) -> None:
    put(store, offered(FIRST, ("2026-04-01", "0.6"), name=PLAN), past=True)
    fleet(store, 1)
    number = begin(store)
    campaigns.approve(store, number, ready(store, number), who="李敏", now=NOW)
    tariffs.put(
        store, [offered(FIRST, ("2026-04-01", "0.7"), name=PLAN)], who="wang", reason="notice 8", now=NOW + np.timedelta64(1, "h"),
        today=dt.date(2026, 3, 11),
    )  # fmt: skip
    store.commit()
    assert go(store, NOW + np.timedelta64(2, "h")) == "campaign 1: 2 unreached"
    assert {row["why"] for row in campaigns.causes(store, number)} >= {
        f"{PLAN} was revised since the meter was read"
    }


def test_the_first_failures_stop_it_and_what_was_not_sent_is_withdrawn(store: Connection) -> None:
    fleet(store, 8)
    number = begin(store)
    shown = ready(store, number)
    campaigns.approve(store, number, shown, who="李敏", now=NOW)
    go(store)
    answered(store, "failed", action="write", most=2, why="spare zones reads back other than it was written")
    assert "2 failed" in go(store)
    # two have failed of three that would stop it, so one more may be under way, and it is the one that is
    assert states(store, number) == {"approved": 5, "failed": 2, "writing": 1, "unreached": 1}
    answered(store, "failed", action="write", most=1)
    assert go(store) == "campaign 1 stopped: 3 failed"
    assert one(store, "SELECT count(*) FROM orders WHERE is_open") == 0
    assert go(store) == "no campaign runs"
    # somebody looks at it, and goes on; those that failed are read anew if he says so
    campaigns.resume(store, number, who="陈晓", reason="firmware mended", again=True)
    assert states(store, number) == {"approved": 5, "listed": 3, "unreached": 1}
    go(store)
    answered(store, document=held())
    assert go(store) == "campaign 1: 2 approved, 3 ready, 1 unreached, 3 writing"
    # another difference of others wants another approval
    rest = campaigns.digest(campaigns.meters(store, number, ["ready"]))
    store.commit()
    assert rest != shown


def test_a_process_that_was_killed_between_asking_and_noting_asks_once(
    store: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet(store, 1)
    number = begin(store)
    campaigns.approve(store, number, ready(store, number), who="李敏", now=NOW)
    with monkeypatch.context() as patch:

        def killed(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr(campaigns, "move", killed)
        with pytest.raises(KeyboardInterrupt):
            go(store)
    store.rollback()
    assert states(store, number)["approved"] == 1
    go(store)
    assert one(store, "SELECT count(*) FROM orders WHERE action = 'write'") == 1
    assert states(store, number)["writing"] == 1


def test_who_holds_it_already_is_not_written_and_who_cannot_is_told_why(store: Connection) -> None:
    fleet(store, 2)
    number = begin(store)
    go(store)
    answered(store, document=held(counts=held()["counts"] | {"slots": 1}), most=1)
    answered(store, "expired", most=1, why="not sent by 18:00")
    assert go(store) == "campaign 1: 3 unreached"
    whys = " ".join(row["why"] for row in campaigns.causes(store, number))
    assert "not read: not sent by 18:00" in whys
    assert "slots; the meter is set to 1" in whys


def test_an_offline_terminal_is_tried_again_until_it_is_too_late(store: Connection) -> None:
    fleet(store, 1)
    number = begin(store)
    campaigns.approve(store, number, ready(store, number), who="李敏", now=NOW)
    go(store)
    answered(store, "expired", action="write", why="not sent by 18:00")
    go(store)
    assert states(store, number) == {"writing": 1, "unreached": 1}
    answered(store, "expired", action="write", why="not sent by 18:00")
    assert go(store, at("2026-03-31 10:00")) == "campaign 1: 2 unreached"
    assert "its turn did not come in time" in {row["why"] for row in campaigns.causes(store, number)}


def test_terminals_that_are_away_take_nobodys_turn(store: Connection) -> None:
    """Three are tried at first, and here all three are away: after them come the others, not these again."""
    fleet(store)
    number = begin(store)
    campaigns.approve(store, number, ready(store, number), who="李敏", now=NOW)
    go(store)
    assert answered(store, "expired", action="write", why="not sent by 18:00") == 3
    go(store)
    told = table(
        store, "SELECT asset FROM orders JOIN meter USING (meter_id) WHERE action = 'write' ORDER BY order_id"
    )
    assert [row[0] for row in told] == ["001", "002", "003", "004", "005", "006"]


def test_an_order_that_waits_for_its_terminal_holds_up_an_hour_and_not_the_campaign(
    store: Connection,
) -> None:
    fleet(store, 4)
    number = begin(store, per_hour=4, stop_after=1)
    for quarter in range(5):  # one is read each quarter-hour
        go(store, NOW + np.timedelta64(15 * quarter, "m"))
        answered(store, document=held())
    campaigns.approve(
        store, number, campaigns.digest(campaigns.meters(store, number, ["ready"])), who="李敏", now=NOW
    )
    when = NOW + np.timedelta64(90, "m")
    go(store, when)
    answered(store, action="write")
    go(store, when)  # the second one's terminal is away
    go(store, when + np.timedelta64(60, "m"))
    assert states(store, number) == {"done": 1, "writing": 1, "approved": 2, "unreached": 1}
    go(store, when + np.timedelta64(61, "m"))
    assert states(store, number) == {"done": 1, "writing": 2, "approved": 1, "unreached": 1}


@pytest.mark.parametrize("when", ["2026-03-11 00:10", "2026-03-11 23:20", "2026-03-11 23:45"])
def test_near_midnight_nothing_is_asked_for(store: Connection, when: str) -> None:
    fleet(store, 1)
    number = begin(store)
    go(store, at(when))
    assert states(store, number) == {"listed": 1, "unreached": 1}


def test_what_cannot_begin(store: Connection) -> None:
    fleet(store, 1)
    for wrong, why in (
        ({"tariff": "no-such"}, "no tariff 'no-such'"), ({"at": dt.date(2026, 3, 12)}, "less than 24 hours ahead"),
        ({"organisation": "nowhere"}, "no organisation 'nowhere'"), ({"at": dt.date(1999, 1, 1)}, "no version valid"),
        ({"at": dt.date(2126, 4, 1)}, "the dates of a meter end with 2099"),
        ({"tariff": "hunan-large-industry"}, "no meter of an account on hunan-large-industry"),
    ):  # fmt: skip
        with pytest.raises(StoreError, match=why):
            campaigns.begin(
                store, **({"tariff": PLAN, "at": AT, "reason": "r", "who": "w", "now": NOW} | wrong)
            )  # type: ignore[arg-type]
    store.rollback()
    assert one(store, "SELECT count(*) FROM price_campaign") == 0
    cluster.set_limits(store, {"prices_ahead_hours": 1000})
    with pytest.raises(StoreError, match="less than 1000 hours ahead"):
        begin(store)


def test_an_organisation_means_all_below_it(store: Connection) -> None:
    fleet(store, 3)
    ids = [
        row[0] for row in table(
            store, "INSERT INTO organisation (code, name, kind) SELECT c, c, 'county' FROM unnest('{P,C,X}'::text[]) c RETURNING organisation_id",
        )
    ]  # fmt: skip
    since = moment("2026-01-01 00:00")
    store.execute(
        "INSERT INTO organisation_span (organisation_id, parent_id, valid_from) VALUES (%s, %s, %s)",
        (ids[1], ids[0], since),
    )
    for asset, organisation in (("001", ids[0]), ("002", ids[1]), ("003", ids[2])):
        store.execute(
            "INSERT INTO point_span (point_id, organisation_id, valid_from) SELECT point_id, %s, %s FROM installation JOIN meter USING (meter_id) "
            "WHERE asset = %s",
            (organisation, since, asset),
        )
    store.commit()
    number = begin(store, organisation="P")
    assert [row["asset"] for row in campaigns.meters(store, number, ["listed"])] == ["001", "002"]


def test_after_a_restore_nothing_goes_on_by_itself(store: Connection) -> None:
    """What was approved then may have been written since: it is read and approved anew."""
    fleet(store, 2)
    number = begin(store)
    campaigns.approve(store, number, ready(store, number), who="李敏", now=NOW)
    campaigns.after_restore(store, who="王芳")
    store.commit()
    assert go(store) == "no campaign runs"
    assert states(store, number) == {"listed": 2, "unreached": 1}
    assert campaigns.one(store, number)["why"] == "stopped: the store was restored by 王芳"
    store.commit()
