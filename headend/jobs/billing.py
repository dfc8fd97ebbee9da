"""The nightly billing batch: determinants and lines of every account for a span of whole days.

The file set is a function of registers, archive and tariffs alone: run again over the same data it is the same byte for byte. It is made a
tile of accounts at a time; a run that broke off goes on at the first tile that is not finished, or for which other things are read now
(`billing_files.py`). Bills and files come about together when all tiles are there: bills by one commit, files by the manifest after it.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import psycopg
from numpy.typing import NDArray

from headend import __version__
from headend.jobs import determinants
from headend.jobs.billing_files import Desk, FileSet, Piece, text
from headend.jobs.determinants import ACTIVE, Grounds, Source
from headend.jobs.frame import Run
from headend.jobs.settle import KEPT
from headend.store import bills, blocks, tariffs
from headend.store.billed import TILE, Billed, stream
from headend.store.bills import Bill as Stored
from headend.store.blocks import Why
from headend.store.db import StoreError, own_transactions
from protocols.reading import MISSING
from tariffs import billing
from tariffs.charge import Problem
from tariffs.ledger import inputs_hashes
from tariffs.money import yuan_text
from tariffs.plan import Segment, Tariff

I64 = NDArray[np.int64]

_NAMES: Final = ("customer", "point", "meter", "tariff", "first_day", "last_day")
LINE_COLUMNS: Final = (
    *_NAMES, "kind", "item", "title_zh", "title_en", "from", "to", "quantity", "unit", "price_yuan", "amount_yuan",
)  # fmt: skip
DETERMINANT_COLUMNS: Final = (
    *_NAMES, "multiplier", "total_from", "t1_from", "t2_from", "t3_from", "t4_from", "total_to", "t1_to", "t2_to", "t3_to", "t4_to",
    "energy_kwh", "amount_yuan", "inputs_sha256",
)  # fmt: skip
EXCEPTION_COLUMNS: Final = ("customer", "point", "meter", "first_day", "last_day", "billed", "problem")
CORRECTION_COLUMNS: Final = (
    "customer", "point", "first_day", "last_day", "revision", "before_yuan", "amount_yuan", "difference_yuan", "inputs_sha256",
)  # fmt: skip
SHEETS: Final = {
    "lines": LINE_COLUMNS, "accounts": DETERMINANT_COLUMNS, "exceptions": EXCEPTION_COLUMNS, "corrections": CORRECTION_COLUMNS,
}  # fmt: skip
PROBLEMS: Final = {
    Problem.MISSING_FREEZE: "a day-freeze register is missing at one end",
    Problem.NEGATIVE: "a register went down, or the periods exceed the total",
    Problem.ESTIMATED: "one end is estimated",
    Problem.UNPRICED_PERIOD: "a register moved that the tariff does not price",
    Problem.MISSING_DETERMINANT: "what else the tariff needs is not known: the year's energy before, capacity, contract, demand, reactive energy",
    Problem.NOT_OFFERED: "the tariff has no price for the kind of basic charge that was chosen",
}
#: said instead of MISSING_FREEZE where it is known better
_BETTER: Final = {
    Why.EXCHANGED: "a meter came or went, and nobody read its register then",
    Why.FELL: PROBLEMS[Problem.NEGATIVE],
}


@dataclass(frozen=True, slots=True)
class Gates:
    """What the billing clerk lets pass, in per cent; None: everything.

    exceptions  accounts without a bill, of all: with more the batch is not released
    change      how far a bill may lie above or below the account's last one, by day, before a person looks: such a bill is an exception
    """

    exceptions: float | None = None
    change: float | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What a batch produced: files by name, the last of them the manifest that seals them; bills that are new or changed; tiles, and how many of
    them a run that broke off had finished."""

    folder: Path
    manifest: dict[str, Any]
    changed: int
    tiles: int
    kept: int

    @property
    def released(self) -> bool:
        return bool(self.manifest["released"])


@dataclass(slots=True)
class _Counts:
    accounts: int = 0
    billed: int = 0
    exceptions: int = 0
    refused: int = 0  # accounts without a bill
    energy: int = 0
    fen: int = 0

    def add(self, facts: dict[str, int]) -> None:
        for name in ("accounts", "billed", "exceptions", "energy", "fen"):
            setattr(self, name, getattr(self, name) + facts[name])
        self.refused += facts["accounts"] - facts["billed"]


def run_span(
    run: Run, first: dt.date, last: dt.date, folder: Path, gates: Gates | None = None, tile: int = TILE
) -> Batch:
    """Bill local days first..last (both included), keep the bills (a changed one as a further revision) and write the files, in a transaction of its
    own: the connection must not be in one. A batch that is not released leaves its files, and no bill. StoreError: another run bills this span, or
    the disk does not take the files."""
    stem = f"billing-{first}" if first == last else f"billing-{first}--{last}"
    desk = Desk(folder, stem)
    try:
        with (
            own_transactions(run.conn),
            bills.alone(run.conn, first, last),
            FileSet(desk, stem, SHEETS) as files,
        ):
            with run.conn.transaction() as whole:
                batch = _make(run, first, last, desk, files, gates or Gates(), tile)
                if not batch.released:
                    raise psycopg.Rollback(whole)
            files.publish()
            return batch
    except OSError as error:
        raise StoreError(
            f"{error.filename or folder} cannot be written: {error.strerror}; the files that were there stand. Make room, or name another folder, "
            f"and run {stem} again: {desk.kept()} tiles are finished and kept"
        ) from None


def _make(
    run: Run, first: dt.date, last: dt.date, desk: Desk, files: FileSet, gates: Gates, size: int
) -> Batch:
    """Everything but the last step: bills in the transaction, files sealed and not published."""
    plans, counts = tariffs.load(run.conn), _Counts()
    changed = tiles = kept = 0
    for number, who in enumerate(stream(run.conn, first, last, run.zone, size)):
        tile = _Tile(run, who, gates)
        tile.read(plans)
        inputs = tile.inputs()
        piece = desk.find(number, inputs)
        if piece is None:
            piece, made = tile.piece(), [tile.bills[row] for row in sorted(tile.bills)]
            desk.keep(number, inputs, piece)
        else:
            made = _bills(piece)
            kept += 1
        tiles += 1
        files.add(piece)
        counts.add(dict(piece.facts["counts"]))
        changed += bills.save(run.conn, made, now=run.now)
    bills.note_batch(run.conn, first, last, gates.change, now=run.now)
    changed += bills.take_back(run.conn, first, last, now=run.now)
    corrected = bills.corrections(run.conn, first, last)
    files.rows("corrections", [_correction(row) for row in corrected])
    manifest = files.seal(
        {
            "first_day": first.isoformat(),
            "last_day": last.isoformat(),
            "zone": str(run.zone),
            "accounts": counts.accounts,
            "billed": counts.billed,
            "without_bill": counts.refused,
            "exceptions": counts.exceptions,
            "gates": {"exceptions_percent": gates.exceptions, "change_percent": gates.change},
            "released": gates.exceptions is None
            or 100 * counts.refused <= gates.exceptions * counts.accounts,
            "corrections": len(corrected),
            "corrections_fen": sum(row["amount_fen"] - row["before_fen"] for row in corrected),
            "total_energy_kwh": _decimal(counts.energy),
            "total_amount_yuan": yuan_text(counts.fen),
            "total_amount_fen": counts.fen,
        }
    )
    return Batch(desk.folder, manifest, changed, tiles, kept)


def _bills(piece: Piece) -> list[Stored]:
    """The bills of a tile that was finished, from its rows."""
    lines: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in _csv(piece.sheets["lines"]):
        lines.setdefault(tuple(row[:6]), []).append(dict(zip(LINE_COLUMNS[6:], row[6:], strict=True)))
    made = []
    for account, row in zip(piece.facts["billed"], _csv(piece.sheets["accounts"]), strict=True):
        first, last = (dt.date.fromisoformat(day) for day in row[4:6])
        *_, yuan, digest = row
        fen = int(yuan.replace(".", ""))
        made.append(Stored(account, first, last, fen, lines.get(tuple(row[:6]), []), bytes.fromhex(digest)))
    return made


def _csv(body: bytes) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(body.decode(), newline=""))


def correct_cut_short(run: Run, day: dt.date, folder: Path) -> int:
    """Bill spans again in which somebody came or went and the archive learnt it after they were billed: how many.

    As far back as meters keep day freezes; what is older `headend billing correct --since` does."""
    spans = bills.cut_short(run.conn, day - KEPT)
    run.conn.commit()
    for first, last, change in spans:
        run_span(run, first, last, folder, Gates(change=change))
    return len(spans)


def _correction(row: dict[str, Any]) -> tuple[Any, ...]:
    fen, before = row["amount_fen"], row["before_fen"]
    return (
        row["customer"], row["point"], row["first_day"], row["last_day"], row["revision"], yuan_text(before), yuan_text(fen),
        yuan_text(fen - before), row["inputs_sha256"],
    )  # fmt: skip


def _groups(plans: dict[str, Tariff], who: Billed) -> Iterator[tuple[Tariff, tuple[Segment, ...], I64]]:
    """Accounts that share a plan and its segments."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    keys = zip(who.tariff.tolist(), who.first.tolist(), who.last.tolist(), strict=True)
    for row, (name, first, last) in enumerate(keys):
        if name not in plans or first < plans[name].versions[0].valid_from:
            continue  # `unpriced` says so
        cuts = determinants.cuts(who, row, plans[name])
        groups.setdefault((name, first, last, cuts), []).append(row)
    for (name, first, last, cuts), rows in sorted(groups.items()):
        tariff = plans[name]
        yield tariff, tariff.spans(first, last + dt.timedelta(days=1), cuts), np.array(rows, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class _Group:
    """Accounts that share a plan and its segments, and what was read for them."""

    tariff: Tariff
    segments: tuple[Segment, ...]
    rows: I64
    grounds: Grounds


@dataclass(slots=True)
class _Tile:
    """A tile of accounts: first what is read for it, then what becomes of that, rows of the three files by account."""

    run: Run
    who: Billed
    gates: Gates
    groups: list[_Group] = field(default_factory=list)
    assets: dict[int, str] = field(default_factory=dict)
    #: (fen, days) of each account's last bill, where a gate asks for it
    before: dict[int, tuple[int, int]] = field(default_factory=dict)
    lines: dict[int, list[tuple[Any, ...]]] = field(default_factory=dict)
    accounts: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    exceptions: dict[int, list[tuple[Any, ...]]] = field(default_factory=dict)
    bills: dict[int, Stored] = field(default_factory=dict)
    energy: int = 0

    def read(self, plans: dict[str, Tariff]) -> None:
        """All that the tile rests on."""
        self._unpriced(plans)
        for tariff, segments, rows in _groups(plans, self.who):
            days = [*(segment.begin for segment in segments), segments[-1].end]
            grounds = Source(self.run, self.who, rows, tariff, days).of(segments)
            self.groups.append(_Group(tariff, segments, rows, grounds))
            wanted = np.setdiff1d(grounds.meter[grounds.meter > 0], np.fromiter(self.assets, dtype=np.int64))
            if len(wanted):
                self.assets.update(zip(wanted.tolist(), blocks.assets(self.run.conn, wanted), strict=True))
            if self.gates.change is not None:
                first = self.who.first[rows[0]].item()
                self.before |= bills.before(self.run.conn, self.who.account_id[rows], first)

    def inputs(self) -> str:
        """The hash of all that was read, and of who reads it."""
        digest = hashlib.sha256(f"{__version__} {self.gates.change}".encode())
        who = self.who
        for value in (who.account_id, who.customer, who.point, who.tariff, who.first, who.last):
            _absorb(digest, value)
        for group in self.groups:
            grounds = group.grounds
            _absorb(digest, (group.tariff.name, group.tariff.rounding, group.segments))
            given = [getattr(grounds.given, column.name) for column in fields(grounds.given)]
            for value in (
                group.rows,
                *given,
                grounds.why,
                grounds.meter,
                grounds.registers,
                grounds.multiplier,
            ):
                _absorb(digest, value)
        _absorb(digest, who.siblings)  # whose point a line of another account's contract names
        _absorb(digest, sorted(self.assets.items()))
        _absorb(digest, sorted(self.before.items()))
        _absorb(digest, self.exceptions)
        return digest.hexdigest()

    def piece(self) -> Piece:
        """What becomes of it, in the accounts' order."""
        for group in self.groups:
            self._bill(group)
        order = range(len(self.who))
        rows = {
            "lines": [line for row in order for line in self.lines.get(row, ())],
            "accounts": [self.accounts[row] for row in order if row in self.accounts],
            "exceptions": [line for row in order for line in self.exceptions.get(row, ())],
        }
        made = [self.bills[row] for row in order if row in self.bills]
        counts = {
            "accounts": len(self.who), "billed": len(made), "exceptions": len(rows["exceptions"]), "energy": self.energy,
            "fen": sum(bill.amount_fen for bill in made),
        }  # fmt: skip
        return Piece(
            {name: text(found) for name, found in rows.items()},
            {name: len(found) for name, found in rows.items()},
            {"counts": counts, "billed": [bill.account_id for bill in made]},
        )

    def _unpriced(self, plans: dict[str, Tariff]) -> None:
        """Accounts whose plan has no price on their first day: one of them must not stop the others."""
        who = self.who
        for row, (name, first) in enumerate(zip(who.tariff.tolist(), who.first.tolist(), strict=True)):
            if name not in plans or first < plans[name].versions[0].valid_from:
                names = (who.customer[row], who.point[row], "", str(who.first[row]), str(who.last[row]))
                self.exceptions[row] = [(*names, "no", f"the tariff {name} has no price on {first}")]

    def _bill(self, group: _Group) -> None:
        """Bill accounts of one plan and one span."""
        tariff, segments, rows, grounds = group.tariff, group.segments, group.rows, group.grounds
        result = billing.bill(tariff, segments, grounds.given)
        names = self._names(tariff, rows, grounds)
        hashes = inputs_hashes(*determinants.inputs(tariff, segments, grounds))
        held = self._unusual(rows, result)
        for k in np.flatnonzero((result.problem != 0) | held).tolist():
            self._exception(int(rows[k]), names[k], result, k, int(grounds.why[k]), bool(held[k]))
        good = result.computed & ~held
        self._lines(rows, names, segments, result, good)
        self._bills(rows, names, grounds, result, good, hashes)

    def _names(self, tariff: Tariff, rows: I64, grounds: Grounds) -> list[tuple[str, ...]]:
        who = self.who
        first, last = (str(column[rows[0]]) for column in (who.first, who.last))
        return [
            (who.customer[row], who.point[row], self._meters(*pair), tariff.name, first, last)
            for row, pair in zip(rows.tolist(), grounds.meter.tolist(), strict=True)
        ]

    def _meters(self, begin: int, end: int) -> str:
        """The meter; two where one came for the other."""
        return " ".join(dict.fromkeys(self.assets[meter] for meter in (begin, end) if meter))

    def _exception(
        self, row: int, names: tuple[str, ...], result: billing.Bill, k: int, why: int, held: bool
    ) -> None:
        problems = [text for flag, text in PROBLEMS.items() if int(result.problem[k]) & flag]
        better = _BETTER.get(Why(why), PROBLEMS[Problem.MISSING_FREEZE])
        problems = [better if text == PROBLEMS[Problem.MISSING_FREEZE] else text for text in problems]
        if held:
            problems.append(
                f"{yuan_text(int(result.total_fen[k]))} yuan lie more than {self.gates.change:g} % off the last bill, by day: somebody must look"
            )
        billed = "no" if held or not result.computed[k] else "yes"
        self.exceptions[row] = [(*names[:3], *names[4:], billed, problem) for problem in problems]

    def _unusual(self, rows: I64, result: billing.Bill) -> NDArray[np.bool_]:
        """bool[account]: further from the account's last bill than the clerk lets pass."""
        held = np.zeros(len(rows), dtype=np.bool_)
        if self.gates.change is None:
            return held
        first, last = (column[rows[0]].item() for column in (self.who.first, self.who.last))
        days = (last - first).days + 1
        for k in np.flatnonzero(result.computed).tolist():
            found = self.before.get(int(self.who.account_id[rows[k]]))
            if found is not None:
                fen, length = found
                # |new/days - old/length| > share * |old/length|, in whole numbers but for the clerk's own per cent
                off = abs(int(result.total_fen[k]) * length - fen * days)
                held[k] = 100 * off > self.gates.change * abs(fen) * days
        return held

    def _lines(
        self,
        rows: I64,
        names: list[tuple[str, ...]],
        segments: Sequence[Segment],
        result: billing.Bill,
        good: NDArray[np.bool_],
    ) -> None:
        items = [
            (
                item.kind, item.name, item.title_zh, item.title_en, segments[item.segment].begin.isoformat(),
                (segments[item.segment].end - dt.timedelta(days=1)).isoformat(), item.unit,
            )
            for item in result.items
        ]  # fmt: skip
        flat = billing.flat_lines(result, np.arange(len(rows)))
        mine = good[flat.account]
        columns = (
            flat.account[mine].tolist(), flat.item[mine].tolist(), decimals(flat.quantity[mine]), decimals(flat.price[mine]),
            yuans(flat.amount_fen[mine]),
        )  # fmt: skip
        lines, at = self.lines, rows.tolist()
        # a part of a month, a mean power factor: quantity times price alone would not explain the amount
        told = [item.days is not None or item.kind == billing.POWER_FACTOR for item in result.items]
        for k, item, quantity, price, yuan in zip(*columns, strict=True):
            *words, unit = items[item]
            elsewhere = bool(result.elsewhere[k, item])
            if told[item] or elsewhere:
                begin = segments[result.items[item].segment].begin
                bearer = determinants.bearer(self.who, at[k], begin) if elsewhere else ""
                words[2:4] = reversed(billing.words(result, k, item, bearer))
            lines.setdefault(at[k], []).append((*names[k], *words, quantity, unit, price, yuan))

    def _bills(
        self,
        rows: I64,
        names: list[tuple[str, ...]],
        grounds: Grounds,
        result: billing.Bill,
        good: NDArray[np.bool_],
        hashes: list[str],
    ) -> None:
        which = np.flatnonzero(good)
        self.energy += int(result.energy[which].sum())
        registers = [
            decimals(column) for column in grounds.registers[which].reshape(len(which), 2 * len(ACTIVE)).T
        ]
        columns = zip(
            which.tolist(), *registers, decimals(result.energy[which]), yuans(result.total_fen[which]), result.total_fen[which].tolist(),
            grounds.multiplier[which].tolist(), strict=True,
        )  # fmt: skip
        first, last = (column[rows[0]].item() for column in (self.who.first, self.who.last))
        for k, *values in columns:
            *told, energy, yuan, fen, multiplier = values
            row = int(rows[k])
            self.accounts[row] = (*names[k], multiplier, *told, energy, yuan, hashes[k])
            kept = [dict(zip(LINE_COLUMNS[6:], line[6:], strict=True)) for line in self.lines.get(row, ())]
            self.bills[row] = Stored(
                int(self.who.account_id[row]), first, last, fen, kept, bytes.fromhex(hashes[k])
            )


def _absorb(digest: Any, value: Any) -> None:
    """Into a hash: an array with its type and shape, anything else as Python writes it."""
    if isinstance(value, np.ndarray):
        digest.update(f"{value.dtype.str}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    else:
        digest.update(repr(value).encode())


def decimals(units: I64) -> list[str]:
    """[1e-4] -> '1234.5678', '' for MISSING; exact."""
    size = np.abs(np.where(units == MISSING, 0, units))
    texts = [
        f"{whole}.{part:04d}"
        for whole, part in zip((size // 10_000).tolist(), (size % 10_000).tolist(), strict=True)
    ]
    return _signed(units, texts)


def yuans(fen: I64) -> list[str]:
    """[fen] -> '123.45', '' for MISSING; exact."""
    size = np.abs(np.where(fen == MISSING, 0, fen))
    pairs = zip((size // 100).tolist(), (size % 100).tolist(), strict=True)
    texts = [f"{whole}.{part:02d}" for whole, part in pairs]
    return _signed(fen, texts)


def _signed(values: I64, texts: list[str]) -> list[str]:
    for k in np.flatnonzero(values < 0).tolist():
        texts[k] = "" if values[k] == MISSING else f"-{texts[k]}"
    return texts


def _decimal(units: int) -> str:
    sign = "-" if units < 0 else ""
    return f"{sign}{abs(units) // 10_000}.{abs(units) % 10_000:04d}"
