"""Checks what the head-end stored and concluded against the truth that the simulator wrote before the first byte was sent.

Independent on purpose: it reads the tables with plain SQL and does its sums in plain Python, not with the code that it checks.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import numpy as np

from headend.demo.rest import Rest, RestError
from headend.demo.world import CRM, DAY, ZONE, World
from headend.store.db import Connection
from headend.store.tables import DAY_FREEZE
from lineloss.norms import norms
from protocols.localtime import as_datetime, midnight
from protocols.quantity import quantities
from protocols.reading import MISSING, REGISTER_QUANTITIES, SLOT_QUANTITIES
from terminals.simulator import truth
from terminals.simulator.truth import Expected
from terminals.simulator.witness import Act, read_acts

NEXT: Final = DAY + dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Check:
    """One statement, whether it holds, and the figures behind it."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class _Ground:
    """What the checks stand on."""

    world: World
    conn: Connection
    crm: Rest
    expected: Expected
    acts: list[Act]
    faults: dict[str, Any]


def check(world: World, conn: Connection) -> list[Check]:
    """Every check, in the order in which the data flow. The server must be running."""
    found = truth.load(world.simulator)
    acts = read_acts(world.simulator / "acts.jsonl")
    expected = found.expected(acts, DAY - dt.timedelta(days=1), DAY)
    ground = _Ground(world, conn, Rest(world.base, world.keys[CRM]), expected, acts, dict(expected.faults))
    checks = [
        Check(
            "the truth is the one written before the first byte",
            found.sha256 == world.truth_sha256,
            f"sha256 {found.sha256[:16]}…, seed {world.seed}",
        )
    ]
    for look in (
        _fleet,
        _slots,
        _freezes,
        _ledger_agrees,
        _losses,
        _findings,
        _relays,
        _balances,
        _billing,
        _rest,
    ):
        checks += _looked(look, ground)
    conn.rollback()
    return checks


def _looked(look: Callable[[_Ground], Iterator[Check]], ground: _Ground) -> list[Check]:
    """What altered data make impossible to check does not hold."""
    found: list[Check] = []
    try:
        found.extend(look(ground))
    except (ArithmeticError, AssertionError, LookupError, OSError, RestError, TypeError, ValueError) as error:
        name = look.__name__.strip("_").replace("_", " ")
        found.append(Check(f"{name}: the data can be checked", False, f"{type(error).__name__}: {error}"))
    return found


def _fleet(g: _Ground) -> Iterator[Check]:
    rows = g.conn.execute(
        "SELECT protocol, link, count(*) AS n FROM terminal GROUP BY 1, 2 ORDER BY 1, 2"
    ).fetchall()
    meters = g.conn.execute("SELECT count(*) AS n FROM meter").fetchone()
    assert meters is not None
    terminals = sum(row["n"] for row in rows)
    big = g.world.size == "small" or (terminals >= 20 and meters["n"] >= 400)
    both = {row["protocol"] for row in rows} == {"dlt645", "dlms"} and {"dial-in", "dial-out"} <= {
        row["link"] for row in rows
    }
    kinds = ", ".join(f"{row['n']} {row['protocol']} {row['link']}" for row in rows)
    yield Check(
        "the fleet: both protocols, dial-in and dial-out",
        big and both,
        f"{terminals} terminals, {meters['n']} meters: {kinds}",
    )


def _slots(g: _Ground) -> Iterator[Check]:
    slots = g.expected.slots
    wanted = (slots > midnight(DAY, ZONE)) & (slots <= midnight(NEXT, ZONE))
    times = slots[wanted]
    stored, extra = _stored(g, "slot_read", SLOT_QUANTITIES, times, "")
    available = g.expected.available[:, wanted]
    here = ~np.all(stored["absent"], axis=0)
    missed, invented = int((available & ~here).sum()), int((here & ~available).sum()) + extra
    yield Check(
        "every 15-minute point the fleet had is in the store, and no other",
        missed == 0 and invented == 0,
        f"{int((available & here).sum())} of {int(available.sum())} points, {missed} missing, {invented} that never were",
    )
    wrong = [
        f"{code} of {g.expected.meters[m]} at {as_datetime(times[s], ZONE):%H:%M}"
        for code in SLOT_QUANTITIES
        for m, s in zip(
            *np.nonzero(_differ(code, stored[code], g.expected.curve[code][:, wanted]) & available & here),
            strict=True,
        )
    ]
    values = int((available & here).sum()) * len(SLOT_QUANTITIES)
    yield Check(
        "every value of every point is what the meter displayed",
        not wrong,
        f"{values} values compared"
        + (f"; {len(wrong)} differ, first: {wrong[0]}" if wrong else ", none differs"),
    )
    # the meter's own value over an estimate is the first that was read
    revisions = g.conn.execute(
        "SELECT count(*) AS n FROM revision r WHERE method = 'read' AND NOT EXISTS (SELECT FROM revision e WHERE (e.meter_id, e.ts, e.source, "
        "e.quantity, e.version) = (r.meter_id, r.ts, r.source, r.quantity, r.version - 1) AND e.method LIKE 'vee-%')"
    ).fetchone()
    doubles = g.conn.execute(
        "SELECT count(*) AS n FROM (SELECT meter_id, ts FROM slot_read GROUP BY 1, 2 HAVING count(*) > 1) d"
    ).fetchone()
    assert revisions is not None
    assert doubles is not None
    yield Check(
        "no duplicate, and nothing was read twice with different results",
        revisions["n"] == 0 and doubles["n"] == 0,
        f"{doubles['n']} duplicates, {revisions['n']} revisions",
    )


def _differ(code: str, stored: Any, expected: Any) -> Any:
    if quantities()[code].kind == "register":
        return stored != expected
    wanted = expected.astype(np.float32)
    return ~((stored == wanted) | (np.isnan(stored) & np.isnan(wanted)))


def _stored(
    g: _Ground, table: str, codes: tuple[str, ...], times: Any, where: str
) -> tuple[dict[str, Any], int]:
    """code -> [meter, time] as stored, plus 'absent' [code, meter, time]; and the rows of meters or times that do not exist."""
    meters = {asset: k for k, asset in enumerate(g.expected.meters)}
    columns = {when.item(): k for k, when in enumerate(times.astype("datetime64[us]"))}
    shape = (len(meters), len(columns))
    grids: dict[str, Any] = {
        code: np.full(shape, MISSING, dtype=np.int64)
        if quantities()[code].kind == "register"
        else np.full(shape, np.nan, dtype=np.float32)
        for code in codes
    }
    absent = np.ones((len(codes), *shape), dtype=np.bool_)
    extra = 0
    for row in g.conn.execute(
        f"SELECT asset, ts, {', '.join(codes)} FROM {table} JOIN meter USING (meter_id) WHERE ts BETWEEN %s AND %s {where}",
        (as_datetime(times[0]), as_datetime(times[-1])),
    ):
        m, s = meters.get(row["asset"]), columns.get(row["ts"].replace(tzinfo=None))
        if m is None or s is None:
            extra += 1
            continue
        for k, code in enumerate(codes):
            if row[code] is not None:
                grids[code][m, s] = row[code]
                absent[k, m, s] = False
    grids["absent"] = absent
    return grids, extra


def _freezes(g: _Ground) -> Iterator[Check]:
    stored, extra = _stored(
        g, "register_read", REGISTER_QUANTITIES, g.expected.midnights, f"AND kind = {DAY_FREEZE}"
    )
    alive = g.expected.answers
    wrong = extra
    for code in REGISTER_QUANTITIES:
        wrong += int((stored[code][alive] != g.expected.freezes[code][alive]).sum())
        wrong += int((stored[code][~alive] != MISSING).sum())
    n = int(alive.sum()) * len(g.expected.midnights)
    yield Check(
        "every day freeze, by tariff, is what the meter froze",
        wrong == 0,
        f"{n} freezes of {int(alive.sum())} meters, {wrong} registers wrong",
    )


def _ledger_agrees(g: _Ground) -> Iterator[Check]:
    bits = g.conn.execute(
        "SELECT coalesce(sum(bit_count(present)), 0)::bigint AS n FROM coverage WHERE day = %s AND plan = 1",
        (DAY,),
    ).fetchone()
    rows = g.conn.execute(
        "SELECT count(*) AS n FROM slot_read WHERE ts > %s AND ts <= %s",
        (as_datetime(midnight(DAY, ZONE)), as_datetime(midnight(NEXT, ZONE))),
    ).fetchone()
    absent = g.conn.execute(
        "SELECT coalesce(sum(bit_count(absent)), 0)::bigint AS n FROM coverage WHERE day = %s AND plan = 1",
        (DAY,),
    ).fetchone()
    assert bits is not None
    assert rows is not None
    assert absent is not None
    planted = sum(len(gap["slots"]) for gap in g.faults["missing"])
    days = g.conn.execute(
        "SELECT coalesce(sum(bit_count(present)), 0)::bigint AS n FROM coverage WHERE day = %s AND plan = 2",
        (DAY,),
    ).fetchone()
    assert days is not None
    alive = int(g.expected.answers.sum())
    yield Check(
        "the completeness ledger agrees with the rows, and knows what was never recorded",
        bits["n"] == rows["n"] and absent["n"] == planted and days["n"] == alive,
        f"{bits['n']} points in the ledger, {rows['n']} rows; {absent['n']} proved not recorded, {planted} planted; "
        f"{days['n']} day freezes of {alive} meters",
    )


def _losses(g: _Ground) -> Iterator[Check]:
    e = g.expected
    day = (e.slots > midnight(DAY, ZONE)) & (e.slots <= midnight(NEXT, ZONE))
    true_loss = (e.technical[:, day] + e.stolen[:, day]).sum(axis=1) * 10_000  # 1e-4 kWh
    rows = {
        row["code"]: row
        for row in g.conn.execute(
            "SELECT a.code, l.* FROM loss_result l JOIN area a USING (area_id) WHERE day = %s", (DAY,)
        )
    }
    ratio = {
        row["asset"]: (row["role"], row["multiplier"])
        for row in g.conn.execute(
            "SELECT m.asset, r.role, i.ct * i.pt AS multiplier FROM installation i JOIN meter m USING (meter_id) JOIN area_role r USING (point_id)"
        )
    }
    outside, inexact, wrong_status, known = [], [], [], 0
    widths = []
    for number in range(len(true_loss)):
        code = e.areas[number]
        members = np.flatnonzero(e.area_of == number)
        row = rows.get(code)
        should = bool(e.answers[members].all())
        if row is None or (row["status"] == "known") != should:
            wrong_status.append(code)
            continue
        if not should:
            continue
        known += 1
        total = {"supply": 0, "receive": 0}
        for m in members.tolist():
            role, multiplier = ratio[e.meters[m]]
            registers = e.freezes["active_import"][m]
            total[role] += int(registers[1] - registers[0]) * multiplier
        if (row["supplied"], row["sold"], row["loss"]) != (
            total["supply"],
            total["receive"],
            total["supply"] - total["receive"],
        ) or abs(row["rate"] * row["supplied"] - row["loss"]) > 1e-6 * row["supplied"]:
            inexact.append(code)
        if not row["loss_low"] <= true_loss[number] <= row["loss_high"]:
            outside.append(code)
        widths.append((row["loss_high"] - row["loss_low"]) / max(row["supplied"], 1))
    unknown = len(true_loss) - known
    yield Check(
        "areas with a dead meter say unknown, all others are known",
        not wrong_status,
        f"{known} known, {unknown} unknown" + (f"; wrong: {', '.join(wrong_status)}" if wrong_status else ""),
    )
    yield Check(
        "supplied, sold, loss and its rate are the registers' to the last digit",
        not inexact,
        f"{known} areas" + (f"; wrong: {', '.join(inexact)}" if inexact else ""),
    )
    yield Check(
        "the true loss of every known area lies within its bounds",
        not outside,
        f"{known} areas, bounds {np.median(widths):.1%} of supply wide at the median"
        + (f"; outside: {', '.join(outside)}" if outside else ""),
    )


def _findings(g: _Ground) -> Iterator[Check]:
    e, faults = g.expected, g.faults
    planted = {("missing", "meter", asset) for asset in faults["dead"]}
    planted |= {("missing", "meter", gap["meter"]) for gap in faults["missing"]}
    planted |= {("theft", "meter", thief["meter"]) for thief in faults["thieves"]}
    planted |= {("voltage", "meter", asset) for asset in faults["excursions"]}
    planted |= {("unbalance", "area", area) for area in faults["unbalanced"]}
    day = (e.slots > midnight(DAY, ZONE)) & (e.slots <= midnight(NEXT, ZONE))
    # a stolen share may lift an area's true rate over the norm: then saying so is right, too
    limit = norms()["area_loss_rate"].high
    allowed = set(planted)
    for thief in faults["thieves"]:
        area = e.areas.index(thief["area"])
        rate = (e.technical[area, day] + e.stolen[area, day]).sum() / e.supplied[area, day].sum()
        if rate > limit - 0.02:
            allowed.add(("loss", "area", thief["area"]))
    # whose cover was opened has noted it, and may have been asked for what it noted by now
    events = json.loads((g.world.simulator / "truth.json").read_text(encoding="utf-8"))["events"]
    allowed |= {("cover", "meter", event["meter"]) for event in events if event["kind"] == "cover-open"}
    said = {
        (row["rule"], row["subject_kind"], row["subject"])
        for row in g.conn.execute(
            "SELECT rule, subject_kind, CASE subject_kind WHEN 'meter' THEN (SELECT asset FROM meter WHERE meter_id = subject_id) "
            "WHEN 'area' THEN (SELECT code FROM area WHERE area_id = subject_id) "
            "ELSE (SELECT code FROM terminal WHERE terminal_id = subject_id) END AS subject "
            "FROM finding JOIN finding_day d USING (finding_id) WHERE d.day = %s AND NOT d.withdrawn",
            (DAY,),
        )
    }
    overlooked, accused = planted - said, said - allowed
    found = ", ".join(" ".join(item) for item in sorted(planted & said))
    yield Check(
        "everything planted was found",
        not overlooked,
        f"found: {found}" + (f"; overlooked: {sorted(overlooked)}" if overlooked else ""),
    )
    yield Check(
        "nothing and nobody else is accused",
        not accused,
        f"{len(said)} findings" + (f"; wrong: {sorted(accused)}" if accused else ""),
    )


def proven_once(orders: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the last order that was sent is verified, and each before it failed with the relay read back as it was: one that was lost on
    the line moved nothing, and the next one is the first that acts. What the relay really did, the simulator's own record says."""
    sent = [order for order in orders if order["sent_at"]]
    if not sent or sent[-1]["state"] != "verified":
        return False
    after = sent[-1]["result"].get("relay", {}).get("open")
    return all(
        order["state"] == "failed" and order["result"].get("relay", {}).get("open") is (not after)
        for order in sent[:-1]
    )


def _relays(g: _Ground) -> Iterator[Check]:
    orders = g.conn.execute(
        "SELECT o.*, m.asset FROM orders o JOIN meter m USING (meter_id) WHERE kind = 'relay' ORDER BY order_id"
    ).fetchall()
    by: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for order in orders:
        by.setdefault((order["asset"], order["action"]), []).append(order)
    broke, late, safe = g.faults["broke"], g.faults["late"], g.faults["protected"]
    acts = [(act.meter, act.act) for act in g.acts]

    trips = by.get((broke, "trip"), [])
    proof = trips[-1]["result"].get("relay", {}) if trips else {}
    yield Check(
        "the broke customer was cut off, once, and the relay is proven open",
        proven_once(trips)
        and acts.count((broke, "trip")) == 1
        and bool(proof.get("open"))
        and proof.get("load_kw") == 0,
        f"meter {broke}: {trips[-1]['outcome'] if trips else 'no order'}",
    )
    refused = by.get((safe, "trip"), [])
    yield Check(
        "the protected customer was not, and the refusal is on record",
        bool(refused)
        and all(o["state"] == "refused" and o["sent_at"] is None for o in refused)
        and not any(m == safe for m, _ in acts),
        f"meter {safe}: {refused[-1]['outcome'] if refused else 'no record'}",
    )
    cut, given = by.get((late, "trip"), []), by.get((late, "permit"), [])
    yield Check(
        "the paying customer was cut off, permitted, pressed the key, and is proven closed",
        proven_once(cut)
        and proven_once(given)
        and [a for m, a in acts if m == late] == ["trip", "permit", "key"]
        and not given[-1]["result"]["relay"]["open"],
        f"meter {late}: {given[-1]['outcome'] if given else 'no permit'}",
    )
    others = sorted({m for m, _ in acts} - {broke, late})
    persons = all(
        o["approved_by"] and o["approved_by"] != o["requested_by"]
        for o in orders
        if o["action"] == "trip" and o["sent_at"]
    )
    yield Check(
        "no other relay moved; every trip had a second person",
        not others and persons,
        f"{len(acts)} acts of relays" + (f"; others: {others}" if others else ""),
    )


def _balances(g: _Ground) -> Iterator[Check]:
    e = g.expected
    paid: dict[str, int] = {}
    with (g.world.simulator / "archive" / "payments.csv").open(encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            whole, _, part = row["yuan"].partition(".")
            paid[row["customer"]] = int(whole) * 100 + int(part.ljust(2, "0") or 0)
    for customer, fen in g.world.payments:
        paid[customer] = paid.get(customer, 0) + fen
    wrong = []
    rows = g.conn.execute(
        "SELECT c.number, m.asset, coalesce(sum(e.amount_fen), 0)::bigint AS fen FROM account a JOIN customer c USING (customer_id) "
        "JOIN installation i USING (point_id) JOIN meter m USING (meter_id) "
        # on a slow machine the next day may be over too, and charged
        "LEFT JOIN ledger_entry e ON e.account_id = a.account_id AND (e.kind <> 'charge' OR e.period <= %s) "
        "WHERE a.prepaid GROUP BY 1, 2 ORDER BY 1",
        (DAY.isoformat(),),
    ).fetchall()
    for row in rows:
        charge = (
            e.charge(row["asset"], midnight(DAY, ZONE), midnight(NEXT, ZONE))
            if e.answers[e.meters.index(row["asset"])]
            else 0
        )
        if row["fen"] != paid.get(row["number"], 0) - charge:
            wrong.append(
                f"{row['number']}: {row['fen']} instead of {paid.get(row['number'], 0) - charge} fen"
            )
    yield Check(
        "every prepaid balance is right to the fen",
        not wrong and {row["asset"] for row in rows} == set(e.prepaid),
        f"{len(rows)} accounts" + (f"; wrong: {wrong[0]}" if wrong else ""),
    )


def _billing(g: _Ground) -> Iterator[Check]:
    folder = g.world.home / "export"
    path = folder / f"billing-{DAY}.manifest.json"
    if not path.exists():
        yield Check("the night's billing batch is there", False, f"no {path}")
        return
    manifest = json.loads(path.read_text())
    sealed = all(
        hashlib.sha256((folder / file["name"]).read_bytes()).hexdigest() == file["sha256"]
        for file in manifest["files"]
    )
    e = g.expected
    rows = g.conn.execute(
        "SELECT c.number, m.asset FROM account a JOIN customer c USING (customer_id) "
        "JOIN installation i USING (point_id) JOIN meter m USING (meter_id)"
    ).fetchall()
    asset_of = {row["number"]: row["asset"] for row in rows}
    names = {file["name"].split(".")[0]: file["name"] for file in manifest["files"]}
    with (folder / names[f"billing-{DAY}-accounts"]).open(encoding="utf-8") as handle:
        billed = {row["customer"]: _fen(row["amount_yuan"]) for row in csv.DictReader(handle)}
    with (folder / names[f"billing-{DAY}-lines"]).open(encoding="utf-8") as handle:
        lines: dict[str, int] = {}
        for row in csv.DictReader(handle):
            lines[row["customer"]] = lines.get(row["customer"], 0) + _fen(row["amount_yuan"])
    wrong = [
        number
        for number, fen in billed.items()
        if fen != e.charge(asset_of[number], midnight(DAY, ZONE), midnight(NEXT, ZONE))
        or lines[number] != fen
    ]
    alive = {number for number, asset in asset_of.items() if e.answers[e.meters.index(asset)]}
    kept = {
        row["number"]: row["amount_fen"]
        for row in g.conn.execute(
            "SELECT DISTINCT ON (account_id) c.number, amount_fen FROM bill JOIN account USING (account_id) JOIN customer c USING (customer_id) "
            "WHERE first_day = %s AND last_day = %s ORDER BY account_id, revision DESC",
            (DAY, DAY),
        )
    }
    yield Check(
        "every bill is right to the fen, its lines sum to it, and its file is sealed",
        not wrong
        and sealed
        and set(billed) == alive
        and kept == billed
        and _totals(folder, manifest)
        == (len(asset_of), len(billed), len(asset_of) - len(billed), sum(billed.values())),
        f"{len(billed)} bills, {manifest['total_amount_yuan']} yuan, {manifest['exceptions']} exceptions (dead meters)"
        + (f"; wrong: {wrong[:3]}" if wrong else ""),
    )


def _totals(folder: Path, manifest: dict[str, Any]) -> tuple[int, ...] | None:
    """The batch's control totals (accounts, billed, exceptions, fen); None where they contradict its own files."""
    rows = {}
    for file in manifest["files"]:
        with (folder / file["name"]).open(encoding="utf-8") as handle:
            found = list(csv.DictReader(handle))
        if (file["rows"], file["bytes"]) != (len(found), (folder / file["name"]).stat().st_size):
            return None
        rows[file["name"].split(".")[0]] = found
    accounts, exceptions, corrections = (
        rows[f"billing-{DAY}-{name}"] for name in ("accounts", "exceptions", "corrections")
    )
    fen = sum(_fen(row["amount_yuan"]) for row in accounts)
    energy = sum(Decimal(row["energy_kwh"]) for row in accounts)
    if (_fen(manifest["total_amount_yuan"]), Decimal(manifest["total_energy_kwh"])) != (fen, energy):
        return None
    if (manifest["first_day"], manifest["last_day"], manifest["zone"]) != (str(DAY), str(DAY), ZONE.key):
        return None
    refused = sum(row["billed"] == "no" for row in exceptions)
    changes = sum(_fen(row["difference_yuan"]) for row in corrections)
    told = {
        name: manifest[name]
        for name in ("without_bill", "corrections", "corrections_fen", "gates", "released")
    }
    if told != {
        "without_bill": refused, "corrections": len(corrections), "corrections_fen": changes,
        "gates": {"change_percent": None, "exceptions_percent": None}, "released": True,
    } or (manifest["billed"], manifest["exceptions"]) != (len(accounts), len(exceptions)):  # fmt: skip
        return None
    return manifest["accounts"], manifest["billed"], manifest["exceptions"], manifest["total_amount_fen"]


def _fen(yuan: str) -> int:
    whole, _, part = yuan.lstrip("-").partition(".")
    return (-1 if yuan.startswith("-") else 1) * (int(whole) * 100 + int(part.ljust(2, "0")))


def _rest(g: _Ground) -> Iterator[Check]:
    wrong: list[str] = []

    def same(what: str, said: Any, stored: Any) -> None:
        if said != stored:
            wrong.append(f"{what}: {said!r} instead of {stored!r}")

    prepaid = g.conn.execute(
        "SELECT c.number, m.asset, coalesce(sum(e.amount_fen), 0)::bigint AS fen FROM account a JOIN customer c USING (customer_id) "
        "JOIN installation i USING (point_id) JOIN meter m USING (meter_id) LEFT JOIN ledger_entry e USING (account_id) "
        "WHERE a.prepaid GROUP BY 1, 2"
    ).fetchall()
    for row in prepaid:
        said = g.crm.get(f"customers/{row['number']}/balance")
        same(f"balance of {row['number']}", [a["ledger"]["fen"] for a in said["accounts"]], [row["fen"]])
        relay = g.crm.get(f"customers/{row['number']}/relay")["accounts"][0]["relay"]
        open_ = {act.meter: act.open for act in g.acts if act.act != "refused"}.get(row["asset"])
        same(
            f"relay of {row['number']}", relay, "unknown" if open_ is None else "open" if open_ else "closed"
        )
    losses = {row["area"]: row for row in g.crm.get(f"losses?day={DAY}")["areas"]}
    for row in g.conn.execute(
        "SELECT a.code, l.status FROM loss_result l JOIN area a USING (area_id) WHERE day = %s", (DAY,)
    ).fetchall():
        same(f"loss of {row['code']}", losses.get(row["code"], {}).get("status"), row["status"])
    asset = next(a for k, a in enumerate(g.expected.meters) if g.expected.answers[k])
    why = g.crm.get(f"meters/{asset}/why/{DAY}")
    same(
        f"points of {asset}",
        why["plans"][0]["present"],
        int(g.expected.available[g.expected.meters.index(asset)][-96:].sum()),
    )
    yield Check(
        "the CRM gets the same facts over REST",
        not wrong,
        f"{2 * len(prepaid) + len(losses) + 1} facts" + (f"; {wrong[0]}" if wrong else ""),
    )
