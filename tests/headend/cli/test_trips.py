"""`headend relay stop`, batches, no-trip days and `headend audit` before a real store."""

from __future__ import annotations

import psycopg


def test_the_kill_switch_is_shown_where_a_trip_is_refused(fleet):
    meter = fleet.faults["protected"]
    assert "no trip leaves" in fleet("relay", "stop", "--reason", "wrong tariff", "--person", "王芳").out
    assert "trips are stopped by 王芳" in " ".join(fleet("relay", "list").out.split())
    assert "stopped" in {r["gate"] for r in fleet("relay", "check", meter, "--json").json()["refusals"]}
    said = fleet("relay", "trip", meter, "--reason", "arrears", "--person", "陈晓")
    assert (said.code, "stopped: trips are stopped: by 王芳" in said.line) == (1, True)
    assert (
        "another person must say so" in fleet("relay", "resume", "--reason", "mended", "--person", "李敏").out
    )
    said = fleet("relay", "resume", "--reason", "mended", "--person", "李敏")
    assert (said.code, "another person must say it too" in said.line) == (1, True)
    assert fleet("relay", "resume", "--reason", "mended", "--person", "陈晓").out.strip() == "trips go on"
    assert not fleet("relay", "list").out.startswith("trips are stopped")
    assert "stopped" not in {r["gate"] for r in fleet("relay", "check", meter, "--json").json()["refusals"]}


def test_a_batch_is_a_dry_run_unless_told_otherwise(fleet, tmp_path):
    meter = fleet.faults["protected"]
    file = tmp_path / "arrears.csv"
    file.write_text(f"customer,meter\n1,{meter}\n2,nobody\n3,{meter}\n", "utf-8")
    said = fleet(
        "relay", "trip", "--from", str(file), "--reason", "arrears", "--person", "陈晓", "--json"
    ).json()
    assert (said["dry_run"], said["batch"], said["refused"]) == (True, None, 2)
    assert [row["meter"] for row in said["meters"]] == [meter, "nobody"]
    assert "protected" in {reason["gate"] for reason in said["meters"][0]["reasons"]}
    out = fleet("relay", "trip", "--list", f"{meter},nobody", "--reason", "arrears").out
    assert "dry run: nothing is ordered without --yes" in out
    said = fleet(
        "relay", "trip", "--list", meter, "--reason", "arrears", "--person", "陈晓", "--yes", "--json"
    )
    assert (said.code, said.json()["refused"]) == (1, 1)
    number = said.json()["batch"]
    assert number in {row["batch_id"] for row in fleet("relay", "batches", "--json").json()}
    assert "0 of 0 approved" in fleet("relay", "approve-batch", str(number), "--person", "李敏").out
    for wrong in ([], [meter, "--list", meter]):
        said = fleet("relay", "trip", *wrong, "--reason", "arrears")
        assert (said.code, "name one METER, or a batch" in said.line) == (2, True)
    said = fleet("relay", "release", "9999", "--reason", "x", "--person", "李敏")
    assert (said.code, "no batch 9999" in said.line) == (1, True)


def test_days_are_declared_and_withdrawn(fleet):
    said = fleet(
        "relay",
        "no-trip",
        "add",
        "2026-06-07",
        "2026-06-09",
        "--kind",
        "exam",
        "--reason",
        "高考",
        "--person",
        "王芳",
    )
    number = said.out.split()[1].rstrip(":")
    (row,) = fleet("relay", "no-trip", "list", "--json").json()
    assert (str(row["id"]), row["reason"], row["withdrawn_by"]) == (number, "高考", None)
    assert "高考" in fleet("relay", "no-trip", "list").out
    assert fleet("relay", "no-trip", "withdraw", number, "--person", "王芳").code == 0
    assert fleet("relay", "no-trip", "withdraw", number, "--person", "王芳").code == 1


def test_the_audit_is_verified_against_a_kept_head(fleet, tmp_path):
    head = tmp_path / "head"
    said = fleet("audit", "verify", "--write", str(head), "--json").json()
    assert (said["ok"], said["broken"]) == (True, None)
    assert head.read_text().strip() == said["head"]
    assert fleet("relay", "limits", "trips_per_hour=20", "--person", "李敏").code == 0
    assert "the chain holds" in fleet("audit", "verify", "--since", str(head)).out
    assert "审计链完整" in fleet("audit", "verify", "--since", head.read_text().strip(), "--lang", "zh").out
    assert fleet("audit", "head").out.split()[0] == str(
        fleet("audit", "list", "--limit", "1", "--json").json()[0]["seq"]
    )
    assert "limits" in fleet("audit", "list", "--kind", "limits").out
    said = fleet("audit", "verify", "--since", f"999999 {'0' * 64}")
    assert (said.code, "records are missing at its end" in said.out) == (1, True)
    assert fleet("audit", "verify", "--since", "nonsense").code == 1
    with psycopg.connect(fleet.dsn) as conn:
        conn.execute("SET session_replication_role = replica")
        conn.execute("UPDATE audit SET body = body || ' ' WHERE seq = 2")
    try:
        assert "BROKEN at record 2: it was changed" in fleet("audit", "verify").out
        assert "审计链断裂 第 2 条" in fleet("audit", "verify", "--lang", "zh").out
    finally:
        with psycopg.connect(fleet.dsn) as conn:
            conn.execute("SET session_replication_role = replica")
            conn.execute("UPDATE audit SET body = rtrim(body) WHERE seq = 2")
