"""The nightly billing batch: determinants and lines of every account for a span of whole days, from day-freeze registers.

The file set is a function of registers, archive and tariffs alone: run again over the same data it is the same byte for byte.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from headend.jobs.frame import Run
from headend.store import accounts, bills
from headend.store.accounts import Accounts
from headend.store.bills import Bill as Stored
from protocols.localtime import midnight
from protocols.reading import MISSING
from tariffs import billing, plan
from tariffs.charge import Problem
from tariffs.determinants import of_registers
from tariffs.ledger import inputs_hashes
from tariffs.money import text_of, yuan_text

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
    Problem.MISSING_DETERMINANT: "something else that the tariff needs is not known",
    Problem.NOT_OFFERED: "the tariff has no price for the chosen basic charge",
}
#: what registers alone tell; plans that need more (energy before, demand, reactive energy …) are exceptions
BROUGHT = frozenset({"days"})


@dataclass(frozen=True, slots=True)
class Batch:
    """What a batch produced: files by name, and the manifest that seals them."""

    files: dict[str, bytes]
    manifest: dict[str, Any]
    bills: list[Stored]


@dataclass(frozen=True, slots=True)
class _Sheet:
    """The rows of the three files as they come together, and the bills to keep."""

    run: Run
    who: Accounts
    first: dt.date
    last: dt.date
    lines: list[list[str]] = field(default_factory=list)
    determinants: list[list[str]] = field(default_factory=list)
    exceptions: list[list[str]] = field(default_factory=list)
    bills: list[Stored] = field(default_factory=list)
    energies: list[int] = field(default_factory=list)

    def names(self, row: int, *more: str) -> list[str]:
        """What every row begins with."""
        who = self.who
        return [
            who.customer[row],
            who.point[row],
            who.asset[row],
            *more,
            self.first.isoformat(),
            self.last.isoformat(),
        ]

    def bill(self, tariff: plan.Tariff, members: list[int]) -> None:
        """Bill the accounts of one tariff."""
        whole = [row for row in members if self.who.start[row] <= self.first]
        self.exceptions.extend(
            [*self.names(row), "the account does not cover the whole span"]
            for row in members
            if self.who.start[row] > self.first
        )
        if lacks := ", ".join(sorted(tariff.needs - BROUGHT)):
            self.exceptions.extend(
                [*self.names(row), f"{tariff.name} needs what this batch does not bring: {lacks}"]
                for row in whole
            )
            return
        if not whole:
            return
        rows = np.array(whole, dtype=np.int64)
        segments = tariff.spans(self.first, self.last + dt.timedelta(days=1))
        versions = [version for _, _, version in segments]
        days = [begin for begin, _, _ in segments] + [segments[-1][1]]
        edges = np.array([midnight(day, self.run.zone) for day in days])
        frozen = accounts.freezes(self.run.conn, self.who.meter_id[rows], edges)
        ends = np.stack([frozen[:, :-1], frozen[:, 1:]], axis=2)
        multiplier = np.repeat(self.who.multiplier[rows][:, None], len(segments), axis=1)
        computed = billing.bill(tariff, segments, of_registers(ends, multiplier, segments))
        hashes = inputs_hashes(
            {
                "tariff": tariff.name,
                "versions": [v.facts() for v in versions],
                "first": self.first,
                "last": self.last,
            },
            {"registers": ends, "multiplier": multiplier},
        )
        lines = self._lines(tariff, computed.items, billing.flat_lines(computed, rows))
        for k, row in enumerate(whole):  # a row of output each: results, not readings
            self.exceptions.extend(
                [*self.names(row), text] for flag, text in PROBLEMS.items() if computed.problem[k] & flag
            )
            if computed.computed[k]:
                self._account(tariff, row, ends[k], computed, k, hashes[k], lines.get(row, []))

    def _lines(
        self, tariff: plan.Tariff, items: Sequence[billing.Item], flat: billing.Lines
    ) -> dict[int, list[list[str]]]:
        of_account: dict[int, list[list[str]]] = {}
        columns = (flat.account, flat.item, flat.quantity, flat.price, flat.amount_fen)
        for row, item, quantity, price, fen in zip(*(column.tolist() for column in columns), strict=True):
            of_account.setdefault(row, []).append(
                [
                    *self.names(row, tariff.name),
                    items[item].name,
                    text_of(quantity),
                    text_of(price),
                    yuan_text(fen),
                ]
            )
        return of_account

    def _account(
        self,
        tariff: plan.Tariff,
        row: int,
        ends: Any,
        computed: billing.Bill,
        k: int,
        digest: str,
        lines: list[list[str]],
    ) -> None:
        fen, energy = int(computed.total_fen[k]), int(computed.energy[k])
        registers = [*ends[0, 0].tolist(), *ends[-1, 1].tolist()]
        self.lines.extend(lines)
        self.determinants.append(
            [
                *self.names(row, tariff.name),
                str(int(self.who.multiplier[row])),
                *("" if value == MISSING else text_of(value) for value in registers),
                text_of(energy),
                yuan_text(fen),
                digest,
            ]
        )
        self.energies.append(energy)
        kept = [dict(zip(LINE_COLUMNS[6:], line[6:], strict=True)) for line in lines]
        self.bills.append(
            Stored(int(self.who.account_id[row]), self.first, self.last, fen, kept, bytes.fromhex(digest))
        )


def compute(run: Run, first: dt.date, last: dt.date) -> Batch:
    """The batch for local days first..last (both included). Nothing is written."""
    sheet = _Sheet(run, accounts.load(run.conn, now=run.now, zone=run.zone), first, last)
    tariffs = plan.shipped()
    for name in np.unique(sheet.who.tariff).tolist():
        sheet.bill(tariffs[name], np.flatnonzero(sheet.who.tariff == name).tolist())
    stem = f"billing-{first}" if first == last else f"billing-{first}--{last}"
    files = {
        f"{stem}-lines.csv": _csv(LINE_COLUMNS, sorted(sheet.lines)),
        f"{stem}-accounts.csv": _csv(DETERMINANT_COLUMNS, sorted(sheet.determinants)),
        f"{stem}-exceptions.csv": _csv(EXCEPTION_COLUMNS, sorted(sheet.exceptions)),
    }
    total_fen = sum(bill.amount_fen for bill in sheet.bills)
    manifest = {
        "first_day": first.isoformat(),
        "last_day": last.isoformat(),
        "zone": str(run.zone),
        "accounts": len(sheet.who),
        "billed": len(sheet.bills),
        "exceptions": len(sheet.exceptions),
        "total_energy_kwh": text_of(sum(sheet.energies)),
        "total_amount_yuan": yuan_text(total_fen),
        "total_amount_fen": total_fen,
        "files": [
            {
                "name": name,
                "rows": body.count(b"\n") - 1,
                "bytes": len(body),
                "sha256": hashlib.sha256(body).hexdigest(),
            }
            for name, body in files.items()
        ],
    }
    files[f"{stem}.manifest.json"] = (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()
    return Batch(files, manifest, sheet.bills)


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


def _csv(columns: tuple[str, ...], rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()
