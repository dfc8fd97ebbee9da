"""Protocol name in the archive -> driver, and who speaks with such a terminal itself."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from importlib import import_module

from headend.config import ConfigError
from protocols.dlt645.security import CipherMachine
from terminals.drivers.dlms import DlmsDriver
from terminals.drivers.dlms_hdlc import DlmsHdlcDriver
from terminals.drivers.dlt645 import Dlt645Driver
from terminals.drivers.dlt645_1997 import Dlt645Driver1997
from terminals.drivers.dlt698 import Dlt698Driver
from terminals.drivers.driver import Driver
from terminals.drivers.gdw376 import Gdw376Driver
from terminals.drivers.modbus import TOLERANCE, ModbusDriver
from terminals.drivers.published import PublishedDriver
from terminals.drivers.station import Station
from terminals.drivers.wallet import WalletBehind, WalletWay
from terminals.drivers.wallet645 import Wallet645


def drivers(cipher_machine: str = "", tolerance: dt.timedelta = TOLERANCE) -> Mapping[str, Driver]:
    """One instance each: drivers keep no state of a meter's conversation. `cipher_machine` as in the settings; `tolerance`: how late a
    meter without memory may be read for a point."""
    machine = machine_of(cipher_machine)
    return {
        "dlt645": Dlt645Driver(machine=machine),
        "dlt645-1997": Dlt645Driver1997(tolerance=tolerance),
        "dlms": DlmsDriver(),
        "dlms-hdlc": DlmsHdlcDriver(),
        "gdw376": Gdw376Driver(machine=machine),
        "dlt698": Dlt698Driver(machine=machine),
        "modbus-tcp": ModbusDriver("tcp", tolerance=tolerance),
        "modbus-rtu": ModbusDriver("rtu", tolerance=tolerance),
        "mqtt": PublishedDriver(),
    }


def station_for(driver: Driver) -> Station | None:
    """Who speaks with the terminal itself, where terminals of the driver's protocol have an address."""
    return driver.station if isinstance(driver, Gdw376Driver | Dlt698Driver) else None


def wallets_for(driver: Driver) -> WalletWay | None:
    """Who speaks with wallets of meters behind such a driver; None: in its protocol there are none."""
    if isinstance(driver, Dlt645Driver):
        return Wallet645(driver.machine)
    if driver.behind is not None and isinstance(driver.behind, Dlt645Driver):
        return WalletBehind(Wallet645(driver.behind.machine), driver.through)
    return None


def machine_of(name: str) -> CipherMachine | None:
    """ "module:attribute", called without arguments, is the machine. ConfigError if there is no such thing."""
    if not name:
        return None
    module, _, attribute = name.partition(":")
    try:
        make = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError):
        raise ConfigError(
            f"HEADEND_CIPHER_MACHINE: {name!r} is no MODULE:ATTRIBUTE that can be imported"
        ) from None
    machine: CipherMachine = make()
    return machine
