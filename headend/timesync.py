"""Is this machine's own clock right? Asked of the kernel, which NTP daemons keep told, and of chrony, which may not tell it."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from typing import Final

from headend.clock import Clock, SystemClock
from headend.control.clock_policy import Master

#: <sys/timex.h>: the clock is not synchronised, as a state and as a bit of the status.
_TIME_ERROR: Final = 5
_STA_UNSYNC: Final = 0x0040
#: seconds that chronyc may take: it asks a daemon on this machine
_PATIENCE: Final = 2.0
#: fields of `chronyc -c tracking`: reference, system offset, root delay, root dispersion, leap status
_REFERENCE, _OFFSET, _DELAY, _DISPERSION, _LEAP = 0, 4, 10, 11, 13
_NEVER: Final = 1e9


class _Timex(ctypes.Structure):
    """struct timex of Linux as far as it is read; what follows is room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def master(clock: Clock | None) -> Master:
    """What our clock is worth now. A clock that was given to us (the demo's) is the only one there is, unless it says otherwise itself."""
    if not isinstance(clock, SystemClock):
        return getattr(clock, "master", None) or Master(True, 0.0, "the time is a given one")
    kernel = _kernel()
    if kernel.synchronised:
        return kernel
    chrony = _chrony()
    return kernel if chrony is None else chrony


def _kernel() -> Master:
    """ntp_adjtime with no modes only reads, and needs no rights."""
    told = _Timex()
    try:
        state = int(ctypes.CDLL(None, use_errno=True).ntp_adjtime(ctypes.byref(told)))
    except (AttributeError, OSError):
        return Master(None, _NEVER, "this system has no ntp_adjtime; run on Linux, or with chrony")
    if state < 0:
        return Master(None, _NEVER, f"ntp_adjtime fails with error {ctypes.get_errno()}")
    error = told.maxerror / 1e6
    if state == _TIME_ERROR or told.status & _STA_UNSYNC:
        return Master(
            False, error, "no NTP daemon keeps the kernel's clock; start chrony or systemd-timesyncd"
        )
    return Master(True, error, "the kernel's clock is kept by NTP")


def _chrony() -> Master | None:
    """None where there is no chrony. It leaves the kernel's bit alone unless it is told to (rtcsync)."""
    program = shutil.which("chronyc")
    if program is None:
        return None
    try:
        said = subprocess.run(
            [program, "-c", "tracking"], capture_output=True, text=True, timeout=_PATIENCE, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return of_chrony(said.stdout)


def of_chrony(line: str) -> Master | None:
    """`chronyc -c tracking`, its comma-separated line. None if that is not what it is."""
    fields = line.strip().split(",")
    try:
        if fields[_LEAP] == "Not synchronised":
            return Master(False, _NEVER, "chrony has no source that it believes; see `chronyc sources`")
        error = abs(float(fields[_OFFSET])) + float(fields[_DISPERSION]) + float(fields[_DELAY]) / 2
        return Master(True, error, f"chrony follows {fields[_REFERENCE]}")
    except (IndexError, ValueError):
        return None
