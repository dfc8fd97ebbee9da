"""The small code tables of DL/T 645-2007: functions, error bits, relay commands and their answer words."""

from __future__ import annotations

from typing import Final

#: Function code (C, bits 4-0) -> (English, 中文).
FUNCTIONS: Final = {
    0x03: ("security authentication", "安全认证"),
    0x08: ("broadcast time", "广播校时"),
    0x11: ("read data", "读数据"),
    0x12: ("read follow-up data", "读后续数据"),
    0x13: ("read address", "读通信地址"),
    0x14: ("write data", "写数据"),
    0x15: ("write address", "写通信地址"),
    0x16: ("freeze", "冻结命令"),
    0x17: ("change baud rate", "更改通信速率"),
    0x18: ("change password", "修改密码"),
    0x19: ("maximum demand reset", "最大需量清零"),
    0x1A: ("meter clear", "电表清零"),
    0x1B: ("event clear", "事件清零"),
    0x1C: ("relay/alarm/power-keep control", "跳合闸、报警、保电"),
    0x1D: ("multi-function terminal output", "多功能端子输出控制"),
}

#: Error byte of D1..DB. Bit 7 is reserved; a vendor uses it for "program key not pressed".
ERROR_BITS: Final = {
    0x01: "other error",
    0x02: "no requested data",
    0x04: "password error / not authorised",
    0x08: "baud rate cannot change",
    0x10: "too many year zones",
    0x20: "too many day slots",
    0x40: "too many tariffs",
    0x80: "reserved",
}
#: The error bit that proves the meter does not have what was asked.
NO_DATA: Final = 0x02

#: The bit of both that says: wrong password, or none will do.
PASSWORD_ERROR: Final = 0x04

#: Error word of DC (2014 supplement).
CONTROL_ERROR_BITS: Final = {
    0x0001: "meter hung",
    0x0002: "MAC check failed",
    0x0004: "password error",
    0x0008: "authentication expired",
    0x0010: "command time invalid",
    0x0020: "trip refused: keep-power is on",
    0x0040: "auto-restore trip refused: keep-power is on",
    0x0080: "auto-restore time invalid",
    0x0100: "auto-restore trip refused: already tripped",
}
#: Execution word of 9C (2014 supplement).
CONTROL_DONE_BITS: Final = {
    0x0001: "closed",
    0x0002: "close permitted",
    0x0004: "tripped",
    0x0008: "trip delayed",
    0x0010: "tripped, restores itself",
    0x0020: "trip delayed: large current",
    0x0100: "keep-power set",
    0x0200: "keep-power cleared",
    0x0400: "alarm set",
    0x0800: "alarm cleared",
}
#: Bits of the execution word that say: taken, but it will act later.
CONTROL_PENDING: Final = 0x0008 | 0x0020

#: Error word SERR of C3, the refusal of a security authentication.
SECURITY_ERROR_BITS: Final = {
    0x0001: "other error",
    0x0002: "repeated recharge",
    0x0004: "ESAM check failed",
    0x0008: "identity authentication failed",
    0x0010: "customer number does not match",
    0x0020: "recharge count error",
    0x0040: "hoarding limit exceeded",
}

#: N1 of 1CH -> English. 1D and 1E carry in N2 the delay of the return, in units of 5 minutes.
#: One published program has 1D and 1E the other way round: a return to "close allowed" is the safe reading of both.
COMMANDS: Final = {
    0x1A: "relay open (trip)",
    0x1B: "relay close allowed",
    0x1C: "relay close",
    0x1D: "relay open, returns to closed",
    0x1E: "relay open, returns to close allowed",
    0x2A: "alarm on",
    0x2B: "alarm off",
    0x3A: "keep power on",
    0x3B: "keep power off",
}

#: Data of 1DH -> what the multi-function terminal puts out.
OUTPUTS: Final = {0x00: "demand cycle", 0x01: "clock second pulse", 0x02: "slot switching"}

#: The baud word of 17H and of items 040007xx: one bit for each rate.
BAUD_WORDS: Final = {0x02: 600, 0x04: 1200, 0x08: 2400, 0x10: 4800, 0x20: 9600, 0x40: 19200}
#: Another published table has the same powers of two written as decimals. None of them is a single bit of the standard's
#: word, so both can be understood; only the standard's is sent.
OTHER_BAUD_WORDS: Final = {0x16: 4800, 0x32: 9600, 0x64: 19200}

#: Level of a password: 00-09, or how a command is protected by the security module.
SEALED: Final = 0x98
SIGNED: Final = 0x99
LEVELS: Final = {SEALED: "enciphered with MAC", SIGNED: "clear text with MAC"}


def baud_rate(word: int) -> int | None:
    """The rate a baud word stands for, in either reading; None if it stands for none."""
    return BAUD_WORDS.get(word) or OTHER_BAUD_WORDS.get(word)


def bit_names(word: int, table: dict[int, str]) -> list[str]:
    """The names of the bits set in `word`, lowest first; a bit without a name as its number."""
    bits = [1 << i for i in range(word.bit_length()) if word >> i & 1]
    return [table.get(bit, f"bit {bit.bit_length() - 1}") for bit in bits]
