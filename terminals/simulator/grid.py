"""Several areas side by side, so that numpy solves them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from terminals.simulator.layout import HOME, SHOP, AreaPlan, Floats, Ints


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """What the plans of some areas say, one area after the other. A node is one phase of one transformer: 3 * area + phase.

    spans             (begin, past) of each area's customers
    first_customer    int[area], first_branch int[customer]: where their parts of longer axes begin
    area_of_customer  int[customer]
    meter_of_customer int[customer]  a supply meter stands before the customers of each area
    supply            bool[meter]    the supply meters
    customer, node    int[branch]
    by_node           int[branch]    branches in order of their nodes; first_of_node int[node]: where each node's begin
    row               int[branch]    the phase as the meter calls it
    whole_watts       bool[meter]
    the others        as in AreaPlan
    """

    plans: tuple[AreaPlan, ...]
    spans: tuple[tuple[int, int], ...]
    first_customer: Ints
    first_branch: Ints
    area_of_customer: Ints
    meter_of_customer: Ints
    supply: NDArray[np.bool_]
    customer: Ints
    node: Ints
    by_node: Ints
    first_of_node: Ints
    row: Ints
    whole_watts: NDArray[np.bool_]
    ordinary: NDArray[np.bool_]
    kind: Ints
    phase: Ints
    weight: Floats
    hour_shift: Floats
    level: Floats
    shares: Floats
    service: Floats
    main: Floats
    neutral: Floats
    ct: Ints
    error: Floats
    bypass: Floats

    @property
    def meters(self) -> int:
        return len(self.supply)

    @staticmethod
    def of(plans: Sequence[AreaPlan]) -> Grid:
        """The plans, side by side."""
        counts = np.array([plan.customers for plan in plans], dtype=np.int64)
        past = np.cumsum(counts)
        first = past - counts
        area = np.repeat(np.arange(len(plans)), counts)
        branches = np.array([len(plan.branch_customer) for plan in plans])
        customer = np.concatenate([plan.branch_customer for plan in plans]) + np.repeat(first, branches)
        phase = np.concatenate([plan.phase for plan in plans])
        branch_phase = np.concatenate([plan.branch_phase for plan in plans])
        node = 3 * np.repeat(np.arange(len(plans)), branches) + branch_phase
        by_node = np.argsort(node, kind="stable")
        kind = np.concatenate([plan.kind for plan in plans])
        supply = np.zeros(len(kind) + len(plans), dtype=np.bool_)
        supply[first + np.arange(len(plans))] = True
        return Grid(
            plans=tuple(plans),
            spans=tuple(zip(first.tolist(), past.tolist(), strict=True)),
            first_customer=first,
            first_branch=np.flatnonzero(np.diff(customer, prepend=-1)),
            area_of_customer=area,
            meter_of_customer=np.arange(len(kind)) + area + 1,
            supply=supply,
            customer=customer,
            node=node,
            by_node=by_node,
            first_of_node=np.flatnonzero(np.diff(node[by_node], prepend=-1)),
            # A single-phase meter calls its only phase A, whichever of the three it hangs on.
            row=np.where(phase[customer] == 3, branch_phase, 0),
            whole_watts=np.repeat([plan.protocol == "dlms" for plan in plans], counts + 1),
            ordinary=(kind == HOME) | (kind == SHOP),
            kind=kind,
            phase=phase,
            weight=np.concatenate([plan.weight for plan in plans]),
            hour_shift=np.concatenate([plan.hour_shift for plan in plans]),
            level=np.array([plan.level for plan in plans]),
            shares=np.stack([plan.shares for plan in plans]),
            service=np.concatenate([plan.service for plan in plans]),
            main=np.array([plan.main for plan in plans]),
            neutral=np.array([plan.neutral for plan in plans]),
            ct=np.array([plan.ct for plan in plans]),
            error=np.concatenate([plan.error for plan in plans]),
            bypass=np.concatenate([plan.bypass for plan in plans]),
        )
