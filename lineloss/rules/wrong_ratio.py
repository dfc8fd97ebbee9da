"""A customer whose multiplier in the archive is not that of his current transformers (倍率错误): the loss curve asks for another one that is made."""

from __future__ import annotations

from typing import Final

from lineloss.finding import Finding, number
from lineloss.ratios import Ratios

RULE: Final = "wrong-ratio"
VERSION: Final = 1
NEEDS: Final = (
    "active_import", "active_export", "voltage_a", "voltage_b", "voltage_c", "current_a", "current_b", "current_c",
)  # fmt: skip


def find(ratios: Ratios) -> list[Finding]:
    """One finding per customer whose multiplier find_ratios() tells to be another."""
    findings = []
    for n in range(len(ratios)):
        archived, standard = int(ratios.archived[n]), int(ratios.standard[n])
        findings.append(
            Finding(
                RULE,
                VERSION,
                "meter",
                int(ratios.meter[n]),
                "alarm",
                {
                    "archived": archived,
                    "likely": standard,
                    "fitted": number(ratios.fitted[n], 2),
                    "standard_error": number(ratios.error[n], 2),
                },
                f"Multiplier {archived} in the archive; the area's loss asks for {standard}",
                f"档案倍率 {archived} 与台区损失不符:疑为 {standard}",
            )
        )
    return findings
