"""A meter archived in one transformer area whose voltage follows another's transformer (户变关系错误)."""

from __future__ import annotations

from typing import Final

from lineloss.finding import Finding, number
from lineloss.membership import Moves
from lineloss.topology import Topology

RULE: Final = "wrong-area"
VERSION: Final = 1
NEEDS: Final = (
    "active_import", "active_export", "voltage_a", "voltage_b", "voltage_c", "current_a", "current_b", "current_c",
)  # fmt: skip


def find(topology: Topology, moves: Moves) -> list[Finding]:
    """One finding per meter that find_moves() sees elsewhere; the archive is wrong, or the network was switched."""
    findings = []
    for n in range(len(moves)):
        archived = int(topology.area_id[topology.area[moves.row[n]]])
        found = int(topology.area_id[moves.found[n]])
        findings.append(
            Finding(
                RULE,
                VERSION,
                "meter",
                int(moves.meter[n]),
                "warning",
                {"area": archived, "found_area": found, "log_odds": number(moves.lead[n], 1)},
                "Its voltage follows another area's transformer than the archive says",
                "电压曲线跟随其他台区变压器:户变关系疑似错误",
            )
        )
    return findings
