"""The numbers by which the utility's archive calls things."""

from __future__ import annotations

from terminals.simulator.faults import Spot


def area_code(area: int) -> str:
    return f"TQ{area + 1:04d}"


def asset_code(area: int, meter: int) -> str:
    """A meter's 12-digit asset number."""
    return f"41{area + 1:06d}{meter + 1:04d}"


def terminal_code(area: int) -> str:
    """The terminal's asset number, which is also what it registers with when it dials in."""
    return f"33{area + 1:06d}"


#: protocols whose terminals have an address of their own
ADDRESSED = ("gdw376", "dlt698")


def terminal_address(protocol: str, area: int) -> str:
    """What a terminal is asked by and logs in with. Q/GDW 376.1: A1 and A2, eight hex digits; DL/T 698.45: twelve digits."""
    return f"3301{area + 1:04X}" if protocol == "gdw376" else f"33{area + 1:010d}"


def customer_code(spot: Spot) -> str:
    return f"{7_000_000_000 + (spot.area + 1) * 1_000 + spot.customer + 1}"


def point_code(area: int, meter: int) -> str:
    return f"JL{area + 1:05d}{meter + 1:03d}"
