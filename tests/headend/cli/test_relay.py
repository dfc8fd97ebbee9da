"""`headend relay` before a real collector: gates, the second person, and outcomes that were read back."""

from __future__ import annotations

import pytest

from tests.headend.cli.conftest import until


@pytest.fixture(scope="session")
def broke(fleet):
    """A customer without money, told so."""
    meter = fleet.faults["broke"]
    customer = fleet.customer(meter)

    def stopped() -> bool:
        assert fleet("prepaid", "run").code == 0
        rows = fleet("prepaid", "balances", "--json").json()
        return next(row for row in rows if row["customer"] == customer)["level"] == "stop"

    until(stopped, 60)
    assert fleet("vee", "run").code == 0
    said = fleet("prepaid", "notices", customer, "--waiting", "--json").json()
    for notice in said:
        handed = ["prepaid", "told", str(notice["notice_id"]), "--reference", "A-17", "--person", "陈晓"]
        assert fleet(*handed).out == f"notice {notice['notice_id']}: delivered by visit A-17\n"
        assert "said before" in fleet(*handed).out
    assert "stop" in [notice["level"] for notice in said]
    shown = fleet("prepaid", "notices", customer)
    assert "delivered by visit A-17" in " ".join(shown.out.split())
    # he was told a moment ago; a notice is evidence, and dating it back would be found by the audit
    assert fleet("relay", "limits", "notice_before=0").code == 0
    return meter


@pytest.fixture
def trip(fleet, broke):
    """An order to cut that customer off, not approved yet; withdrawn at the end."""
    said = fleet("relay", "trip", broke, "--reason", "arrears [/bold]", "--person", "陈晓", "--json")
    assert said.code == 0, said
    yield str(said.json()["order_id"])
    fleet("relay", "cancel", str(said.json()["order_id"]), "--person", "陈晓")


def state(fleet, order: str) -> str:
    return str(fleet("relay", "show", order, "--json").json()["state"])


def test_a_trip_that_the_gates_refuse_is_on_record(fleet, broke):
    protected = fleet.faults["protected"]
    assert broke
    said = fleet("relay", "trip", protected, "--reason", "arrears", "--person", "陈晓")
    assert said.code == 1
    assert said.line.startswith(f"headend: trip of meter {protected} refused: ")
    assert "protected: " in said.line
    order = said.line.partition("on record as order ")[2].partition(";")[0]
    shown = fleet("relay", "show", order, "--json")
    assert (shown.code, shown.json()["state"], shown.json()["sent_at"]) == (1, "refused", None)


def test_check_names_every_gate(fleet):
    said = fleet("relay", "check", fleet.faults["protected"], "--json").json()
    assert not said["allowed"]
    assert "protected" in {refusal["gate"] for refusal in said["refusals"]}
    assert "protected" in fleet("relay", "check", fleet.faults["protected"]).out


def test_the_same_person_cannot_approve(fleet, trip):
    assert state(fleet, trip) == "wanted"
    said = fleet("relay", "approve", trip, "--person", "陈晓")
    assert said.code == 1
    assert said.line.startswith(f"headend: approval of relay order {trip} refused: ")
    assert "陈晓" in said.line
    assert state(fleet, trip) == "wanted"


def test_brackets_in_a_reason_are_shown_as_they_are(fleet, trip):
    assert "arrears [/bold]" in fleet("relay", "show", trip).out
    assert "arrears [/bold]" in " ".join(fleet("relay", "list").out.split())


def test_one_open_order_at_a_time(fleet, broke, trip):
    said = fleet("relay", "trip", broke, "--reason", "again", "--person", "李敏")
    assert said.code == 1
    assert f"order {trip}" in said.line


def test_what_was_withdrawn_stays_so(fleet, trip):
    assert fleet("relay", "cancel", trip, "--person", "陈晓", "--json").json()["state"] == "cancelled"
    said = fleet("relay", "approve", trip, "--person", "李敏")
    assert said.code == 1
    assert "cancelled" in said.line


def test_cut_off_and_given_back_each_proven(fleet, broke, trip):
    said = fleet("relay", "approve", trip, "--person", "李敏", "--json")
    assert "nobody knows what a usual day costs" in said.line  # the fleet is a day old
    said = fleet("relay", "approve", trip, "--person", "李敏", "--accept", "fall", "--wait", "30", "--json")
    assert said.code == 0, said
    order = until(
        lambda: (o := fleet("relay", "show", trip, "--json").json())["state"] == "verified" and o, 30
    )
    assert order["result"]["relay"]["open"]
    assert [event["event"] for event in order["events"]] == ["request", "approve", "send", "answer", "prove"]
    said = fleet("relay", "close", broke, "--reason", "paid", "--wait", "30", "--json")
    assert (said.code, said.json()["state"]) == (0, "verified")
    assert not said.json()["result"]["relay"]["open"]


def test_limits_change_and_come_back(fleet):
    before = fleet("relay", "limits", "--json").json()
    assert str(fleet("relay", "limits", "trips_per_hour=3", "--json").json()["trips_per_hour"]) == "3"
    fleet("relay", "limits", f"trips_per_hour={before['trips_per_hour']}")
    assert fleet("relay", "limits", "--json").json() == before
    said = fleet("relay", "limits", "trip_from=9999")
    assert (said.code, "limit trip_from: '9999' is not a time" in said.line) == (1, True)
