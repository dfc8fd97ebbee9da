"""A low-voltage network as numbers: a tree of branches below a transformer, customers at its nodes. Numpy alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Grid:
    """A radial network in tree order: a node's parent stands before it; node 0 is the transformer's low-voltage bus.

    parent         int64[node]        -1 for node 0
    positive       complex128[node]   positive-sequence impedance of the branch to the parent [ohm]; of node 0: the transformer's
    zero           complex128[node]   its zero-sequence impedance [ohm], the neutral's share in it
    volts          float              nominal phase-to-neutral voltage [V]
    home           int64[customer]    the node a customer hangs at
    phases         int8[customer]     0, 1, 2: one phase; -1: all three
    power          float64[customer]  what the profile is scaled by [kW]
    profile        str[customer]      the published profile's name
    """

    name: str
    parent: Ints
    positive: Complex
    zero: Complex
    volts: float
    home: Ints
    phases: NDArray[np.int8]
    power: Floats
    profile: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.parent)

    def lengthened(self, factor: float) -> Grid:
        """The same grid with every line `factor` times as long; the transformer stays."""
        lines = np.where(np.arange(len(self)) == 0, 1.0, factor)
        return replace(self, positive=self.positive * lines, zero=self.zero * lines)


def tree(
    name: str,
    root: int,
    ends: list[tuple[int, int]],
    impedances: list[tuple[complex, complex]],
    transformer: tuple[complex, complex],
    volts: float,
    buses: list[int],
    phases: list[int],
    power: list[float],
    profile: list[str],
) -> Grid:
    """A Grid of any list of branches (ends: pairs of bus numbers) that form a tree with `root`. Raises ValueError where they do not.

    Nodes that carry no customer and do not fork are joined into the branch below: the same currents flow in both.
    """
    near: dict[int, list[tuple[int, int]]] = {}
    for k, (a, b) in enumerate(ends):
        near.setdefault(a, []).append((b, k))
        near.setdefault(b, []).append((a, k))
    loaded = set(buses)
    parent, positive, zero, number = [-1], [transformer[0]], [transformer[1]], {root: 0}
    seen = {root}
    stack = [(root, 0, 0j, 0j)]  # bus, the kept node above it, impedance since then
    while stack:
        bus, above, z1, z0 = stack.pop()
        for far, k in near.get(bus, []):
            if far in seen:
                continue
            seen.add(far)
            one, nought = z1 + impedances[k][0], z0 + impedances[k][1]
            below = sum(1 for other, _ in near[far] if other not in seen)
            if far in loaded or below != 1:
                number[far] = len(parent)
                parent.append(above)
                positive.append(one)
                zero.append(nought)
                stack.append((far, number[far], 0j, 0j))
            else:
                stack.append((far, above, one, nought))
    if lost := loaded - seen:
        raise ValueError(f"{name}: buses {sorted(lost)[:5]} are not fed from bus {root}")
    return Grid(
        name,
        np.array(parent),
        np.array(positive, dtype=np.complex128),
        np.array(zero, dtype=np.complex128),
        volts,
        np.array([number[bus] for bus in buses]),
        np.array(phases, dtype=np.int8),
        np.array(power, dtype=np.float64),
        tuple(profile),
    )
