"""What a meter says of itself against what the archive says of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

#: (en, zh) of each thing compared.
THINGS: Final = {
    "address": ("protocol address", "通信地址"),
    "protocol": ("protocol", "规约"),
    "phases": ("phases", "相数"),
    "asset": ("asset number", "资产编号"),
    "ct": ("CT ratio", "电流互感器变比"),
    "pt": ("PT ratio", "电压互感器变比"),
}
#: A protocol's name in the archive -> what a diagnosis may call it.
_SAME: Final = {"dlt645": ("dlt645-2007",)}
_VOLTAGES: Final = ("voltage_a", "voltage_b", "voltage_c")


@dataclass(frozen=True, slots=True)
class Compared:
    """`same` None: the meter does not say."""

    thing: str
    archive: str
    meter: str
    same: bool | None

    def to_dict(self) -> dict[str, Any]:
        return {"thing": self.thing, "archive": self.archive, "meter": self.meter, "same": self.same}


def compare(archive: Mapping[str, Any], told: Mapping[str, Any]) -> Sequence[Compared]:
    """`archive`: asset, address, protocol, phases, ct, pt. `told`: the document of a diagnosis."""
    said = told["identity"]
    address = said.get("address") or told["address"] or ""
    voltages = [code for code in _VOLTAGES if code in told["values"]]
    protocol = told["protocol"] or ""
    return (
        _digits("address", archive["address"], address),
        Compared("protocol", archive["protocol"], protocol, _protocol(archive["protocol"], protocol)),
        _phases(int(archive["phases"]), voltages),
        _text("asset", archive["asset"], said.get("asset") or said.get("number") or ""),
        _ratio("ct", int(archive["ct"]), said.get("ct", "")),
        _ratio("pt", int(archive["pt"]), said.get("pt", "")),
    )


def _digits(thing: str, archive: str, meter: str) -> Compared:
    """Leading zeros mean nothing, and a wildcard is no address."""
    if not meter or set(meter) <= {"A"}:
        return Compared(thing, archive, "", None)
    return Compared(thing, archive, meter, archive.lstrip("0") == meter.lstrip("0"))


def _text(thing: str, archive: str, meter: str) -> Compared:
    """An asset code may be longer than the archive's number and hold it: 22 digits of which the last are the plate's."""
    if not meter or not meter.strip("0"):
        return Compared(thing, archive, meter, None)
    plain = meter.strip()
    return Compared(thing, archive, plain, plain.lstrip("0") == archive.lstrip("0") or archive in plain)


def _protocol(archive: str, meter: str) -> bool | None:
    return None if not meter else meter == archive or meter in _SAME.get(archive, ())


def _phases(archive: int, voltages: Sequence[str]) -> Compared:
    """A three-phase meter may lack a voltage (three wires, a blown fuse), so that alone contradicts nothing."""
    if not voltages:
        return Compared("phases", str(archive), "", None)
    contradicts = archive == 1 and len(voltages) > 1
    unsure = archive == 3 and len(voltages) == 1
    return Compared(
        "phases", str(archive), str(3 if len(voltages) > 1 else 1), None if unsure else not contradicts
    )


def _ratio(thing: str, archive: int, meter: str) -> Compared:
    """A meter whose ratio was never set says 0 or 1 and leaves the multiplier to us."""
    if not meter.isdecimal() or int(meter) <= 1:
        return Compared(thing, str(archive), meter, None)
    return Compared(thing, str(archive), meter, int(meter) == archive)
