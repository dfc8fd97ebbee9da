"""APDUs of GET, SET, ACTION, pushes and refusals in both directions against dlms-cosem 25.1.0; see `test_peer`."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from typing import Any

from dlms_cosem import cosem
from dlms_cosem import enumerations as enums
from dlms_cosem.cosem import CosemAttributeWithSelection as Selected
from dlms_cosem.cosem.capture_object import CaptureObject
from dlms_cosem.cosem.selective_access import EntryDescriptor, RangeDescriptor
from dlms_cosem.protocol import xdlms
from dlms_cosem.protocol.xdlms.data_notification import LongInvokeIdAndPriority

from protocols.dlms import apdu as apdus
from protocols.dlms import values
from protocols.dlms.selector import EntrySelector, RangeSelector
from protocols.dlms.values import Data
from tests.protocols.dlms.peer import (
    ANY,
    BERLIN,
    BOTH,
    SHANGHAI,
    UTC,
    Case,
    Seen,
    a_clock,
    a_value,
    as_read,
    aware,
    check,
    compare,
    leaves,
    library_bytes,
    library_clock,
    library_value,
    outcome,
    over,
)

APDUS = {
    "no class": "SET and ACTION in lists or blocks, event-notification, general-block-transfer, glo- and ded- services: no class",
    "get-response": "GetResponseNormal.to_bytes: TypeError",
    "interface class": "unknown interface classes: ValueError",
    "code": "unknown data-access-results and other errors: ValueError",
    "block with error": "an error in place of a block that is not the last: ValueError",
    "reserved bits": "reserved bits of (long-)invoke-id-and-priority are lost",
    "long list": "lists of more than 127: the count is read as one byte",
    "selection in list": "what follows a selected attribute in a list is read as data",
    "range columns": "no selected columns in a range descriptor: NotImplementedError",
    "entries": "no entry descriptor: NotImplementedError",
    "selected set": "SET with selective access is not read: NotImplementedError",
    "weekday": "day of week and clock status of a date-time are not written",
    "naive": "deviation 0 becomes a datetime without zone",
    "notification time": "the length of a notification's date-time is written as a flag, 01",
    "wildcard time": "a notification's date-time with a field that is not specified is refused",
    "counter": "the counter of an exception-response is written in one byte, 0 not at all; above 255: ValueError",
    "task error": "a task error is read as a data-scope error, with its one code, and not written; a data-scope error is written as a task error",
    "error service": "a confirmed-service-error is always written for initiate-error",
    "data": "strings of more than 127 bytes get a length of one byte, as in test_peer",
}  # fmt: skip
NO_CLASS = (NotImplementedError, KeyError)
CLASSES = [item.value for item in enums.CosemInterface]
RESULTS = [item.value for item in enums.DataAccessResult]


def obis_of(obis: str) -> Any:
    """Not by its own from_string: that loses the sixth number."""
    return cosem.Obis(*map(int, obis.split(".")))


class Maker:
    """Generates one APDU of each kind; `holes`, `reads`, `writes` gather what is told of it."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.zone = dice.choice((UTC, SHANGHAI, SHANGHAI, BERLIN))
        self.holes: set[str] = set()
        self.reads: tuple[type, ...] | None = None
        self.naive = False
        self.flags = dice.choice((0, 0x40, 0x80, 0xC0, 0xC0, 0xC0))
        self.reserved = dice.choice((0x10, 0x20, 0x30)) if dice.random() < 0.03 else 0
        self.invoke = dice.randrange(16)

    @property
    def head(self) -> tuple[int, dict[str, int]]:
        return self.invoke, {"flags": self.flags | self.reserved}

    @property
    def theirs_head(self) -> Any:
        return xdlms.InvokeIdAndPriority(self.invoke, bool(self.flags & 0x40), bool(self.flags & 0x80))

    def refuse(self, hole: str, *errors: type) -> None:
        """The library does not read it; the first trouble is the one it finds."""
        self.holes.add(hole)
        if self.reads is None:
            self.reads = errors

    def chance(self, part: float) -> bool:
        return self.dice.random() < part

    def number(self, bits: int) -> int:
        return self.dice.choice((0, 1, 2**bits - 1, self.dice.randrange(2**bits)))

    def target(self) -> tuple[apdus.Target, Any]:
        obis = ".".join(str(self.dice.randrange(256)) for _ in range(6))
        index = self.dice.choice((1, 2, 3, 127, -1, -128, self.dice.randrange(1, 20)))
        class_id = self.dice.choice(CLASSES)
        if self.chance(0.03):
            class_id = self.dice.choice((0, 2, 8192, 0xFFFF))
            self.refuse("interface class", ValueError)
        number: Any = class_id if class_id not in CLASSES else enums.CosemInterface(class_id)
        return apdus.Target(class_id, obis, index), (number, obis_of(obis), index & 0xFF)

    def code(self, table: list[int] = RESULTS) -> int:
        if self.chance(0.05):
            self.refuse("code", ValueError)
            return self.dice.choice([code for code in range(256) if code not in table])
        return self.dice.choice(table)

    def value(self) -> bytes:
        return values.encode(a_value(self.dice, ANY))

    def block(self) -> bytes:
        return self.dice.randbytes(self.dice.choice((0, 20, 127, 128, 255, 256, self.dice.randrange(500))))

    def selector(self) -> tuple[Any, Any, Any, bool]:
        """Ours, theirs to write, theirs as read, and whether the library can write it."""
        if self.chance(0.2):
            ours = EntrySelector(self.number(32), self.number(32), self.number(16), self.number(16))
            self.refuse("entries", NotImplementedError)
            theirs = EntryDescriptor(ours.first, ours.last, ours.first_column, ours.last_column)
            return ours, theirs, None, False
        column, theirs_column = self.column()
        columns = [self.column() for _ in range(self.dice.choice((0, 0, 0, 1, 3)))]
        begin, end = (a_clock(self.dice, self.zone)[1] for _ in range(2))
        theirs = RangeDescriptor(
            theirs_column,
            aware(begin, self.zone),
            aware(end, self.zone),
            [theirs for _, theirs in columns] or None,
        )
        naive = Counter[str]()
        read = RangeDescriptor(
            theirs_column, as_read(theirs.from_value, naive), as_read(theirs.to_value, naive)
        )
        self.holes |= {"weekday"} | set(naive)
        if columns:
            self.refuse("range columns", NotImplementedError)
        return (
            RangeSelector(begin, end, self.zone, tuple(ours for ours, _ in columns), column),
            theirs,
            read,
            not columns,
        )

    def column(self) -> tuple[tuple[int, str, int, int], Any]:
        class_id, index, data_index = (
            self.dice.choice(CLASSES),
            self.dice.randrange(-128, 128),
            self.number(16),
        )
        obis = ".".join(str(self.dice.randrange(256)) for _ in range(6))
        attribute = cosem.CosemAttribute(enums.CosemInterface(class_id), obis_of(obis), index)
        return (class_id, obis, index, data_index), CaptureObject(attribute, data_index)

    def case(self, ours: Any, theirs: Any = None, reads: Any = None, writes: Any = None) -> Case:
        """Reserved bits lose themselves in every kind."""
        if self.reserved and theirs is not None:
            self.holes.add("reserved bits")
            if writes is None:
                raw = apdus.encode(ours)
                writes = raw[:2] + bytes((raw[2] & 0xCF,)) + raw[3:]
            elif isinstance(writes, bytes):
                writes = writes[:2] + bytes((writes[2] & 0xCF,)) + writes[3:]
        return Case(ours, theirs, self.holes, self.reads or reads, writes)

    def unknown(self, ours: Any) -> Case:
        self.holes.add("no class")
        return Case(ours, None, self.holes, (*NO_CLASS, *(self.reads or ())))

    # GET

    def get_normal(self, kind: Any = None) -> Case:
        invoke, flags = self.head
        target, attribute = self.target()
        if not self.chance(0.4):
            return self.case(
                apdus.GetNormal(invoke, target, None, **flags),
                xdlms.GetRequestNormal(cosem.CosemAttribute(*attribute), self.theirs_head, None),
            )
        selector, theirs, read, written = self.selector()
        ours = apdus.GetNormal(invoke, target, selector, **flags)
        named = cosem.CosemAttribute(*attribute)
        return self.case(
            ours,
            xdlms.GetRequestNormal(named, self.theirs_head, theirs),
            None if read is None else xdlms.GetRequestNormal(named, self.theirs_head, read),
            plain_clocks(ours, selector) if written else (NotImplementedError,),
        )

    def get_next(self) -> Case:
        invoke, flags = self.head
        number = self.number(32)
        return self.case(
            apdus.GetNext(invoke, number, **flags), xdlms.GetRequestNext(number, self.theirs_head)
        )

    def get_list(self) -> Case:
        invoke, flags = self.head
        count = self.dice.randrange(128, 140) if self.chance(0.05) else self.dice.randrange(6)
        targets = [self.target() for _ in range(count)]
        ours: list[Any] = [(target, None) for target, _ in targets]
        theirs = [Selected(cosem.CosemAttribute(*attribute), None) for _, attribute in targets]
        read, writes, selector = None, None, None
        if count > 127:
            self.refuse("long list", ValueError)
        if 0 < count < 128 and self.chance(0.3) and self.reads is None:
            at = self.dice.choice((count - 1, 0))
            selector, theirs_selector, read_selector, written = self.selector()
            ours[at] = (ours[at][0], selector)
            theirs[at] = Selected(theirs[at].attribute, theirs_selector)
            if (
                at < count - 1
            ):  # 00 08: null-data, then a type that is none; anything else might be a long array
                ours[at + 1] = (dataclasses.replace(ours[at + 1][0], class_id=8), None)
                theirs[at + 1].attribute.interface = enums.CosemInterface.CLOCK
                self.holes.add("selection in list")
                if isinstance(selector, RangeSelector):
                    self.reads = (KeyError,)
            elif read_selector is not None:
                read = xdlms.GetRequestWithList(
                    [*theirs[:-1], Selected(theirs[at].attribute, read_selector)], self.theirs_head
                )
            writes = (NotImplementedError,) if not written else b""
        apdu = apdus.GetList(invoke, tuple(ours), **flags)
        if writes == b"":
            writes = plain_clocks(apdu, selector)
        return self.case(apdu, xdlms.GetRequestWithList(theirs, self.theirs_head), read, writes)

    def get_response(self) -> Case:
        invoke, flags = self.head
        self.holes.add("get-response")
        raw = self.value()
        return self.case(
            apdus.GetData(invoke, raw, **flags),
            xdlms.GetResponseNormal(raw, self.theirs_head),
            None,
            (TypeError,),
        )

    def get_error(self) -> Case:
        invoke, flags = self.head
        code, known = self.code(), not self.holes
        error = enums.DataAccessResult(code) if known else None
        if self.chance(0.5):
            ours = apdus.GetError(invoke, code, **flags)
            return self.case(
                ours, xdlms.GetResponseNormalWithError(error, self.theirs_head) if known else None
            )
        number, last = self.number(32), self.chance(0.8)
        if not last:
            self.refuse("block with error", ValueError)
        ours = apdus.GetError(invoke, code, number, last, **flags)
        theirs = (
            xdlms.GetResponseLastBlockWithError(error, number, self.theirs_head) if known and last else None
        )
        return self.case(ours, theirs)

    def get_block(self) -> Case:
        invoke, flags = self.head
        last, number, raw = self.chance(0.5), self.number(32), self.block()
        kind = xdlms.GetResponseLastBlock if last else xdlms.GetResponseWithBlock
        return self.case(
            apdus.GetBlock(invoke, last, number, raw, **flags), kind(raw, number, self.theirs_head)
        )

    def get_results(self) -> Case:
        """With values that the library both reads and writes; there may be strings whose lengths it writes wrongly."""
        invoke, flags = self.head
        count = self.dice.randrange(128, 140) if self.chance(0.05) else self.dice.randrange(1, 6)
        if count > 127:
            self.refuse("long list", ValueError)
        found = [a_value(self.dice, BOTH) if self.chance(0.7) else self.code() for _ in range(count)]
        if self.chance(0.2) and "code" not in self.holes:
            found[:1] = [values.octets(self.block())]
        ours = apdus.GetResults(
            invoke, tuple(one if isinstance(one, int) else values.encode(one) for one in found), **flags
        )
        if "code" in self.holes:
            return self.case(ours)
        theirs = [
            enums.DataAccessResult(one) if isinstance(one, int) else library_value(one) for one in found
        ]
        inside = [leaf for one in found if isinstance(one, Data) for leaf in leaves(one)]
        writes: Any = None
        if any(over(leaf, 127) for leaf in inside):
            self.holes.add("data")
            writes = bytes((0xC4, 3, apdus.encode(ours)[2])) + values.encode_length(count)
            writes += b"".join(
                bytes((1, one)) if isinstance(one, int) else b"\x00" + library_bytes(one) for one in found
            )
        if any(over(leaf, 255) for leaf in inside):
            writes = (ValueError,)
        return self.case(ours, xdlms.GetResponseWithList(theirs, self.theirs_head), None, writes)

    # SET and ACTION

    def set_normal(self) -> Case:
        invoke, flags = self.head
        target, attribute = self.target()
        raw, named = self.value(), cosem.CosemAttribute(*attribute)
        if not self.chance(0.2):
            return self.case(
                apdus.SetNormal(invoke, target, raw, None, **flags),
                xdlms.SetRequestNormal(named, raw, None, self.theirs_head),
            )
        known = self.reads
        selector, theirs, _, written = self.selector()
        self.reads = known
        self.refuse("selected set", NotImplementedError)
        ours = apdus.SetNormal(invoke, target, raw, selector, **flags)
        return self.case(
            ours,
            xdlms.SetRequestNormal(named, raw, theirs, self.theirs_head),
            None,
            plain_clocks(ours, selector) if written else (NotImplementedError,),
        )

    def set_result(self) -> Case:
        invoke, flags = self.head
        code = self.code()
        theirs = (
            None if self.holes else xdlms.SetResponseNormal(enums.DataAccessResult(code), self.theirs_head)
        )
        return self.case(apdus.SetResult(invoke, code, **flags), theirs)

    def act_normal(self) -> Case:
        invoke, flags = self.head
        target, method = self.target()
        raw = self.value() if self.chance(0.6) else None
        return self.case(
            apdus.ActNormal(invoke, target, raw, **flags),
            xdlms.ActionRequestNormal(cosem.CosemMethod(*method), raw, self.theirs_head),
        )

    def act_result(self) -> Case:
        invoke, flags = self.head
        code, shape = self.code([item.value for item in enums.ActionResultStatus]), self.dice.randrange(3)
        raw, error = self.value() if shape == 1 else None, self.code() if shape == 2 else None
        ours = apdus.ActResult(invoke, code, raw, error, **flags)
        if self.holes:
            return self.case(ours)
        status = enums.ActionResultStatus(code)
        if shape == 0:
            return self.case(ours, xdlms.ActionResponseNormal(status, self.theirs_head))
        if shape == 1:
            return self.case(ours, xdlms.ActionResponseNormalWithData(status, raw, self.theirs_head))
        return self.case(
            ours, xdlms.ActionResponseNormalWithError(status, enums.DataAccessResult(error), self.theirs_head)
        )

    def others(self) -> Case:
        """Kinds that only we know."""
        invoke, flags = self.head
        (target, _), block = self.target(), apdus.Block(self.chance(0.5), self.number(32), self.block())
        raw = self.value()
        return self.unknown(self.dice.choice((
            apdus.SetFirst(invoke, target, None, block, **flags), apdus.SetNext(invoke, block, **flags),
            apdus.SetList(invoke, ((target, None),), (raw,), **flags), apdus.SetListFirst(invoke, ((target, None),), block, **flags),
            apdus.SetAck(invoke, block.number, **flags), apdus.SetLast(invoke, (0,), block.number, **flags),
            apdus.SetLast(invoke, (0, 3), block.number, True, **flags), apdus.SetResults(invoke, (0, 3), **flags),
            apdus.ActNext(invoke, block.number, **flags), apdus.ActNext(invoke, block.number, True, **flags),
            apdus.ActList(invoke, (target,), (raw,), **flags), apdus.ActFirst(invoke, target, block, **flags),
            apdus.ActListFirst(invoke, (target,), block, **flags), apdus.ActBlock(invoke, block, **flags),
            apdus.ActBlock(invoke, block, True, **flags), apdus.ActResults(invoke, ((0, raw, None), (3, None, None)), **flags),
            apdus.EventNotification(None, target, raw), apdus.GeneralBlock(block.last, True, 3, 1, 0, block.raw),
        )))  # fmt: skip

    # not asked for, and saying no

    def notification(self) -> Case:
        status = self.dice.choice((0, 0x10, 0x20, 0x40, 0x80))
        reserved = self.dice.randrange(1, 16) if self.reserved else 0
        invoke, raw = self.number(24), self.value()
        head = LongInvokeIdAndPriority(invoke, status == 0x80, status == 0x40, status == 0x10, status == 0x20)
        clock, utc, zone = a_clock(self.dice)
        if self.chance(0.3):
            ours = apdus.DataNotification(invoke, None, raw, status | reserved)
            theirs, read, writes = xdlms.DataNotification(head, None, raw), None, apdus.encode(ours)
        elif self.chance(0.1):
            ours = apdus.DataNotification(invoke, clock[:3] + b"\xff" + clock[4:], raw, status | reserved)
            return Case(ours, None, {"wildcard time"}, (TypeError, ValueError))
        else:
            ours, naive = apdus.DataNotification(invoke, clock, raw, status | reserved), Counter[str]()
            theirs = xdlms.DataNotification(head, aware(utc, zone), raw)
            read = xdlms.DataNotification(head, as_read(aware(utc, zone), naive), raw)
            self.holes |= {"notification time", "weekday"} | set(naive)
            written = apdus.encode(ours)
            writes = written[:5] + b"\x01" + library_clock(clock) + raw
        if reserved:
            self.holes.add("reserved bits")
            writes = writes[:1] + bytes((writes[1] & 0xF0,)) + writes[2:]
        return Case(ours, theirs, self.holes, read, writes if self.holes else None)

    def exception(self) -> Case:
        state, service = self.code([1, 2]), self.code([1, 2, 3, 4, 5, 6, 6])
        counter = (
            self.dice.choice((0, 1, 255, 256, self.number(32)))
            if service == apdus.INVOCATION_COUNTER_ERROR
            else None
        )
        ours = apdus.ExceptionResponse(state, service, counter)
        if self.holes:
            return Case(ours, None, self.holes, self.reads)
        theirs = xdlms.ExceptionResponse(
            enums.StateException(state), enums.ServiceException(service), counter
        )
        if counter is None:
            return Case(ours, theirs)
        written = apdus.encode(ours)[:3] + (bytes((counter,)) if 0 < counter < 256 else b"")
        return Case(ours, theirs, {"counter"}, None, (ValueError,) if counter > 255 else written)


def plain_clocks(apdu: Any, selector: RangeSelector) -> bytes:
    """Our bytes with both date-times as the library writes them."""
    raw = apdus.encode(apdu)
    for when in (selector.begin, selector.end):
        clock = values.encode_clock(when, selector.zone)
        raw = raw.replace(clock, library_clock(clock))
    return raw


KINDS = (
    Maker.get_normal, Maker.get_normal, Maker.get_next, Maker.get_list, Maker.get_list, Maker.get_response, Maker.get_error,
    Maker.get_block, Maker.get_results, Maker.set_normal, Maker.set_result, Maker.act_normal, Maker.act_result, Maker.others,
    Maker.notification, Maker.notification, Maker.exception,
)  # fmt: skip


def check_service_error(dice: random.Random, seen: Seen) -> None:
    """Ours reads them as words and writes none."""
    number = dice.randrange(11)
    kind = (
        enums.TaskError if number == 9 else xdlms.confirmed_service_error.ErrorFactory.ERROR_TYPE_MAP[number]
    )
    error, service = dice.choice(list(kind)), dice.choice((1, 5, 6))
    raw = bytes((14, service, number, error))
    name = error.name.lower().replace("_", "-")
    assert apdus.decode(raw) == apdus.ConfirmedServiceError(f"{kind.__name__}: {name}")
    got = outcome(xdlms.ConfirmedServiceError.from_bytes, raw)
    written = outcome(xdlms.ConfirmedServiceError(error).to_bytes)
    if number in (8, 9):
        seen["task error"] += 1
        assert got == (ValueError if error else xdlms.ConfirmedServiceError(enums.DataScopeError.OTHER))
        assert written == (KeyError if number == 9 else bytes((14, 1, 9, 0)))
        return
    seen["error service"] += service != 1
    assert (got, written) == (xdlms.ConfirmedServiceError(error), bytes((14, 1)) + raw[2:])
    assert type(got.error) is kind


def check_apdu(dice: random.Random, seen: Seen, number: int) -> None:
    turn = number % (len(KINDS) + 1)
    if turn == len(KINDS):
        check_service_error(dice, seen)
        return
    maker = Maker(dice)
    check(KINDS[turn](maker), maker.zone, seen)


def test_apdus() -> None:
    compare("apdus", 28, check_apdu, APDUS)
