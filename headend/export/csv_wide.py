"""One row per meter and slot, one column per quantity. A slot is named by its end, local time with offset.

`quality` is the row's: the one farthest from the meter's first word. `remarks` is empty for what was measured, else JSON:
{quantity: [quality, method, reason]} of each cell that was revised, edited or estimated.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO, Final

import numpy as np

from headend.export.about import About, column, remarks
from headend.export.text import PART, cells, joined, lines, present, quoted, texts
from headend.store.sheets import QUALITIES, Sheet

SUFFIX: Final = ".csv"
KEYS: Final = ("meter", "slot_end")
MARKS: Final = ("quality", "remarks")


def header(codes: Iterable[str]) -> tuple[str, ...]:
    return (*KEYS, *(column(code) for code in codes), *MARKS)


def write(handle: BinaryIO, sheets: Iterable[Sheet], about: About) -> int:
    """Slots without any value are left out. Returns the rows written."""
    handle.write((",".join(header(about.codes)) + "\n").encode())
    stamps, names = texts(about.stamps()), texts(QUALITIES)
    rows = 0
    for sheet in sheets:
        meters = texts(quoted(asset) for asset in sheet.assets)
        said, worst = remarks(sheet), sheet.worst()
        m, t = np.nonzero(sheet.there())
        rows += len(m)
        for begin in range(0, len(m), PART):
            i, j = m[begin : begin + PART], t[begin : begin + PART]
            parts = [meters[i], stamps[j]]
            for code in about.codes:
                values = sheet.columns[code][i, j]
                parts.append(cells(code, values, present(values), about.moment))
            parts.append(names[worst[i, j]])
            here = (
                [quoted(said.get(cell, "")) for cell in zip(i.tolist(), j.tolist(), strict=True)]
                if said
                else []
            )
            parts.append(texts(here) if said else np.zeros((len(i), 1), dtype=np.uint8))
            handle.write(joined(lines(parts)))
    return rows
