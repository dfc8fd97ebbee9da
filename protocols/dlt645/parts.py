"""One frame byte by byte: what each range is, for a person who looks at the hex. describe.py says the same by name."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Final

from protocols.dlt645 import blocks, requests, security, values
from protocols.dlt645.device import fits
from protocols.dlt645.edition2007 import decode
from protocols.dlt645.exchange import error_code
from protocols.dlt645.fields import SEPARATOR, Value, decode_field, size_of
from protocols.dlt645.frame import WAKE_UP, Frame
from protocols.dlt645.items import Field, item
from protocols.dlt645.status import REPORT_WORD, doubts, explain, reported
from protocols.dlt645.words import (
    COMMANDS,
    CONTROL_DONE_BITS,
    FUNCTIONS,
    LEVELS,
    OUTPUTS,
    SEALED,
    baud_rate,
    bit_names,
)
from protocols.errors import FrameError
from protocols.part import MASK, Part

STATUS_WORDS: Final = range(0x04000501, 0x04000508)
STATUS_BLOCK: Final = 0x040005FF
PASSWORDS: Final = range(0x04000C01, 0x04000C0B)
BAUD_WORDS: Final = range(0x04000701, 0x04000706)
#: Functions whose unexplained bytes may hold a password or a challenge.
SECRET_FUNCTIONS: Final = (
    requests.SECURITY, requests.WRITE, requests.PASSWORD, requests.RESET_DEMAND, requests.CLEAR_METER,
    requests.CLEAR_EVENTS, requests.CONTROL,
)  # fmt: skip


def parts(raw: bytes, *, reveal: bool = False) -> list[Part]:
    """Every byte of one frame, in order. Errors as `describe`; secrets only with `reveal`."""
    frame = decode(raw)
    wake = len(raw) - len(raw.lstrip(bytes((WAKE_UP,))))
    data, end = wake + 10, len(raw) - 2
    way = "meter to master" if frame.from_meter else "master to meter"
    state = ", refused" if frame.error else ", more follows" if frame.more and frame.from_meter else ""
    function, function_zh = FUNCTIONS.get(frame.function, (f"function {frame.function:02X}H", "未知功能"))
    told = [
        Part(0, wake, "wake-up", "唤醒字节"),
        Part(wake, wake + 1, "start", "帧起始符"),
        Part(wake + 1, wake + 7, "address", "地址域", frame.address),
        Part(wake + 7, wake + 8, "start", "帧起始符"),
        Part(wake + 8, wake + 9, "control code", "控制码", f"{way}, {function} {function_zh}{state}"),
        Part(
            wake + 9,
            wake + 10,
            "length",
            "数据域长度",
            f"{len(frame.data)} bytes of data, each sent with 33H added",
        ),
        *_Data(frame, data, reveal).told(),
        Part(end, end + 1, "checksum", "校验码", "right"),
        Part(end + 1, end + 2, "end", "结束符"),
    ]
    return [part for part in told if part.start < part.end]


class _Data:
    """Walks the data field and names what it passes."""

    def __init__(self, frame: Frame, base: int, reveal: bool) -> None:
        self.frame = frame
        self.data = frame.data
        self.base = base
        self.reveal = reveal
        self.at = 0

    def told(self) -> Iterator[Part]:
        frame = self.frame
        table = _ANSWERS if frame.from_meter else _REQUESTS
        teller = _error if frame.error else table.get(frame.function)
        shaped = frame.error or frame.from_meter or fits(frame) or frame.function == requests.FOLLOW
        if teller is not None and shaped:
            yield from teller(self)
        hidden = not frame.error and frame.function in SECRET_FUNCTIONS and self.at == 0
        hidden &= not frame.from_meter or frame.function in (requests.SECURITY, requests.PASSWORD)
        yield from self.rest(secret=hidden)

    def left(self) -> bytes:
        return self.data[self.at :]

    def next(
        self, size: int, name: str, name_zh: str, meaning: str = "", *, level: int = 1, secret: bool = False
    ) -> Part:
        """The next `size` bytes as one Part."""
        start, self.at = self.at, self.at + size
        shown = MASK if secret and not self.reveal else meaning
        return Part(self.base + start, self.base + self.at, name, name_zh, shown, level)

    def rest(self, why: str = "not taken apart", *, secret: bool = False) -> Iterator[Part]:
        if left := self.left():
            yield self.next(len(left), "data", "数据", f"{left.hex()} ({why})", secret=secret)

    def identifier(self) -> Iterator[Part]:
        di = int.from_bytes(self.left()[:4], "little")
        found = item(di)
        name = f"{found.name_en} {found.name_zh}" if found else "not in the table"
        yield self.next(4, "data identifier", "数据标识", f"{di:08X} {name}")

    def authority(self) -> Iterator[Part]:
        level, password, operator = requests.split_authority(self.left())
        yield self.next(1, "password level", "密码级别", f"{level:02X}H {LEVELS.get(level, 'clear text')}")
        yield self.next(3, "password", "密码", password, secret=True)
        yield self.next(4, "operator code", "操作者代码", operator, secret=True)

    def values(self, di: int) -> Iterator[Part]:
        """What is left, as the values of an item; as it is if it does not fit."""
        found, data = item(di), self.left()
        if found is None or not data:
            yield from self.rest(secret=False)
        elif di in PASSWORDS:
            yield from self.rest(secret=True)
        else:
            try:
                yield from _blocks(self, data) if found.form == "load-record" else _fields(self, di, data)
            except FrameError as error:
                yield from self.rest(f"does not fit: {error}")


def _identified(data: _Data) -> int:
    """The DI that was just passed."""
    return int.from_bytes(data.data[data.at - 4 : data.at], "little")


# --- values ---


def _fields(data: _Data, di: int, raw: bytes) -> Iterator[Part]:
    begin = data.at
    laid = [(place, list(values.value_of(place, raw))) for place in values.places(di, raw)]
    for place, found in laid:
        if data.at < begin + place.start:
            yield from _separators(data, begin + place.start - data.at)
        word = _word(di, place, found[0])
        meaning = word or ", ".join(_shown(value) for value in found)
        yield data.next(
            place.end - place.start, place.field.name, place.field.name_zh or "数值", meaning, level=2
        )
    yield from _separators(data, len(data.left()))


def _separators(data: _Data, count: int) -> Iterator[Part]:
    for _ in range(count):
        yield data.next(1, "separator", "分隔符", level=2)


def _word(di: int, place: values.Place, value: Value) -> str:
    """A binary field in words; "" for any other."""
    if place.field.form[0] != "H" or not isinstance(value.value, int):
        return ""
    word = value.value
    says: list[str] = []
    if di in STATUS_WORDS or di == STATUS_BLOCK:
        number = di & 0xFF if di in STATUS_WORDS else place.start // 2 + 1
        says = [f"{flag.name_en} {flag.name_zh}: {text}" for flag, text in explain(number, word)]
        says += doubts(number, word)
    elif di == REPORT_WORD:
        says = [f"B{bit.bit} {bit.name_en} {bit.name_zh}" for bit in reported(word)] or ["nothing new"]
    elif di in BAUD_WORDS and baud_rate(word):
        says = [f"{baud_rate(word)} bit/s"]
    return f"{word:0{2 * (place.end - place.start)}X}H" + (f" ({'; '.join(says)})" if says else "")


def _shown(value: Value) -> str:
    if value.value is None:
        return "missing"
    return f"{value.value} {value.unit}".rstrip()


def _blocks(data: _Data, raw: bytes) -> Iterator[Part]:
    """Load records. All of them are checked before the first is named."""
    found = blocks.decode_blocks(raw)
    at = 0
    for number, block in enumerate(found, 1):
        end = blocks.block_end(raw, at)
        faulty = ", marked faulty by the meter" if block.faulty else ""
        yield data.next(
            2, f"record {number} start", f"记录块{number}起始码", f"load record {number}{faulty}", level=2
        )
        yield data.next(1, "record length", "记录长度", str(raw[at + 2]), level=3)
        time = (
            block.time.isoformat(" ", "minutes") if isinstance(block.time, dt.datetime) else "never written"
        )
        yield data.next(5, "time", "记录存储时间", time, level=3)
        body = raw[at + blocks.HEAD : end - blocks.TAIL]
        if block.faulty and body:
            yield data.next(len(body), "record data", "记录数据", "of no use", level=3)
        elif body:
            yield from _classes(data, body)
        yield data.next(1, "record sum", "记录累加校验码", level=3)
        yield data.next(1, "record end", "记录结束码", level=3)
        at = end


def _classes(data: _Data, body: bytes) -> Iterator[Part]:
    inside: dict[int, tuple[int, Field]] = {}
    for number, start in blocks.sections(body).items():
        for field in blocks.class_fields()[number]:
            inside[start] = number, field
            start += size_of(field.form)  # noqa: PLW2901 - walks on
    at = 0
    while at < len(body):
        if at in inside:
            number, field = inside[at]
            size = size_of(field.form)
            meaning = ", ".join(_shown(value) for value in decode_field(field, body[at : at + size]))
            yield data.next(size, field.name, field.name_zh, f"class {number}: {meaning}", level=3)
            at += size
        else:
            assert body[at] == SEPARATOR
            yield data.next(1, "separator", "分隔符", level=3)
            at += 1


# --- requests ---


def _read(data: _Data) -> Iterator[Part]:
    yield from data.identifier()
    left = data.left()
    if data.data[3] != 0x06 or not left:
        return
    try:
        count, start = blocks.decode_request(left)
    except FrameError as error:
        yield from data.rest(f"does not fit: {error}")
        return
    yield data.next(1, "number of blocks", "负荷记录块数", str(count))
    if start is not None:
        yield data.next(5, "from", "给定时间", start.isoformat(" ", "minutes"))


def _follow(data: _Data) -> Iterator[Part]:
    if len(data.data) == 5:
        yield from data.identifier()
        yield data.next(1, "sequence number", "帧序号", str(data.data[4]))


def _time(data: _Data) -> Iterator[Part]:
    yield data.next(6, "time", "时间", stamp(data.data))


def _write(data: _Data) -> Iterator[Part]:
    yield from data.identifier()
    di = _identified(data)
    yield from data.authority()
    level = data.data[4]
    if level in LEVELS and len(data.left()) > security.MAC_BYTES:
        body = data.left()[: -security.MAC_BYTES]
        if level == SEALED:
            yield data.next(len(body), "data", "数据", f"enciphered, {len(body)} bytes")
        else:
            yield data.next(len(body), "data", "数据", body.hex())
        yield data.next(security.MAC_BYTES, "MAC", "MAC", data.left().hex())
    else:
        yield from data.values(di)


def _address(data: _Data) -> Iterator[Part]:
    if len(data.data) == 6:
        yield data.next(6, "communication address", "通信地址", data.data[::-1].hex().upper())


def _freeze(data: _Data) -> Iterator[Part]:
    yield data.next(4, "freeze time", "冻结时间", f"{data.data[::-1].hex()} (MMDDhhmm, 99 for every)")


def _baud(data: _Data) -> Iterator[Part]:
    if len(data.data) == 1:
        rate = baud_rate(data.data[0])
        yield data.next(1, "baud word", "通信速率特征字", f"{rate} bit/s" if rate else "no known rate")


def _password(data: _Data) -> Iterator[Part]:
    yield from data.identifier()
    yield data.next(1, "password level", "原密码级别", str(data.left()[0]))
    yield data.next(3, "password", "原密码", data.left()[2::-1].hex(), secret=True)
    yield from _new_password(data)


def _new_password(data: _Data) -> Iterator[Part]:
    if len(data.left()) == 4:
        yield data.next(1, "new password level", "新密码级别", str(data.left()[0]))
        yield data.next(3, "new password", "新密码", data.left()[::-1].hex(), secret=True)


def _reset(data: _Data) -> Iterator[Part]:
    yield from data.authority()
    yield from data.rest("enciphered")


def _clear(data: _Data) -> Iterator[Part]:
    yield from data.authority()
    if data.left()[:4] == b"\xff\xff\xff\xff":
        yield data.next(4, "data identifier", "数据标识", "FFFFFFFF all events 全部事件")
    else:
        yield from data.identifier()
    yield from data.rest("enciphered")


def _control(data: _Data) -> Iterator[Part]:
    yield from data.authority()
    left = data.left()
    if data.data[0] == SEALED and len(left) == requests.SEALED_BYTES:
        yield data.next(security.SEALED_CONTROL_BYTES, "command", "控制命令", "N1 to N8, enciphered 密文")
        yield data.next(security.MAC_BYTES, "MAC", "MAC", left[security.SEALED_CONTROL_BYTES :].hex())
    elif data.data[0] != SEALED and len(left) == 8:
        yield data.next(
            1, "N1 command", "N1 控制命令类型", f"{left[0]:02X}H {COMMANDS.get(left[0], 'unknown command')}"
        )
        delay = f"returns after {5 * left[1]} min" if left[0] in (0x1D, 0x1E) else ""
        yield data.next(1, "N2", "N2", delay)
        yield data.next(6, "valid until", "命令有效截止时间", stamp(left[2:]))


def _output(data: _Data) -> Iterator[Part]:
    yield data.next(1, "output signal", "多功能端子输出", OUTPUTS.get(data.data[0], "unknown signal"))


def _security_request(data: _Data) -> Iterator[Part]:
    yield from data.identifier()
    di = _identified(data)
    yield data.next(4, "operator code", "操作者代码", data.left()[3::-1].hex(), secret=True)
    yield from _security(data, di, answer=False)


def _security_answer(data: _Data) -> Iterator[Part]:
    if len(data.data) >= 4:
        yield from data.identifier()
        yield from _security(data, _identified(data), answer=True)


def _security(data: _Data, di: int, *, answer: bool) -> Iterator[Part]:
    left = data.left()
    for piece in security.layout(di, len(left), answer=answer):
        meaning = left[piece.start : piece.end].hex()
        yield data.next(piece.end - piece.start, piece.name, piece.name_zh, meaning, secret=True)


# --- answers ---


def _read_answer(data: _Data) -> Iterator[Part]:
    if len(data.data) < 4:
        return
    yield from data.identifier()
    di = _identified(data)
    if not data.frame.more:
        yield from data.values(di)
    elif left := data.left():
        yield data.next(
            len(left), "data", "数据", f"{left.hex()} (the beginning: more follows)", secret=di in PASSWORDS
        )


def _follow_answer(data: _Data) -> Iterator[Part]:
    if len(data.data) < 5:
        return
    yield from data.identifier()
    if part := data.left()[:-1]:
        yield data.next(len(part), "data", "数据", f"{part.hex()} (continued)")
    yield data.next(1, "sequence number", "帧序号", str(data.data[-1]))


def _control_answer(data: _Data) -> Iterator[Part]:
    if len(data.data) == 2:
        word = int.from_bytes(data.data, "little")
        says = ", ".join(bit_names(word, CONTROL_DONE_BITS))
        yield data.next(2, "execution word", "控制命令执行状态字", f"{word:04X}H {says}".rstrip())


def _error(data: _Data) -> Iterator[Part]:
    try:
        code, names = error_code(data.frame)
    except FrameError:
        return
    size = len(data.data)
    bare = "" if code == int.from_bytes(data.data, "little") else " (sent without the 33H)"
    yield data.next(size, "error word", "错误信息字", f"{code:0{2 * size}X}H {', '.join(names)}{bare}")


def stamp(raw: bytes) -> str:
    """ss mm hh DD MM YY as it stands: in a command it need not be a date."""
    year, month, day, hour, minute, second = (f"{byte:02x}" for byte in raw[::-1])
    return f"20{year}-{month}-{day} {hour}:{minute}:{second}"


_Teller = Callable[[_Data], Iterator[Part]]
_REQUESTS: Final[dict[int, _Teller]] = {
    requests.SECURITY: _security_request,
    requests.TIME: _time,
    requests.READ: _read,
    requests.FOLLOW: _follow,
    requests.WRITE: _write,
    requests.WRITE_ADDRESS: _address,
    requests.FREEZE: _freeze,
    requests.BAUD: _baud,
    requests.PASSWORD: _password,
    requests.RESET_DEMAND: _reset,
    requests.CLEAR_METER: _reset,
    requests.CLEAR_EVENTS: _clear,
    requests.CONTROL: _control,
    requests.OUTPUT: _output,
}
_ANSWERS: Final[dict[int, _Teller]] = {
    requests.SECURITY: _security_answer,
    requests.READ: _read_answer,
    requests.FOLLOW: _follow_answer,
    requests.ADDRESS: _address,
    requests.BAUD: _baud,
    requests.PASSWORD: _new_password,
    requests.CONTROL: _control_answer,
}
