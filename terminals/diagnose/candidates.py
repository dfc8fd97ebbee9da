"""The protocols a diagnosis tries, in the order of what is met most."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from protocols.dlt645 import exchange as dlt645
from protocols.dlt645.edition1997 import exchange as dlt645_1997
from protocols.dlt645.frame import WILDCARD
from protocols.dlt698.attentive import AttentiveMaster
from protocols.dlt698.frame import ANYBODY
from protocols.dlt698.requests import Get
from protocols.dlt698.values import Data
from protocols.errors import FrameError, Misuse
from protocols.exchange import Exchange
from protocols.modbus.exchange import Master as ModbusMaster
from protocols.modbus.maps import models
from protocols.modbus.requests import ReadRegisters
from terminals.diagnose.diagnosis import Words
from terminals.diagnose.probe import Probe
from terminals.diagnose.probes.dlms import DlmsProbe
from terminals.diagnose.probes.dlt645 import Dlt645Probe
from terminals.diagnose.probes.dlt645_1997 import Dlt645Probe1997
from terminals.diagnose.probes.dlt698 import Dlt698Probe
from terminals.diagnose.probes.gdw376 import Gdw376Probe
from terminals.diagnose.probes.modbus import ModbusProbe
from terminals.drivers.dlms import DlmsDriver
from terminals.drivers.dlms_hdlc import DlmsHdlcDriver
from terminals.drivers.dlt645 import Dlt645Driver
from terminals.drivers.dlt645_1997 import Dlt645Driver1997
from terminals.drivers.dlt698 import Dlt698Driver
from terminals.drivers.driver import Driver
from terminals.drivers.gdw376 import Gdw376Driver
from terminals.drivers.modbus import ModbusDriver

#: 1997: the present forward active energy, which every meter has.
_TOTAL_1997: Final = 0x9010
#: 698.45: the device's own address.
_OWN_ADDRESS: Final = 0x40010200
#: The unit that Modbus devices leave the factory with.
_FACTORY_UNIT: Final = 1
#: A PLC and a gateway answer as Modbus too: what is behind the unit must be said.
_MODEL_NEEDED: Final = Words(
    "a Modbus device answers as unit 1; name its model: --address 1@MODEL, models: {}",
    "Modbus 设备（站号 1）有应答；请指明型号：--address 1@型号，可选：{}",
)


#: Addresses by protocol. 698.45 has shorter ones too, but those are more likely ports of DLMS.
_DIGITS: Final = "[0-9A]{12}"
_OF_698: Final = "[0-9A-F]{8,32}"
_PORT: Final = r"\d{1,5}(/\d{1,5})?"
_UNIT: Final = r"\d{1,3}@.+"


class Line(Enum):
    """On what a candidate is tried."""

    ANY = "any"
    SERIAL = "serial"
    STREAM = "stream"  # TCP and what tunnels bytes in it
    OPTICAL = "optical"  # a serial port that begins at 300 bit/s (IEC 62056-21 mode E)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A protocol to try.

    find       gives an exchange and the request that any single device on the line answers
    found      what that answer says its address is
    addresses  tried where the protocol has no such request
    shape      what an address of this protocol looks like: another one is not tried
    behind     it speaks to a terminal: tried where the terminal's address is given, and only then if there is no `find`
    secret     under which name of `Meter.secrets` a password goes; '' where reading needs none, and so none is tried
    needs      more must be said before anything can be read; a refusal is an answer too
    """

    probe: Probe
    find: Callable[[], tuple[Exchange, Any]] | None = None
    found: Callable[[Any], str] = str
    addresses: tuple[str, ...] = ()
    line: Line = Line.ANY
    shape: str = ".*"
    behind: bool = False
    secret: str = ""
    needs: Words | None = None

    @property
    def driver(self) -> Driver:
        return self.probe.driver

    @property
    def name(self) -> str:
        return self.probe.name

    def fits(self, line: Line) -> bool:
        return self.line is line or (self.line is Line.ANY and line is not Line.OPTICAL)


def known_candidates() -> tuple[Candidate, ...]:
    """DL/T 645 and 698.45 ask the line for its address; every DLMS meter has a logical device 1."""
    model_needed = Words(*(text.format(", ".join(models())) for text in (_MODEL_NEEDED.en, _MODEL_NEEDED.zh)))
    return (
        Candidate(
            Dlt645Probe(Dlt645Driver()), shape=_DIGITS, find=lambda: (dlt645.Master(), dlt645.ReadAddress())
        ),
        Candidate(
            Dlt645Probe1997(Dlt645Driver1997()),
            shape=_DIGITS,
            find=lambda: (dlt645_1997.Master(), dlt645_1997.Read(WILDCARD, _TOTAL_1997)),
            found=lambda answer: str(answer.address),
        ),
        Candidate(
            Dlt698Probe(Dlt698Driver()),
            shape=_OF_698,
            find=lambda: (AttentiveMaster(ANYBODY), Get(_OWN_ADDRESS)),
            found=_digits,
            secret="terminal_password",
        ),
        Candidate(Gdw376Probe(Gdw376Driver()), behind=True),
        Candidate(Dlt698Probe(Dlt698Driver()), behind=True, secret="terminal_password"),
        Candidate(
            DlmsProbe(DlmsDriver()), addresses=("1",), line=Line.STREAM, shape=_PORT, secret="password"
        ),
        Candidate(DlmsProbe(DlmsHdlcDriver()), addresses=("1",), shape=_PORT, secret="password"),
        Candidate(
            DlmsProbe(DlmsHdlcDriver()), addresses=("1",), line=Line.OPTICAL, shape=_PORT, secret="password"
        ),
        Candidate(
            ModbusProbe(ModbusDriver("tcp")),
            find=lambda: (ModbusMaster("tcp"), ReadRegisters(_FACTORY_UNIT, 0, 1)),
            line=Line.STREAM,
            shape=_UNIT,
            needs=model_needed,
        ),
        Candidate(
            ModbusProbe(ModbusDriver("rtu")),
            find=lambda: (ModbusMaster("rtu"), ReadRegisters(_FACTORY_UNIT, 0, 1)),
            shape=_UNIT,
            needs=model_needed,
        ),
    )


def probe_of(driver: Driver) -> Probe:
    """What is asked of the meters of a driver; Probe itself where nothing is known beyond what the driver can."""
    if isinstance(driver, Dlt698Driver):
        return Dlt698Probe(driver)
    if isinstance(driver, Gdw376Driver):
        return Gdw376Probe(driver)
    if isinstance(driver, DlmsDriver):
        return DlmsProbe(driver)
    if isinstance(driver, ModbusDriver):
        return ModbusProbe(driver)
    if isinstance(driver, Dlt645Driver1997):
        return Dlt645Probe1997(driver)
    return Dlt645Probe(driver) if isinstance(driver, Dlt645Driver) else Probe(driver)


def chosen(candidates: Sequence[Candidate], names: Sequence[str]) -> tuple[Candidate, ...]:
    """Those of these protocols, all if none is named. Misuse: there is no such protocol."""
    known = dict.fromkeys(candidate.name for candidate in candidates)
    for name in names:
        if name not in known:
            raise Misuse(f"no protocol {name!r} to diagnose; there are {', '.join(known)}")
    return tuple(candidate for candidate in candidates if not names or candidate.name in names)


def _digits(told: Data) -> str:
    if not isinstance(told.value, bytes) or not told.value:
        raise FrameError("4001: the device gives no address")
    return told.value.hex().upper()
