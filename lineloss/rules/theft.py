"""A customer whose profile explains the area's loss (疑似窃电). A suspicion with numbers, never a verdict."""

from __future__ import annotations

from typing import Final

import numpy as np

from lineloss.finding import Finding, number
from lineloss.suspects import Suspects
from lineloss.topology import Topology

RULE: Final = "theft"
VERSION: Final = 4
NEEDS: Final = (
    "active_import", "active_export", "voltage_a", "voltage_b", "voltage_c", "current_a", "current_b", "current_c",
)  # fmt: skip


def find(topology: Topology, suspects: Suspects, *, slots: int = 96) -> list[Finding]:
    """One finding per suspect; `slots` to a day."""
    findings = []
    for n in range(len(suspects)):
        area = int(suspects.area[n])
        factor, error = float(suspects.coefficient[n]), float(suspects.error[n])
        daily = float(suspects.energy[n]) * slots / int(suspects.slots[area])
        bypass = factor / (1 + factor)
        findings.append(
            Finding(
                RULE,
                VERSION,
                "meter",
                int(suspects.meter[n]),
                "alarm",
                {
                    "area": int(topology.area_id[area]),
                    "coefficient": number(factor, 3),
                    "standard_error": number(error, 3),
                    "significance": number(factor / error if error > 0 else np.inf, 1),
                    "unmetered_share": number(bypass, 3),
                    "kwh_per_day": number(daily, 2),
                    "share_of_loss": number(suspects.share[n], 3),
                    # what the voltages explain, deducted before the coefficient was sought
                    "service_loss_share": number(suspects.service[n], 3),
                    "slots": int(suspects.slots[area]),
                },
                f"Profile explains the area's loss: about {daily:.1f} kWh a day ({bypass:.0%}) unmetered",
                f"用电曲线与台区损失高度相关:疑似每日约 {daily:.1f} kWh({bypass:.0%})未计量",
            )
        )
    return findings
