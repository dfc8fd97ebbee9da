"""Three-phase power flow of a tree, all instants at once: backward and forward sweeps (Shirmohammadi 1988).

The lines are those of the sequence model that pandapower's runpp_3ph uses: self impedance (Z0 + 2 Z1) / 3, mutual (Z0 - Z1) / 3, the
neutral's drop within Z0. `check` in networks.py holds the result against runpp_3ph.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.support.truth.grid import Complex, Floats, Grid

#: a, b, c in positive order
TURN = np.exp(-2j * np.pi / 3 * np.arange(3))
#: Sweeps halve the error many times over at any load that a network can carry; one that needs more than this has collapsed.
SWEEPS = 60
#: [V]: a hundredth of what a meter shows
GOOD = 1e-4


@dataclass(frozen=True, slots=True)
class Flow:
    """volts complex128[node, 3, t] [V];  current complex128[node, 3, t] [A] in the branch to the parent (of node 0: through the
    transformer);  loss float64[t] [W] in the branches below the transformer;  supply float64[t] [W] at the low-voltage bus.
    """

    volts: Complex
    current: Complex
    loss: Floats
    supply: Floats


def solve(grid: Grid, power: Complex, source: Complex) -> Flow:
    """The flow for loads power complex128[node, 3, t] [VA] and the transformer's inner voltage source complex128[3, t] [V].

    Raises ValueError where it does not converge.
    """
    own, mutual = (grid.zero + 2 * grid.positive) / 3, (grid.zero - grid.positive) / 3
    volts = np.broadcast_to(source, power.shape).copy()
    for _ in range(SWEEPS):
        current = np.conj(power / volts)
        for node in range(len(grid) - 1, 0, -1):
            current[grid.parent[node]] += current[node]
        before, volts = volts, np.empty_like(volts)
        for node in range(len(grid)):
            drop = (own[node] - mutual[node]) * current[node] + mutual[node] * current[node].sum(axis=0)
            volts[node] = (source if node == 0 else volts[grid.parent[node]]) - drop
        if np.abs(volts - before).max() < GOOD:
            break
    else:
        raise ValueError(
            f"{grid.name}: the power flow does not converge; the load is more than the lines can carry"
        )
    supply = np.real(volts[0] * np.conj(current[0])).sum(axis=0)
    return Flow(volts, current, supply - np.real(power).sum(axis=(0, 1)), supply)
