"""One row per value: who, when, what with its OBIS code and unit, and of what quality. A slot is named by its end, local time with offset."""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO, Final

import numpy as np

from headend.export.about import About
from headend.export.text import PART, Bytes, cells, joined, lines, present, quoted, texts
from headend.store.sheets import QUALITIES, Sheet
from protocols.quantity import quantities

SUFFIX: Final = ".csv"
HEADER: Final = ("meter", "slot_end", "quantity", "obis", "value", "unit", "quality", "method", "reason")


def write(handle: BinaryIO, sheets: Iterable[Sheet], about: About) -> int:
    """Values that are missing are left out. Returns the rows written."""
    handle.write((",".join(HEADER) + "\n").encode())
    stamps = texts(about.stamps())
    rows = 0
    for sheet in sheets:
        meters = texts(quoted(asset) for asset in sheet.assets)
        m, t = np.nonzero(sheet.there())
        step = max(1, PART // max(1, len(about.codes)))
        for begin in range(0, len(m), step):
            i, j = m[begin : begin + step], t[begin : begin + step]
            parts = [_lines(sheet, about, code, meters[i], stamps[j], i, j) for code in about.codes]
            # one line a quantity, all equally wide, so that the lines of a slot stand together
            block = np.zeros((len(i), len(parts), max(part.shape[1] for part in parts)), dtype=np.uint8)
            for k, part in enumerate(parts):
                block[:, k, : part.shape[1]] = part
            rows += int((block[:, :, 0] != 0).sum())
            handle.write(joined(block))
    return rows


def _lines(
    sheet: Sheet, about: About, code: str, meters: Bytes, stamps: Bytes, i: np.ndarray, j: np.ndarray
) -> Bytes:
    """The lines of one quantity; nothing where it has no value."""
    n, quantity = len(i), quantities()[code]
    values = sheet.columns[code][i, j]
    there = present(values)
    method = reason = np.zeros((n, 1), dtype=np.uint8)
    if sheet.notes:
        notes = [sheet.notes.get((code, a, b), ("", "")) for a, b in zip(i.tolist(), j.tolist(), strict=True)]
        method, reason = (texts(quoted(note[k]) for note in notes) for k in (0, 1))
    out = lines(
        [
            meters, stamps, _same(f"{code},{quantity.obis}", n), cells(code, values, there, about.moment),
            _same(quantity.unit, n), texts(QUALITIES)[sheet.quality[code][i, j]],
            method, reason,
        ]
    )  # fmt: skip
    out[~there] = 0
    return out


def _same(text: str, n: int) -> Bytes:
    return np.broadcast_to(texts([text]), (n, max(1, len(text.encode()))))
