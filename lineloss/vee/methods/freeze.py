"""Freeze (日冻结): the curve lacks a midnight that the day freeze has. The meter's own register, by another answer."""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.vee.curve import Bits, Curve
from protocols.reading import MISSING

CODE: Final = "vee-freeze"
WORDS: Final = ("the day freeze of that midnight", "取自日冻结")


def there(curve: Curve) -> Bits:
    """bool[meter, time]: where it can stand."""
    return np.asarray((curve.registers == MISSING) & (curve.freezes != MISSING) & curve.alive, dtype=np.bool_)
