"""One frame range by range: what every byte of it is, for a person who looks at the hex."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from protocols.gdw376.forms import Event, Value
from protocols.gdw376.frame import BODY_AT, EC_SIZE, OVERHEAD, PW_SIZE, Frame, decode
from protocols.gdw376.items import events, item
from protocols.gdw376.spelling import in_chinese, only_reads, plain
from protocols.gdw376.units import SIZE, Ident
from protocols.gdw376.values import Unit, placed_units
from protocols.gdw376.walk import walk
from protocols.gdw376.words import AFN_NAMES
from protocols.part import MASK, Part

#: Ranges inside the data field that one frame is taken apart to: as many fields as describe.py spells out. What is longer is one
#: range at the end, so that a frame of 16,000 tiny fields costs no more than a long one of the field.
PART_LIMIT: Final = 800


def parts(raw: bytes, *, reveal: bool = False) -> list[Part]:
    """Parts from 0 to len(raw). Level 0 the frame, 1 the data units, 2 their fields, 3 the fields of an event record.

    FrameError if the frame is corrupt. Passwords only with `reveal`. A forwarded frame (AFN 10) is one range: whose it is
    the registry knows.
    """
    frame = decode(raw)
    found = list(_head(raw, frame))
    body_end = BODY_AT + len(frame.body)
    for part in _body(frame, reveal):
        if len(found) >= PART_LIMIT and part.start < body_end:
            left = body_end - part.start
            found.append(
                Part(part.start, body_end, "further data", "其余数据", f"{left} bytes, not spelled out", 1)
            )
            break
        found.append(part)
    return found + list(_tail(raw, frame, body_end, reveal))


def _head(raw: bytes, frame: Frame) -> Iterator[Part]:
    length = len(raw) - OVERHEAD
    yield Part(0, 1, "start", "起始字符")
    yield Part(1, 3, "length L", "长度L", f"{length} bytes from C on, protocol id {frame.protocol}")
    yield Part(3, 5, "length L again", "长度L（重复）", f"{length} bytes")
    yield Part(5, 6, "start", "起始字符")
    yield Part(6, 7, "control field C", "控制域C", _control(frame))
    address = frame.address
    yield Part(7, 9, "region A1", "行政区划码A1", address.region)
    kind = (
        "all terminals" if address.group and address.terminal == 0xFFFF else "group" if address.group else ""
    )
    yield Part(9, 11, "terminal A2", "终端地址A2", f"{address.terminal:04X}H {kind}".strip())
    yield Part(
        11,
        12,
        "master A3",
        "主站地址和组地址标志A3",
        f"MSA {address.master}{', group address' if address.group else ''}",
    )
    english, chinese = AFN_NAMES.get(frame.afn, ("unknown", "未知"))
    yield Part(12, 13, "AFN", "应用层功能码AFN", f"{frame.afn:02X}H {english} {chinese}")
    flags = _set(TpV=frame.tp is not None, FIR=frame.first, FIN=frame.final, CON=frame.confirm)
    yield Part(13, 14, "sequence SEQ", "帧序列域SEQ", " ".join([*flags, f"number {frame.number}"]))


def _set(**flags: bool) -> list[str]:
    return [name for name, on in flags.items() if on]


def _control(frame: Frame) -> str:
    way = "terminal to master" if frame.uplink else "master to terminal"
    flags = _set(PRM=frame.primary, ACD=frame.acd, FCB=frame.fcb, FCV=frame.fcv)
    return ", ".join([way, *flags, f"function {frame.function}"])


def _tail(raw: bytes, frame: Frame, at: int, reveal: bool) -> Iterator[Part]:
    if frame.pw:
        shown = frame.pw.hex() if reveal else MASK
        yield Part(at, at + PW_SIZE, "authentication code PW", "消息认证码PW", shown)
        at += PW_SIZE
    if frame.ec is not None:
        yield Part(
            at, at + EC_SIZE, "event counters EC", "事件计数器EC", f"EC1 {frame.ec[0]}, EC2 {frame.ec[1]}"
        )
        at += EC_SIZE
    if frame.tp is not None:
        second, minute, hour, day = (f"{byte:02x}" for byte in frame.tp.stamp)
        yield Part(at, at + 1, "Tp frame counter PFC", "启动帧帧序号计数器PFC", str(frame.tp.pfc))
        yield Part(
            at + 1, at + 5, "Tp time of sending", "启动帧发送时标", f"day {day} {hour}:{minute}:{second}"
        )
        allowed = f"{frame.tp.delay} min" if frame.tp.delay else "not limited"
        yield Part(at + 5, at + 6, "Tp permitted delay", "允许发送传输延时时间", allowed)
        at += 6
    yield Part(at, at + 1, "checksum CS", "校验和CS", "correct")
    yield Part(at + 1, at + 2, "end", "结束字符")


# --- the data units ---


def _body(frame: Frame, reveal: bool) -> Iterator[Part]:
    at = BODY_AT
    for unit, start in placed_units(frame.afn, frame.body, uplink=frame.uplink, base=BODY_AT):
        begin = BODY_AT + start
        if begin > at:
            yield from _identifier(frame, at, begin)
        at = begin + len(unit.data)
        if unit.data:
            yield from _unit(unit, begin, reveal)


def _identifier(frame: Frame, at: int, end: int) -> Iterator[Part]:
    """DA and DT; they stand alone where they name nothing."""
    ident = Ident(frame.body[at - BODY_AT : end - BODY_AT])
    points = (
        "all valid points"
        if ident.all_points
        else ", ".join(f"p{n}" for n in ident.points) or "names no point"
    )
    yield Part(at, at + SIZE // 2, "data unit DA", "信息点标识DA", points, 1)
    functions = ", ".join(f"F{n}" for n in ident.functions) or "names no function"
    found = item(frame.afn, ident.functions[0]) if len(ident.functions) == 1 else None
    if found is not None and frame.afn == 0x0A:
        found = item(0x04, found.function)
    named = f"{functions} {found.name_en} {found.name_zh}" if found else functions
    yield Part(at + SIZE // 2, end, "data unit DT", "信息类标识DT", named.rstrip(), 1)


def _unit(unit: Unit, begin: int, reveal: bool) -> Iterator[Part]:
    end = begin + len(unit.data)
    if not unit.known:
        hidden = unit.secret and not reveal
        yield Part(begin, end, "data area", "数据内容", MASK if hidden else unit.why, 1)
        return
    half: Value | None = None
    for value, start, stop in unit.walk():
        if isinstance(value.value, Event):
            yield from _event(value.value, begin + start, reveal)
        elif start == stop and value.field.form == "HI4":
            half = value
        elif start < stop:
            yield _field(value, begin + start, begin + stop, 2, reveal, half)
            half = None


def _field(value: Value, start: int, end: int, level: int, reveal: bool, half: Value | None = None) -> Part:
    """One field; with the upper half of its byte where it is the lower one."""
    name, chinese, meaning = value.name, in_chinese(value.name), _meaning(value, reveal)
    if half is not None:
        meaning = f"{half.name} {_meaning(half, reveal)}, {name} {meaning}"
        name, chinese = f"{half.name}, {name}", f"{in_chinese(half.name)}、{chinese}"
    return Part(start, end, name, chinese, meaning, level)


def _meaning(value: Value, reveal: bool) -> str:
    if value.secret and not reveal and not (isinstance(value.value, bytes) and only_reads(value.value)):
        return MASK
    told: Any = plain(value)
    shown = "not decimal digits, or no date" if told is None else str(told)
    by = "× " if value.unit[:1].isdecimal() else ""  # units of 10 ms, of half an hour
    return f"{shown} {by}{value.unit}".rstrip()


def _event(event: Event, begin: int, reveal: bool) -> Iterator[Part]:
    kind = events().get(event.erc)
    named = f"{event.erc} {kind.name_en} {kind.name_zh}" if kind else f"{event.erc} unknown"
    yield Part(begin, begin + 1, "event code ERC", "事件代码ERC", named, 2)
    yield Part(begin + 1, begin + 2, "record length Le", "长度Le", f"{len(event.data)} bytes", 2)
    at, end = begin + 2, begin + 2 + len(event.data)
    if event.values and kind:
        # `values` may be fewer than the record has; walk stops with them
        for value, (_, start, stop) in zip(event.values, walk(kind.layout, event.data), strict=False):
            yield _field(value, begin + 2 + start, begin + 2 + stop, 3, reveal)
            at = begin + 2 + stop
    if at < end:
        hidden = event.secret and not reveal
        why = "no part of the layout" if event.values else "not laid out, or too short for its layout"
        yield Part(at, end, "record content", "事件内容", MASK if hidden else why, 3)
