"""`headend prepaid debt`, `grace` and `terms`, as a person at the desk uses them."""

from __future__ import annotations


def test_a_debt_of_a_customer(fleet):
    customer = fleet.customer(fleet.faults["protected"])
    said = fleet(
        "prepaid", "debt", "add", customer, "1200", "--kind", "opening", "--months", "12", "--reason", "旧欠", "--person", "陈晓", "--json"
    )  # fmt: skip
    assert said.code == 0, said
    number = str(said.json()["debt"])
    assert said.json()["waits_for_second_person"] is True
    alone = fleet("prepaid", "debt", "agree", number, "--person", "陈晓")
    assert (alone.code, "another person must agree" in alone.line) == (1, True)
    assert fleet("prepaid", "debt", "agree", number, "--person", "李敏").out.startswith(
        f"debt {number} holds"
    )
    (row,) = [
        r
        for r in fleet("prepaid", "debt", "list", "--customer", customer, "--json").json()
        if str(r["id"]) == number
    ]
    assert (row["left_fen"], row["state"]) == (120_000, "in force")
    assert "1200.00" in fleet("prepaid", "debt", "list").out
    assert fleet("prepaid", "debt", "take").code == 0
    assert fleet("prepaid", "debt", "end", number, "--reason", "wrong", "--person", "陈晓").code == 0
    assert "is ended" in fleet("prepaid", "debt", "end", number, "--reason", "wrong", "--person", "李敏").out
    assert fleet("prepaid", "debt", "repay", number, "1").code == 1
    two = fleet(
        "prepaid",
        "debt",
        "add",
        customer,
        "12",
        "--kind",
        "theft",
        "--months",
        "2",
        "--daily",
        "1",
        "--reason",
        "x",
    )
    assert two.code == 2
    assert fleet("prepaid", "show", customer).code == 0


def test_grace_and_terms(fleet):
    customer = fleet.customer(fleet.faults["protected"])
    said = fleet("prepaid", "grace", "grant", customer, "today", "--reason", "住院", "--person", "陈晓")
    assert said.code == 0, said
    number = said.out.split()[1].rstrip(":")
    (row,) = [r for r in fleet("prepaid", "grace", "list", "--json").json() if str(r["id"]) == number]
    assert (row["customer"], row["reason"]) == (customer, "住院")
    assert fleet("prepaid", "grace", "revoke", number).code == 0
    assert fleet("prepaid", "grace", "revoke", number).code == 1
    assert fleet("prepaid", "terms", "--warn1-fen", "3000").line.endswith(
        "say why the terms change: it stays in the audit"
    )
    assert fleet("prepaid", "terms", "--warn1-fen", "3000", "--reason", "board").code == 0
    assert (
        fleet("prepaid", "terms", "--customer", customer, "--grace-days", "30", "--reason", "board").code == 0
    )
    rows = fleet("prepaid", "terms", "--json").json()
    assert (rows[0]["warn1_fen"], rows[0]["warn2_fen"]) == (3_000, 500)
    assert [r["grace_days"] for r in rows if r["customer"] == customer] == [30]
    assert "everybody" in fleet("prepaid", "terms").out
