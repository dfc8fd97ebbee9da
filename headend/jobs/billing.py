"""The nightly billing batch: determinants and lines of every account for a span of whole days, from day-freeze registers.

The file set is a function of registers, archive and tariffs alone: run again over the same data it is the same byte for byte.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headend.jobs.frame import Run
from headend.store import accounts, bills
from headend.store.accounts import Accounts
from headend.store.bills import Bill as Stored
from protocols.localtime import midnight
from tariffs import billing, plan
from tariffs.charge import Problem
from tariffs.ledger import inputs_hashes
from tariffs.money import yuan_text
from tariffs.plan import PERIODS

LINE_COLUMNS = (
    "customer", "point", "meter", "tariff", "first_day", "last_day", "period", "energy_kwh", "price_yuan_per_kwh", "amount_yuan",
)  # fmt: skip
DETERMINANT_COLUMNS = (
    "customer", "point", "meter", "tariff", "first_day", "last_day", "multiplier",
    "total_from", "t1_from", "t2_from", "t3_from", "t4_from", "total_to", "t1_to", "t2_to", "t3_to", "t4_to",
    "energy_kwh", "amount_yuan", "inputs_sha256",
)  # fmt: skip
EXCEPTION_COLUMNS = ("customer", "point", "meter", "first_day", "last_day", "problem")
PROBLEMS = {
    Problem.MISSING_FREEZE: "a day-freeze register is missing at one end",
    Problem.NEGATIVE: "a register went down, or the periods exceed the total",
    Problem.ESTIMATED: "one end is estimated",
    Problem.UNPRICED_PERIOD: "a register moved that the tariff does not price",
}


@dataclass(frozen=True, slots=True)
class Batch:
    """What a batch produced: files by name, and the manifest that seals them."""

    files: dict[str, bytes]
    manifest: dict[str, Any]
    bills: list[Stored]


def compute(run: Run, first: dt.date, last: dt.date) -> Batch:
    """The batch for local days first..last (both included). Nothing is written."""
    who = accounts.load(run.conn, now=run.now, zone=run.zone)
    lines: list[list[str]] = []
    determinants: list[list[str]] = []
    exceptions: list[list[str]] = []
    stored: list[Stored] = []
    total_fen = 0
    total_energy = 0
    tariffs = plan.shipped()
    for name in np.unique(who.tariff) if len(who) else []:
        rows = np.array(
            [k for k in np.flatnonzero(who.tariff == name) if who.start[k] <= first], dtype=np.int64
        )
        for k in np.flatnonzero(who.tariff == name):
            if who.start[k] > first:
                exceptions.append(
                    [
                        *_who(who, int(k), first, last, tariff=None),
                        "the account does not cover the whole span",
                    ]
                )
        if not len(rows):
            continue
        segments = tariffs[str(name)].spans(first, last + dt.timedelta(days=1))
        edges = np.array(
            [midnight(a, run.zone) for a, _, _ in segments] + [midnight(segments[-1][1], run.zone)]
        )
        frozen = accounts.freezes(run.conn, who.meter_id[rows], edges)
        ends = np.stack([frozen[:, :-1], frozen[:, 1:]], axis=2)
        multiplier = np.repeat(who.multiplier[rows][:, None], len(segments), axis=1)
        bill = billing.bill(ends, multiplier, [version for _, _, version in segments])
        hashes = inputs_hashes(
            {
                "tariff": str(name),
                "versions": [v.facts() for _, _, v in segments],
                "first": first,
                "last": last,
            },
            {"registers": ends, "multiplier": multiplier},
        )
        flat = billing.flat_lines(bill, rows)
        of_account: dict[int, list[list[str]]] = {}
        for account, period, energy, price, fen in zip(
            flat.account.tolist(),
            flat.period.tolist(),
            flat.energy.tolist(),
            flat.price.tolist(),
            flat.amount_fen.tolist(),
            strict=True,
        ):
            of_account.setdefault(account, []).append(
                [
                    *_who(who, account, first, last, tariff=str(name)),
                    PERIODS[period],
                    _kwh(energy),
                    _price(price),
                    yuan_text(fen),
                ]
            )
        for j, row in enumerate(rows.tolist()):
            for flag, text in PROBLEMS.items():
                if bill.problem[j] & flag:
                    exceptions.append([*_who(who, row, first, last, tariff=None), text])
            if not bill.computed[j]:
                continue
            lines += of_account.get(row, [])
            determinants.append(
                [
                    *_who(who, row, first, last, tariff=str(name)),
                    str(int(who.multiplier[row])),
                    *(_kwh(v) for v in ends[j, 0, 0].tolist()),
                    *(_kwh(v) for v in ends[j, -1, 1].tolist()),
                    _kwh(int(bill.total_energy[j])),
                    yuan_text(int(bill.total_fen[j])),
                    hashes[j],
                ]
            )
            total_fen += int(bill.total_fen[j])
            total_energy += int(bill.total_energy[j])
            stored.append(
                Stored(
                    int(who.account_id[row]), first, last, int(bill.total_fen[j]),
                    [dict(zip(LINE_COLUMNS[6:], line[6:], strict=True)) for line in of_account.get(row, [])],
                    bytes.fromhex(hashes[j]),
                )
            )  # fmt: skip
    stem = f"billing-{first}" if first == last else f"billing-{first}--{last}"
    files = {
        f"{stem}-lines.csv": _csv(LINE_COLUMNS, sorted(lines)),
        f"{stem}-accounts.csv": _csv(DETERMINANT_COLUMNS, sorted(determinants)),
        f"{stem}-exceptions.csv": _csv(EXCEPTION_COLUMNS, sorted(exceptions)),
    }
    manifest = {
        "first_day": first.isoformat(),
        "last_day": last.isoformat(),
        "zone": str(run.zone),
        "accounts": len(who),
        "billed": len(stored),
        "exceptions": len(exceptions),
        "total_energy_kwh": _kwh(total_energy),
        "total_amount_yuan": yuan_text(total_fen),
        "total_amount_fen": total_fen,
        "files": [
            {
                "name": n,
                "rows": body.count(b"\n") - 1,
                "bytes": len(body),
                "sha256": hashlib.sha256(body).hexdigest(),
            }
            for n, body in files.items()
        ],
    }
    files[f"{stem}.manifest.json"] = (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()
    return Batch(files, manifest, stored)


def write(batch: Batch, folder: Path) -> list[Path]:
    """Write the file set; the manifest comes last, so that a set with a manifest is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, body in batch.files.items():
        path = folder / name
        partial = path.with_name(path.name + ".part")
        partial.write_bytes(body)
        partial.replace(path)
        paths.append(path)
    return paths


def run_span(run: Run, first: dt.date, last: dt.date, folder: Path) -> tuple[Batch, int]:
    """Compute, keep the bills (a changed one as a further revision) and write the files. Returns (batch, bills new or changed)."""
    batch = compute(run, first, last)
    changed = bills.save(run.conn, batch.bills, now=run.now)
    write(batch, folder)
    return batch, changed


def _who(who: Accounts, row: int, first: dt.date, last: dt.date, *, tariff: str | None) -> list[str]:
    names = [who.customer[row], who.point[row], who.asset[row]]
    return [*names, *([tariff] if tariff is not None else []), first.isoformat(), last.isoformat()]


def _kwh(units: int) -> str:
    """1e-4 kWh, exactly."""
    sign = "-" if units < 0 else ""
    return f"{sign}{abs(units) // 10_000}.{abs(units) % 10_000:04d}"


def _price(units: int) -> str:
    return f"{units // 10_000}.{units % 10_000:04d}"


def _csv(columns: tuple[str, ...], rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()
