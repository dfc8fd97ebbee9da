"""What is asked for and what a device is asked: the services by name, without APDUs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from protocols.dlms import messages
from protocols.dlms.association import enum_names
from protocols.dlms.selector import Selector
from protocols.dlms.values import Data
from protocols.errors import Refused

from dlms_cosem import enumerations  # isort: skip

RESULTS: Final = enum_names(enumerations.DataAccessResult)

#: What we offer to receive in one APDU: a curve day of ten columns is 6 kB, so a day takes a handful of
#: blocks, and no device has to buffer more than it likes (it may always send less).
DEFAULT_MAX_PDU: Final = 2048
#: One value joined from blocks: 60 days of 96 rows with a dozen columns are 0.4 MB. More is a meter gone
#: wild.
MAX_VALUE: Final = 4 * 1024 * 1024

#: Data-access-results that prove the meter does not have the object (IEC 62056-5-3, Data-Access-Result): 4
#: object-undefined, and 9 object-class-inconsistent (the name exists, but not as what was asked for). 11
#: object-unavailable is not one: it says "not now".
ABSENT: Final = frozenset((4, 9))


@dataclass(frozen=True, slots=True)
class Associate:
    """Open the association: as the client's protection says; without one, with no authentication or a low-level-security
    password. Answer: the Aare.

    conformance  what is proposed; None: all that this client speaks in the context
    """

    password: bytes | None = field(default=None, repr=False)  # never reaches a log
    max_pdu: int = DEFAULT_MAX_PDU
    conformance: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Get:
    """Read an attribute. Answer: its Data, or with `raw` its A-XDR bytes undecoded (for bulk decoding)."""

    class_id: int
    obis: str
    attribute: int
    selector: Selector | None = None
    raw: bool = False


@dataclass(frozen=True, slots=True)
class GetMany:
    """Read attributes in one request. Answer: a list with for each its Data (or bytes), or a Refused."""

    items: tuple[Get, ...]


@dataclass(frozen=True, slots=True)
class Set:
    """Write an attribute. Answer: None."""

    class_id: int
    obis: str
    attribute: int
    value: Data = field(repr=False)  # it may be a key
    selector: Selector | None = None


@dataclass(frozen=True, slots=True)
class SetMany:
    """Write attributes in one request. Answer: a list with None or a Refused for each."""

    items: tuple[Set, ...]


@dataclass(frozen=True, slots=True)
class Act:
    """Invoke a method. Answer: the returned Data, or None."""

    class_id: int
    obis: str
    method: int
    value: Data | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ActMany:
    """Invoke methods in one request. Answer: a list with the returned Data, None or a Refused for each."""

    items: tuple[Act, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """Close the association, and the link below it. Answer: None."""


Request = Associate | Get | GetMany | Set | SetMany | Act | ActMany | Release


# --- the device is asked ---


@dataclass(frozen=True, slots=True)
class GetRequest:
    """Asked of a server: answer with the attribute's Data (or its A-XDR bytes)."""

    class_id: int
    obis: str
    attribute: int
    selector: Selector | None


@dataclass(frozen=True, slots=True)
class SetRequest:
    """Asked of a server: write and `answer()`."""

    class_id: int
    obis: str
    attribute: int
    value: Data = field(repr=False)  # it may be a key
    selector: Selector | None = None


@dataclass(frozen=True, slots=True)
class ActRequest:
    """Asked of a server: do it and `answer()`, with returned Data if the method has any."""

    class_id: int
    obis: str
    method: int
    value: Data | None = field(repr=False)


def target(request: Get | Set | Act) -> messages.Target:
    """What a request is aimed at."""
    index = request.method if isinstance(request, Act) else request.attribute
    return messages.Target(request.class_id, request.obis, index)


def refusal(request: object, code: int) -> Refused:
    """The Refused that a data-access-result or action-result stands for."""
    name = RESULTS.get(code, "unknown code")
    what = type(request).__name__.lower()
    if isinstance(request, Get | Set | Act):
        what += " {0.class_id}/{0.obis}/{0.index}".format(target(request))
    return Refused(f"{what}: {name} ({code})", code=code, absent=code in ABSENT)
