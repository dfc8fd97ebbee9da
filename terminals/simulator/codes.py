"""The numbers by which the utility's archive calls things."""

from __future__ import annotations

from terminals.simulator.faults import Spot


def area_code(area: int) -> str:
    return f"TQ{area + 1:04d}"


def terminal_code(area: int) -> str:
    """The terminal's asset number, which is also what it registers with when it dials in."""
    return f"33{area + 1:06d}"


def terminal_address(area: int) -> str:
    """The address of a DL/T 698.45 terminal, twelve digits, by which it is asked and registers."""
    return f"33{area + 1:010d}"


def customer_code(spot: Spot) -> str:
    return f"{7_000_000_000 + (spot.area + 1) * 1_000 + spot.customer + 1}"


def point_code(area: int, meter: int) -> str:
    return f"JL{area + 1:05d}{meter + 1:03d}"
