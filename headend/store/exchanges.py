"""The bytes behind the readings: what was said on the wire, kept whole, and named by its hash.

An exchange is everything one task sent and received, in order. Its canonical text is what is hashed:

    headend exchange 1
    terminal 12
    meter 345 000000000345
    protocol dlt645
    task curve
    began 2026-03-11T02:00:00.000000Z
    taken 2026-03-11T02:00:04.100000Z
    asked 2026-03-10T16:15:00.000000Z/900s/96
    known {"layouts":…}
    = 000100…
    > 0.000 6845030000000068110433333433…
    < 0.213 684503000000006891…

`asked` lists runs of instants: first/step/count. `known` is what the driver knew of the meter beforehand and did not ask again. `=` are answers
to the opening of the session; what was sent then is left out, for it may carry a password. The first eight bytes of the text's SHA-256
stand as `evidence` beside every reading that came of it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np

from headend.store.db import Connection, StoreError
from headend.store.reads import ensure_partitions
from protocols.localtime import Times, as_datetime

TITLE: Final = "headend exchange 1"
#: zlib's fastest: half the time of its usual level for a tenth more bytes (measured on load records)
LEVEL: Final = 1
#: a body that unpacks to more is not ours: an exchange is a few hundred frames of at most a few KiB
MOST_TEXT: Final = 64 * 2**20
NO_TIMES: Final = np.empty(0, dtype="datetime64[us]")


class NotAnExchange(StoreError):
    """Stored bytes that are no exchange, or not the one their hash names."""


@dataclass(frozen=True, slots=True)
class Said:
    """Bytes in one direction, `after` seconds from the beginning."""

    after: float
    sent: bool
    raw: bytes = field(repr=False)  # may hold a password


@dataclass(frozen=True)
class Exchange:
    """`meter` 0: several. `asked`: the instants that the task was for. `protocol` "file": a file was read, whose name is the address."""

    terminal: int
    meter: int
    address: str
    protocol: str
    task: str
    began: np.datetime64
    taken: np.datetime64
    asked: Times = field(default_factory=lambda: NO_TIMES)
    said: tuple[Said, ...] = ()
    opening: tuple[bytes, ...] = ()
    known: str = ""

    @cached_property
    def text(self) -> bytes:
        lines = [
            TITLE,
            f"terminal {self.terminal}",
            f"meter {self.meter} {self.address}",
            f"protocol {self.protocol}",
            f"task {self.task}",
            f"began {_stamp(self.began)}",
            f"taken {_stamp(self.taken)}",
            f"asked {' '.join(_runs(self.asked))}".rstrip(),
            f"known {self.known}".rstrip(),
        ]
        lines += [f"= {answer.hex()}" for answer in self.opening]
        lines += [f"{'>' if s.sent else '<'} {s.after:.3f} {s.raw.hex()}" for s in self.said]
        return ("\n".join(lines) + "\n").encode()

    @cached_property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.text).digest()

    @property
    def evidence(self) -> int:
        """What stands beside the readings."""
        return int.from_bytes(self.sha256[:8], "big", signed=True)


def _stamp(when: np.datetime64) -> str:
    return f"{when.astype('datetime64[us]')}Z"


def _runs(times: Times) -> Iterator[str]:
    """Runs of equal steps: 96 slots of a day are one."""
    left = times.astype("datetime64[us]").astype(np.int64).tolist()
    while left:
        step = left[1] - left[0] if len(left) > 1 else 0
        n = 1
        while n < len(left) and left[n] - left[n - 1] == step:
            n += 1
        yield f"{_stamp(np.datetime64(left[0], 'us'))}/{step // 1_000_000}s/{n}"
        left = left[n:]


def parse(text: bytes) -> Exchange:
    """The exchange of a canonical text. NotAnExchange with what is wrong."""
    try:
        lines = text.decode().split("\n")
        if lines[0] != TITLE or lines[-1]:
            raise ValueError("its first line is not ours, or its last is cut off")
        head = dict(line.partition(" ")[::2] for line in lines[1:9])
        meter, _, address = head["meter"].partition(" ")
        asked = [_run(run) for run in head["asked"].split()]
        opening = [bytes.fromhex(line[2:]) for line in lines[9:-1] if line.startswith("= ")]
        said = []
        for line in lines[9 + len(opening) : -1]:
            way, after, raw = line.split(" ")
            said.append(Said(float(after), {">": True, "<": False}[way], bytes.fromhex(raw)))
        return Exchange(
            int(head["terminal"]), int(meter), address, head["protocol"], head["task"],
            _instant(head["began"]), _instant(head["taken"]),
            np.concatenate(asked) if asked else NO_TIMES, tuple(said), tuple(opening), head["known"],
        )  # fmt: skip
    except (ValueError, KeyError, IndexError) as error:
        raise NotAnExchange(f"stored bytes are no exchange: {error}") from None


def _instant(text: str) -> np.datetime64:
    return np.datetime64(text.removesuffix("Z"), "us")


def _run(text: str) -> Times:
    first, step, count = text.split("/")
    if int(count) > 1_000_000:
        raise ValueError(f"a run of {count} instants")
    return _instant(first) + np.arange(int(count)) * np.timedelta64(int(step.removesuffix("s")), "s")


def write(conn: Connection, exchanges: Sequence[Exchange]) -> None:
    """Keep them, within the caller's transaction; one that is there already stays."""
    if not exchanges:
        return
    ensure_partitions(conn, "exchange", np.array([e.taken for e in exchanges], dtype="datetime64[us]"))
    rows = {(e.terminal, e.taken, e.evidence): e for e in exchanges}
    ordered = [rows[key] for key in sorted(rows)]
    conn.execute(
        "INSERT INTO exchange (terminal_id, taken_at, evidence, meter_id, task, sha256, body) "
        "SELECT * FROM unnest(%s::int[], %s::timestamptz[], %s::bigint[], %s::int[], %s::text[], %s::bytea[], %s::bytea[]) ON CONFLICT DO NOTHING",
        (
            [e.terminal for e in ordered], [as_datetime(e.taken) for e in ordered], [e.evidence for e in ordered],
            [e.meter for e in ordered], [e.task for e in ordered], [e.sha256 for e in ordered],
            [zlib.compress(e.text, LEVEL) for e in ordered],
        ),
    )  # fmt: skip


def unpack(row: dict[str, Any]) -> Exchange:
    """A row of `exchange`. NotAnExchange if the bytes are not those that the hash beside them names."""
    plain = zlib.decompressobj()
    try:
        text = plain.decompress(bytes(row["body"]), MOST_TEXT)
    except zlib.error as error:
        raise NotAnExchange(f"the exchange of {row['taken_at']} cannot be unpacked: {error}") from None
    if hashlib.sha256(text).digest() != bytes(row["sha256"]):
        raise NotAnExchange(
            f"the exchange of {row['taken_at']} with terminal {row['terminal_id']} is not the one whose hash was kept: its bytes have changed"
        )
    return parse(text)


_COLUMNS: Final = "terminal_id, taken_at, evidence, meter_id, task, sha256, body"


def taken(
    conn: Connection,
    first: dt.datetime,
    last: dt.datetime,
    *,
    meter: int | None = None,
    terminals: Sequence[int] | None = None,
) -> Iterator[Exchange]:
    """Those of [first, last), in order, streamed; of one meter (and of terminals asked about several), or of some terminals."""
    with conn.cursor(name="exchanges") as cursor:
        cursor.execute(
            f"SELECT {_COLUMNS} FROM exchange WHERE taken_at >= %(first)s AND taken_at < %(last)s "
            "AND (%(meter)s::int IS NULL OR meter_id IN (%(meter)s, 0)) AND (%(terminals)s::int[] IS NULL OR terminal_id = ANY(%(terminals)s)) "
            "ORDER BY taken_at, terminal_id, evidence",
            {
                "first": first, "last": last, "meter": meter, "terminals": None if terminals is None else list(terminals),
            },
        )  # fmt: skip
        for row in cursor:
            yield unpack(row)


def named(
    conn: Connection, evidence: int, first: dt.datetime, last: dt.datetime, terminals: Sequence[int]
) -> Exchange | None:
    """The exchange that a reading names, taken in [first, last) by one of these terminals; None if its bytes are gone."""
    row = conn.execute(
        f"SELECT {_COLUMNS} FROM exchange WHERE evidence = %s AND taken_at >= %s AND taken_at < %s AND terminal_id = ANY(%s) LIMIT 1",
        (evidence, first, last, [*terminals, 0]),
    ).fetchone()
    return None if row is None else unpack(row)
