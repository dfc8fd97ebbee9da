"""A night's bills: a million accounts on time-of-use and yearly steps, from day freezes in the store to files and bills, beside a plain loop.

The loop is what anybody would write first: an account after the other, in Decimal, from the same registers. It has the energies given, knows of no
exchange, estimate or hole, and writes nothing: it only computes, on a sample.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import psycopg
from servers import describe, fresh, server

from headend.jobs import billing
from headend.jobs.frame import Run
from headend.store.db import connect
from headend.store.reads import ensure_partitions
from protocols.localtime import as_datetime, midnight

CHINA: Final = ZoneInfo("Asia/Shanghai")
#: a day of March, and the midnights whose registers it needs: the year's first, and its own two
DAY: Final = dt.date(2026, 3, 10)
MIDNIGHTS: Final = (dt.date(2026, 1, 1), DAY, DAY + dt.timedelta(days=1))
TARIFF: Final = "zhejiang-residential-steps"
SAMPLE: Final = 20_000
#: what is told apart, by what does it
STAGES: Final = {
    "accounts, terms, tariffs": "stream", "registers and determinants": "Source", "bills": "bill", "hashes of the inputs": "inputs_hashes",
    "lines and rows": "_Tile.piece", "tiles kept": "Desk.keep", "files": "FileSet.add", "bills kept": "save",
}  # fmt: skip


def run(kinds: Sequence[str], accounts: int) -> list[str]:
    """What was seen, line by line."""
    lines: list[str] = []
    for kind in kinds:
        with server(kind, {"max_wal_size": "8GB"}) as dsn:
            if dsn is None:
                continue
            with fresh(dsn, kind) as database, tempfile.TemporaryDirectory(prefix="headend-bench-") as folder:
                begin = time.perf_counter()
                _prepare(database, accounts)
                lines.append(
                    f"{describe(database)}: {accounts:,} accounts made in {time.perf_counter() - begin:.0f} s"
                )
                lines += _bill(database, accounts, Path(folder))
    return lines


def _prepare(dsn: str, accounts: int) -> None:
    """Accounts and meters by SQL; the registers too: how they get in is another bench's."""
    since = "timestamptz '2025-06-01 00:00+08'"
    with connect(dsn) as conn:
        stamps = [as_datetime(midnight(day, CHINA)) for day in MIDNIGHTS]
        ensure_partitions(conn, "register_read", np.array([midnight(day, CHINA) for day in MIDNIGHTS]))
        conn.commit()
    with psycopg.connect(dsn, autocommit=True, options="-c timezone=UTC") as conn:
        conn.execute(
            "INSERT INTO terminal (code, name, protocol, link, endpoint) VALUES ('T', 'T', 'dlt645', 'dial-out', 'T:1')"
        )
        for statement in (
            "INSERT INTO meter (asset, phases, accuracy) SELECT 'M' || lpad(n::text, 9, '0'), 1, 0.01 FROM generate_series(1, %(n)s) n",
            "INSERT INTO point (code) SELECT 'P' || lpad(n::text, 9, '0') FROM generate_series(1, %(n)s) n",
            f"INSERT INTO installation (meter_id, point_id, terminal_id, address, ct, pt, valid_from) SELECT n, n, 1, 'A' || n, 1, 1, {since} "
            "FROM generate_series(1, %(n)s) n",
            "INSERT INTO customer (number, name) SELECT '33' || lpad(n::text, 8, '0'), '客户' || n FROM generate_series(1, %(n)s) n",
            f"INSERT INTO account (customer_id, point_id, tariff, prepaid, valid_from) SELECT n, n, '{TARIFF}', false, {since} "
            "FROM generate_series(1, %(n)s) n",
        ):
            conn.execute(statement, {"n": accounts})
        for k, when in enumerate(stamps):
            # some have crossed a step in the year so far, some cross one on the day itself
            total = f"(10000::bigint * (1000 + n %% 977) + (n %% 4999) * {('0', '11000', '11000 + (n * 7) %% 300000')[k]})"
            conn.execute(
                f"INSERT INTO register_read (meter_id, ts, kind, active_import, active_import_t2, active_import_t4) "
                f"SELECT n, %(ts)s, 2, {total}, {total} * 2 / 3, {total} - {total} * 2 / 3 FROM generate_series(1, %(n)s) n",
                {"n": accounts, "ts": when},
            )
        conn.execute("VACUUM ANALYZE register_read, meter, point, installation, customer, account")


def _bill(dsn: str, accounts: int, folder: Path) -> list[str]:
    lines = []
    with connect(dsn) as conn:
        now = midnight(DAY + dt.timedelta(days=2), CHINA)
        for turn in ("first run", "run again"):
            with _timed() as spent:
                begin = time.perf_counter()
                batch = billing.run_span(Run(conn, CHINA, now), DAY, DAY, folder)
                seconds = time.perf_counter() - begin
            size = sum(path.stat().st_size for path in folder.iterdir())
            told = batch.manifest
            lines.append(
                f"  {turn}: {seconds:.0f} s, {accounts / seconds:,.0f} accounts a second; {told['billed']:,} billed, "
                f"{told['files'][0]['rows']:,} lines, {told['exceptions']} exceptions, {told['total_amount_yuan']} yuan, "
                f"{batch.changed:,} bills new or changed, {size / 2**20:.0f} MiB of files"
            )
            lines += [f"    {name:<28} {spent[key]:6.1f} s" for name, key in STAGES.items()]
        lines.append(
            f"  this process took {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB at most"
        )
    lines.append(_loop(folder, accounts))
    return lines


@contextmanager
def _timed() -> Iterator[Counter[str]]:
    """Seconds of each stage without those within it."""
    spent: Counter[str] = Counter()
    inner: list[float] = []

    def timed(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            begin = time.perf_counter()
            inner.append(0.0)
            try:
                return real(*args, **more)
            finally:
                took = time.perf_counter() - begin
                spent[name] += took - inner.pop()  # type: ignore[assignment]
                if inner:
                    inner[-1] += took

        return call

    def streamed(*args: Any, **more: Any) -> Iterator[Any]:
        tiles = iter(real_stream(*args, **more))
        while (tile := timed("stream", lambda: next(tiles, None))()) is not None:
            yield tile

    real_stream = billing.stream
    places = [
        (billing, "Source", "Source"), (billing.Source, "of", "Source"), (billing.billing, "bill", "bill"),
        (billing, "inputs_hashes", "inputs_hashes"),
        (billing._Tile, "piece", "_Tile.piece"), (billing.Desk, "keep", "Desk.keep"), (billing.FileSet, "add", "FileSet.add"),
        (billing.bills, "save", "save"),
    ]  # fmt: skip
    kept = [(where, name, getattr(where, name)) for where, name, _ in places]
    billing.stream = streamed
    # a class stands where a function of the same name would: its methods first
    for where, name, key in reversed(places):
        setattr(where, name, timed(key, getattr(where, name)))
    try:
        yield spent
    finally:
        billing.stream = real_stream
        for where, name, real in kept:
            setattr(where, name, real)


def _loop(folder: Path, accounts: int) -> str:
    """The same money by a loop over the determinants file, on a sample."""
    name = next(path for path in folder.iterdir() if "-accounts." in path.name)
    with name.open(encoding="utf-8") as body:
        rows = list(
            csv.DictReader(
                io.StringIO("".join(line for _, line in zip(range(SAMPLE + 1), body, strict=False)))
            )
        )
    given = [
        (
            Decimal(r["total_to"]) - Decimal(r["total_from"]), Decimal(r["t4_to"]) - Decimal(r["t4_from"]),
            # what the year had brought until then, by the way the registers were made
            Decimal((int(r["meter"][1:]) % 4999) * 11_000) / 10_000, Decimal(r["amount_yuan"]),
        )
        for r in rows
    ]  # fmt: skip
    begin = time.perf_counter()
    wrong = 0
    for total, valley, before, amount in given:
        money = (total - valley) * Decimal("0.5680") + valley * Decimal("0.2880")
        for low, high, adder in ((2760, 4800, "0.05"), (4800, 10**9, "0.30")):
            inside = min(max(before + total, low), high) - min(max(before, low), high)
            money += inside * Decimal(adder)
        wrong += money.quantize(Decimal("0.01"), ROUND_HALF_UP) != amount
    seconds = time.perf_counter() - begin
    return (
        f"  a plain loop in Decimal over {len(given):,} of them: {len(given) / seconds:,.0f} accounts a second for the arithmetic alone, "
        f"{accounts / len(given) * seconds:.0f} s for all; {wrong} bills differ from ours"
    )
