"""The small code tables of DL/T 645-1997: functions, error bits, baud rates, the grid status word."""

from __future__ import annotations

from typing import Final

#: Function code (C, bits 4-0) -> (English, 中文). 05H is a vendors' code.
FUNCTIONS: Final = {
    0x01: ("read data", "读数据"),
    0x02: ("read follow-up data", "读后续数据"),
    0x03: ("re-read data", "重读数据"),
    0x04: ("write data", "写数据"),
    0x05: ("freeze (vendor)", "冻结（厂家）"),
    0x08: ("broadcast time", "广播校时"),
    0x0A: ("write address", "写设备地址"),
    0x0C: ("change baud rate", "更改通信速率"),
    0x0F: ("change password", "修改密码"),
    0x10: ("maximum demand reset", "最大需量清零"),
}

#: Error byte of C1.. (unconfirmed).
ERROR_BITS: Final = {
    0x01: "invalid data",
    0x02: "data identifier error",
    0x04: "password error / not authorised",
    0x08: "reserved",
    0x10: "too many year zones",
    0x20: "too many day slots",
    0x40: "too many tariffs",
    0x80: "reserved",
}
#: The error bit that proves the meter does not have what was asked.
NO_SUCH_DI: Final = 0x02

#: Baud word of 0CH -> bit/s (unconfirmed; the 2007 edition numbers them so).
BAUD_RATES: Final = {0x02: 600, 0x04: 1200, 0x08: 2400, 0x10: 4800, 0x20: 9600, 0x40: 19200}

#: C021, the grid status word: bits 0-2 a phase without voltage, bits 4-6 one with too much.
GRID_BITS: Final = {
    0x01: "phase A failed",
    0x02: "phase B failed",
    0x04: "phase C failed",
    0x10: "phase A overvoltage",
    0x20: "phase B overvoltage",
    0x40: "phase C overvoltage",
}
