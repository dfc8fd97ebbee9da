"""The ledger's entries. Append-only; a balance is a sum; a correction is one more entry, with the next
revision.

An entry names the hash of everything it was derived from. Deriving again from the same inputs adds nothing;
from other inputs it adds the difference, even when that is zero, so that the newest entry always says which
readings stand behind the money.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tariffs.money import Ints, exact


@dataclass(frozen=True, slots=True)
class Entry:
    """account, kind, period and revision are the key. amount_fen > 0 is what the customer owes or used up
    for charges,
    what he paid for payments: the sign's meaning belongs to the kind (see balance)."""

    account: int
    kind: str
    period: str
    revision: int
    amount_fen: int
    inputs_hash: str
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[int, str, str, int]:
        return (self.account, self.kind, self.period, self.revision)


class LedgerError(ValueError):
    """Entries that contradict each other: a key twice, a gap in revisions, one hash with two amounts."""


def canonical(value: Any) -> bytes:
    """The one byte form of inputs: JSON, keys sorted, no spaces, UTF-8.

    Integers, booleans, strings, None, lists, mappings with string keys, numpy integers and integer arrays,
    dates and datetime64 (as UTC microseconds in ISO form). TypeError for a float: two machines may print it
    differently, and money has no use for it.
    """
    text = json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8")


def inputs_hash(inputs: Mapping[str, Any]) -> str:
    """sha256 of the canonical form, hex."""
    return hashlib.sha256(canonical(inputs)).hexdigest()


def inputs_hashes(common: Mapping[str, Any], columns: Mapping[str, NDArray[Any]]) -> list[str]:
    """The hash of each row's inputs [row]: that row of every column, which may have more axes, and what all rows have in common, by its own
    hash: inputs_hash({"common": inputs_hash(common), **row}).
    """
    if "common" in columns:
        raise ValueError("a column may not be called 'common'")
    shared = json.dumps({"common": inputs_hash(common)})[1:-1]
    names = sorted(columns)
    # the canonical form put together by hand: what is common is written once, and a row's own columns stand in the order of their names
    before = "".join(f'"{name}":%s,' for name in names if name < "common")
    after = "".join(f',"{name}":%s' for name in names if name > "common")
    form = "{" + before + shared.replace(": ", ":") + after + "}"
    texts = [_texts(columns[name]) for name in names]
    return [hashlib.sha256((form % row).encode()).hexdigest() for row in zip(*texts, strict=True)]


def _texts(column: NDArray[Any]) -> list[str]:
    """The canonical text of each row of a column."""
    plain = _plain(column)
    if column.dtype.kind in "iu":  # whole numbers in lists: as Python writes them, without the blanks
        return [str(row).replace(" ", "") for row in plain]
    return [canonical(row).decode() for row in plain]


def derive(
    existing: Sequence[Entry],
    *,
    account: int,
    kind: str,
    period: str,
    amount_fen: int,
    inputs_hash: str,
    detail: Mapping[str, Any] | None = None,
) -> tuple[Entry, ...]:
    """The entries to append so that this account, kind and period stands at `amount_fen`: none or one.

    existing  the ledger's entries for the same account, kind and period, in any order

    None if the newest revision already has this hash; LedgerError if it has the hash but another amount
    stands.
    """
    entries = sorted(existing, key=lambda entry: entry.revision)
    for revision, entry in enumerate(entries):
        if (entry.account, entry.kind, entry.period) != (account, kind, period):
            raise LedgerError(f"entry {entry.key} does not belong to {(account, kind, period)}")
        if entry.revision != revision:
            raise LedgerError(f"revision {revision} of {(account, kind, period)} is missing or there twice")
    standing = sum(entry.amount_fen for entry in entries)
    if entries and entries[-1].inputs_hash == inputs_hash:
        if standing != amount_fen:
            key = (account, kind, period)
            raise LedgerError(f"{key}: the same inputs gave {standing} fen before and {amount_fen} fen now")
        return ()
    new = Entry(account, kind, period, len(entries), amount_fen - standing, inputs_hash, dict(detail or {}))
    return (new,)


def derive_many(
    standing: Ints,
    revision: Ints,
    standing_hash: Sequence[str],
    amounts: Ints,
    hashes: Sequence[str],
) -> tuple[NDArray[np.bool_], Ints, Ints]:
    """derive() for a batch of accounts: (append bool[account], amount int64[account] [fen], revision
    int64[account]).

    standing       int64[account] [fen]: sum of the entries there are, 0 without any
    revision       int64[account]: newest revision, -1 without any
    standing_hash  str[account]: hash of the newest revision, '' without any
    amounts        int64[account] [fen], hashes str[account]: as derived now
    """
    standing, revision = exact(standing, "standing"), exact(revision, "revision")
    amounts = exact(amounts, "amounts")
    same = (revision >= 0) & (np.asarray(standing_hash, dtype=np.str_) == np.asarray(hashes, dtype=np.str_))
    clash = np.flatnonzero(same & (standing != amounts))
    if len(clash):
        row = int(clash[0])
        raise LedgerError(
            f"row {row}: the same inputs gave {int(standing[row])} fen before and {int(amounts[row])} fen now"
        )
    return np.asarray(~same, dtype=np.bool_), amounts - standing, revision + 1


def balance(entries: Iterable[Entry], credit: frozenset[str] = frozenset({"payment"})) -> int:
    """Balance [fen]: payments (kinds in `credit`) minus everything else. A sum: the order never matters."""
    seen: set[tuple[int, str, str, int]] = set()
    result = 0
    for entry in entries:
        if entry.key in seen:
            raise LedgerError(f"entry {entry.key} is there twice")
        seen.add(entry.key)
        result += entry.amount_fen if entry.kind in credit else -entry.amount_fen
    return result


def _plain(value: Any) -> Any:  # noqa: PLR0911 - one line a type
    """The JSON-able form of inputs; see canonical()."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.datetime64):
        return np.datetime_as_string(value.astype("datetime64[us]"))
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuUM":
        times = value.dtype.kind == "M"
        return np.datetime_as_string(value.astype("datetime64[us]")).tolist() if times else value.tolist()
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            raise TypeError("inputs of money may not hold a naive datetime")
        return _plain(np.datetime64(value.astimezone(dt.UTC).replace(tzinfo=None), "us"))
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("inputs of money need string keys")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    raise TypeError(f"inputs of money may not hold {type(value).__name__}")
