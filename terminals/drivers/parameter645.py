"""One parameter (14H) of a DL/T 645-2007 meter, by the way that its class asks for (A.5 of the 2013 supplement)."""

from __future__ import annotations

from protocols.dlt645 import security
from protocols.dlt645.exchange import Secure, SecureAnswer
from protocols.dlt645.requests import Write
from protocols.dlt645.words import PASSWORD_ERROR, SEALED, SIGNED
from protocols.errors import Misuse, Refused
from protocols.machine import AskMachine
from terminals.drivers.driver import Meter, Script


def write_parameter(
    machine: security.CipherMachine | None, meter: Meter, di: int, data: bytes
) -> Script[None]:
    """Class 1 in clear text with the cipher machine's MAC (level 99); class 2 with the secret `password` at level 02, or enciphered (98) where
    there is none. Refused: the meter says no, and one way leads to no other. Misuse: nobody may."""
    password = meter.secrets.get("password")
    sealed = machine is not None and meter.secrets.get("relay") != "password"
    if sealed and (di in security.CLASS_1 or password is None):
        assert machine is not None
        yield from _sealed(machine, meter, di, data)
        return
    if password is None:
        raise Misuse(
            f"parameter {di:08X}: there is no cipher machine and meter {meter.address} has no password configured"
        )
    operator = meter.secrets.get("operator", "00000000")
    try:
        yield Write(meter.address, di, data, 2, password, operator)
    except Refused as refused:
        if refused.code & PASSWORD_ERROR:
            raise Refused(f"{refused}; parameter {di:08X} at level 02", code=refused.code) from None
        raise


def _sealed(machine: security.CipherMachine, meter: Meter, di: int, data: bytes) -> Script[None]:
    """03H 070000FF, then 14H: class 1 in clear text with a MAC (level 99), class 2 enciphered (98). The machine keeps the keys."""
    operator = meter.secrets.get("operator", "00000000")
    challenge: security.Challenge = yield AskMachine(
        machine, security.Authenticate(security.dispersion_of(meter.address))
    )
    known: SecureAnswer = yield Secure(meter.address, security.AUTHENTICATE, challenge.encode(), operator)
    session = security.session_of(challenge, known.data)
    if di in security.CLASS_1:
        mac: bytes = yield AskMachine(machine, security.SignParameter(session, di, data))
        yield Write(
            meter.address, di, security.Sealed(data, mac).encode(len(data)), SIGNED, operator=operator
        )
    else:
        sealed: security.Sealed = yield AskMachine(machine, security.SealParameter(session, di, data))
        yield Write(meter.address, di, sealed.encode(), SEALED, operator=operator)
