"""One row per meter and slot, one column per quantity. A slot is named by its end, local time with offset."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from headend.store.blocks import Block
from protocols.localtime import as_datetime
from protocols.quantity import quantities
from protocols.reading import MISSING


def write(path: Path, block: Block, assets: Sequence[str], zone: ZoneInfo) -> tuple[int, str]:
    """Write a day's block; slots without any value are left out. Returns (rows, SHA-256). The file appears whole or not at all."""
    codes = [*block.registers, *block.instants]
    there = np.zeros((len(assets), len(block.times) - 1), dtype=np.bool_)
    for grid in block.registers.values():
        there |= grid[:, 1:] != MISSING
    for cells in block.instants.values():
        there |= ~np.isnan(cells)
    stamps = [as_datetime(when, zone).isoformat() for when in block.times[1:]]
    partial = path.with_name(path.name + ".part")
    with partial.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["meter", "slot_end", *(f"{code}_{quantities()[code].unit}" for code in codes)])
        for meter in np.flatnonzero(there.any(axis=1)).tolist():
            slots = np.flatnonzero(there[meter])
            columns = [_texts(block, code, meter, slots) for code in codes]
            writer.writerows(
                [assets[meter], stamps[slot], *cells]
                for slot, *cells in zip(slots.tolist(), *columns, strict=True)
            )
    digest = hashlib.sha256(partial.read_bytes()).hexdigest()
    partial.replace(path)
    return int(there.sum()), digest


def _texts(block: Block, code: str, meter: int, slots: np.ndarray) -> list[str]:
    if code in block.registers:
        values = block.registers[code][meter, slots + 1].tolist()
        return ["" if v == MISSING else f"{v // 10_000}.{v % 10_000:04d}" for v in values]
    return [
        "" if np.isnan(v) else f"{v:.4f}".rstrip("0").rstrip(".")
        for v in block.instants[code][meter, slots].tolist()
    ]
