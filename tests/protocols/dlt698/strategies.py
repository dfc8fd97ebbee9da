"""Generated values of every type, and APDUs of every service in the table."""

import struct

from hypothesis import strategies as st

from protocols.dlt698 import apdu as apdus
from protocols.dlt698 import frame as frames
from protocols.dlt698 import values
from protocols.dlt698.apdu import (
    ActItem,
    ActResult,
    Apdu,
    GetRecord,
    RecordResult,
    Reply,
    Result,
    RnMac,
    SetItem,
    SetResult,
    Signature,
    Target,
    TimeTag,
)
from protocols.dlt698.frame import Address
from protocols.dlt698.values import Comdcb, Data, Ms, Range, Region, Road, Rsd, ScalerUnit, Sid, SidMac, Ti
from protocols.dlt698.wire import Chosen

U8, U16, U32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
SHORT = st.binary(max_size=20)


def ints(code):
    size = 8 * struct.calcsize(code)
    return (
        st.integers(0, 2**size - 1)
        if code.isupper()
        else st.integers(-(2 ** (size - 1)), 2 ** (size - 1) - 1)
    )


LEAVES = st.one_of(
    st.just(Data(values.NULL)),
    st.booleans().map(lambda v: Data(values.BOOL, v)),
    st.text("01", max_size=40).map(lambda v: Data(values.BIT_STRING, v)),
    *[
        ints(code[1]).map(lambda v, tag=tag: Data(tag, v))
        for tag, code in values.NUMBERS.items()
        if code[1] not in "fd"
    ],
    st.floats(width=32, allow_nan=False).map(lambda v: Data(values.FLOAT32, v)),
    st.floats(allow_nan=False).map(lambda v: Data(values.FLOAT64, v)),
    *[
        SHORT.map(lambda v, tag=tag: Data(tag, v))
        for tag in (values.OCTET_STRING, values.TSA, values.MAC, values.RN)
    ],
    st.text(st.characters(max_codepoint=127), max_size=20).map(lambda v: Data(values.VISIBLE_STRING, v)),
    st.text(max_size=20).map(lambda v: Data(values.UTF8_STRING, v)),
    *[
        st.binary(min_size=size, max_size=size).map(lambda v, tag=tag: Data(tag, v))
        for tag, size in ((values.DATE_TIME, 10), (values.DATE, 5), (values.TIME, 3), (values.DATE_TIME_S, 7))
    ],
)
OADS = st.lists(U32, max_size=4).map(tuple)
ROADS = st.builds(Road, U32, OADS)
CSDS = st.one_of(U32, ROADS)
TIS = st.builds(Ti, U8, U16)
SIDS = st.builds(Sid, U32, SHORT)
REGIONS = st.builds(Region, U8, LEAVES, LEAVES)
RANGES = st.builds(Range, U32, LEAVES, LEAVES, LEAVES)
METERS = st.one_of(
    st.builds(Ms, st.integers(0, 1)),
    st.builds(Ms, st.just(2), st.lists(U8, max_size=4).map(tuple)),
    st.builds(Ms, st.just(3), st.lists(SHORT, max_size=4).map(tuple)),
    st.builds(Ms, st.just(4), st.lists(U16, max_size=4).map(tuple)),
    st.builds(Ms, st.integers(5, 7), st.lists(REGIONS, max_size=3).map(tuple)),
)
S7 = st.binary(min_size=7, max_size=7)
RSDS = st.one_of(
    st.just(Rsd(0)),
    st.builds(Rsd, st.just(1), U32, LEAVES),
    st.builds(Rsd, st.just(2), ranges=st.tuples(RANGES)),
    st.builds(Rsd, st.just(3), ranges=st.lists(RANGES, max_size=3).map(tuple)),
    st.builds(Rsd, st.integers(4, 5), time=S7, meters=METERS),
    st.builds(Rsd, st.integers(6, 8), time=S7, until=S7, every=TIS, meters=METERS),
    st.builds(Rsd, st.just(9), count=U8),
    st.builds(Rsd, st.just(10), count=U8, meters=METERS),
)
COMPOUND = st.one_of(
    ROADS.map(lambda v: Data(values.ROAD, v)),
    TIS.map(lambda v: Data(values.TI, v)),
    REGIONS.map(lambda v: Data(values.REGION, v)),
    st.builds(ScalerUnit, st.integers(-128, 127), U8).map(lambda v: Data(values.SCALER_UNIT, v)),
    RSDS.map(lambda v: Data(values.RSD, v)),
    CSDS.map(lambda v: Data(values.CSD, v)),
    METERS.map(lambda v: Data(values.MS, v)),
    SIDS.map(lambda v: Data(values.SID, v)),
    st.builds(SidMac, SIDS, SHORT).map(lambda v: Data(values.SID_MAC, v)),
    st.builds(Comdcb, U8, U8, U8, U8, U8).map(lambda v: Data(values.COMDCB, v)),
    st.lists(CSDS, max_size=4).map(lambda v: Data(values.RCSD, tuple(v))),
)
DATA = st.recursive(
    LEAVES | COMPOUND,
    lambda inner: st.builds(
        Data, st.sampled_from((values.ARRAY, values.STRUCTURE)), st.lists(inner, max_size=6).map(tuple)
    ),
    max_leaves=20,
)

ADDRESSES = st.builds(
    lambda raw, kind, logical: Address(raw.hex().upper(), kind, logical),
    st.binary(min_size=1, max_size=15), st.integers(0, 3), st.sampled_from((0, 1, 2, 7, 255)),
)  # fmt: skip


def some(inner):
    return st.lists(inner, max_size=4).map(tuple)


RESULTS = st.one_of(st.builds(Result, U32, U8), st.builds(Result, U32, st.just(0), DATA))


@st.composite
def records(draw):
    columns = draw(some(CSDS))
    if draw(st.booleans()):
        return RecordResult(draw(U32), columns, draw(U8), None)
    width = RecordResult(0, columns).width
    rows = draw(st.lists(st.tuples(*[LEAVES] * width), max_size=3)) if width else []
    return RecordResult(draw(U32), columns, 0, tuple(rows))


GETS = st.builds(GetRecord, U32, RSDS, some(CSDS))
SETS = st.builds(SetItem, U32, DATA)
SET_GETS = st.builds(SetItem, U32, DATA, U32, U8)
SET_DONE = st.builds(SetResult, U32, U8)
SET_GOT = st.builds(SetResult, U32, U8, RESULTS)
ACTS = st.builds(ActItem, U32, DATA)
ACT_GETS = st.builds(ActItem, U32, DATA, U32, U8)
ACT_DONE = st.builds(ActResult, U32, U8, st.none() | DATA)
ACT_GOT = st.builds(ActResult, U32, U8, st.none() | DATA, RESULTS)
LINES = st.builds(
    Comdcb, st.integers(0, 10), st.integers(0, 2), st.integers(5, 8), st.integers(1, 2), st.integers(0, 2)
)
#: What a TSA holds when it is in order: the first byte counts the others.
TSAS = ADDRESSES.filter(lambda a: a.logical < 2).map(frames.tsa)
S10 = st.binary(min_size=10, max_size=10)
TERMS = {
    "protocol_version": U16, "protocol_conformance": st.binary(min_size=8, max_size=8),
    "function_conformance": st.binary(min_size=16, max_size=16), "tx_frame": U16, "rx_frame": U16, "window": U8,
    "max_apdu": U16, "timeout_s": U32,
}  # fmt: skip


def chosen(**alternatives):
    return st.one_of(
        *(st.builds(Chosen, st.just(int(key[1:])), value) for key, value in alternatives.items())
    )


def targets(item):
    return {"timeout_s": U16, "targets": some(st.builds(Target, TSAS, U16, some(item)))}


def replies(item):
    return {"replies": some(st.builds(Reply, TSAS, some(item)))}


VERIFICATIONS = chosen(
    c0=st.builds(SidMac, SIDS, SHORT), c1=SHORT, c2=st.builds(RnMac, SHORT, SHORT), c3=SIDS
)
FIELDS = {
    (0x01, None): {"request": st.integers(0, 2), "heartbeat_s": U16, "time": S10},
    (0x81, None): {"result": U8, "request_time": S10, "received_time": S10, "response_time": S10},
    (0x02, None): {**TERMS, "auth": chosen(c0=st.none(), c1=SHORT, c2=st.builds(Signature, SHORT, SHORT), c3=st.builds(Signature, SHORT, SHORT))},
    (0x82, None): {
        **{name: st.binary(min_size=size, max_size=size) for name, size in
           (("vendor", 4), ("software", 4), ("software_date", 6), ("hardware", 4), ("hardware_date", 6), ("extension", 8))},
        **TERMS, "result": U8, "security": st.none() | st.builds(RnMac, SHORT, SHORT),
    },
    (0x03, None): {}, (0x83, None): {"result": U8}, (0x84, None): {"connected": S7, "time": S7},
    (0x05, 1): {"oad": U32}, (0x05, 2): {"oads": OADS}, (0x05, 3): {"record": GETS}, (0x05, 4): {"records": some(GETS)},
    (0x05, 5): {"block": U16},
    (0x05, 6): {"oad": U32}, (0x85, 6): {"oad": U32, "content": chosen(c0=U8, c1=st.binary(min_size=16, max_size=16))},
    (0x85, 1): {"result": RESULTS}, (0x85, 2): {"results": some(RESULTS)}, (0x85, 3): {"record": records()},
    (0x85, 4): {"records": some(records())},
    (0x85, 5): {"last_block": st.integers(0, 1), "block": U16, "content": chosen(c0=U8, c1=some(RESULTS), c2=some(records()))},
    (0x06, 1): {"item": SETS}, (0x06, 2): {"items": some(SETS)}, (0x06, 3): {"items": some(SET_GETS)},
    (0x86, 1): {"result": SET_DONE}, (0x86, 2): {"results": some(SET_DONE)}, (0x86, 3): {"results": some(SET_GOT)},
    (0x07, 1): {"item": ACTS}, (0x07, 2): {"items": some(ACTS)}, (0x07, 3): {"items": some(ACT_GETS)},
    (0x87, 1): {"result": ACT_DONE}, (0x87, 2): {"results": some(ACT_DONE)}, (0x87, 3): {"results": some(ACT_GOT)},
    (0x88, 1): {"results": some(RESULTS)}, (0x88, 2): {"records": some(records())}, (0x88, 3): {"port": U32, "frames": some(SHORT)},
    (0x08, 1): {"oads": OADS}, (0x08, 2): {"oads": OADS}, (0x08, 3): {},
    (0x09, 1): targets(U32), (0x09, 2): {"timeout_s": U16, "tsa": TSAS, "record": GETS}, (0x09, 3): targets(SETS),
    (0x09, 4): targets(SET_GETS), (0x09, 5): targets(ACTS), (0x09, 6): targets(ACT_GETS),
    (0x09, 7): {"port": U32, "comdcb": LINES, "timeout_s": U16, "byte_timeout_ms": U16, "frame": SHORT},
    (0x89, 1): replies(RESULTS), (0x89, 2): {"tsa": TSAS, "record": records()}, (0x89, 3): replies(SET_DONE),
    (0x89, 4): replies(SET_GOT), (0x89, 5): replies(ACT_DONE), (0x89, 6): replies(ACT_GOT),
    (0x89, 7): {"port": U32, "content": chosen(c0=U8, c1=SHORT)},
    (0x10, None): {"content": chosen(c0=SHORT, c1=SHORT), "verification": VERIFICATIONS},
    (0x90, None): {"content": chosen(c0=SHORT, c1=SHORT, c2=U8), "verification": st.none() | chosen(c0=SHORT)},
    (0x6E, None): {"error": U8}, (0xEE, None): {"error": U8},
}  # fmt: skip
assert set(FIELDS) == set(apdus.TABLE)
FOLLOWS = st.none() | chosen(c1=some(RESULTS), c2=some(records()))
TAGS = st.none() | st.builds(TimeTag, S7, st.builds(Ti, st.integers(0, 5), U16))
_BARE = (0x01, 0x81, 0x10, 0x90)


@st.composite
def any_apdu(draw):
    code, choice = draw(st.sampled_from(sorted(FIELDS, key=str)))
    fields = draw(st.fixed_dictionaries(FIELDS[code, choice]))
    piid = None if code in (0x10, 0x90) else draw(U8)
    follow = draw(FOLLOWS) if code & 0x80 and code not in _BARE else None
    return Apdu(code, choice, piid, fields, follow, None if code in _BARE else draw(TAGS))


APDUS = any_apdu()
