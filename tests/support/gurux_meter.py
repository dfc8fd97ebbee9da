"""A second opinion on DLMS/COSEM: gurux-dlms, run as a program of its own.

    python tests/support/gurux_meter.py batch      JSON lines in, JSON lines out: one value, frame or APDU each
    python tests/support/gurux_meter.py meter …    a meter on standard input and output, as raw bytes; --help lists the options

gurux-dlms is GPL-2.0. So it is a development dependency only, nothing of ours imports it, no test process imports this file, and the
two sides meet only through a pipe.

The meter is built on gurux's framing (HDLC and wrapper), A-XDR, association PDUs and GCM. Its own server classes do not run in the
version of PyPI, 1.0.203: `GXDLMSServer.initialize` appends a list where an object must be (TypeError), `handleRequest` answers through
`GXServerReply.setReply`, which does not exist, and clears its buffer by calling an integer. So the dispatch of requests is written here.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from gurux_dlms._GXAPDU import _GXAPDU
from gurux_dlms.AesGcmParameter import AesGcmParameter
from gurux_dlms.CountType import CountType
from gurux_dlms.enums import (
    Authentication,
    Command,
    Conformance,
    DataType,
    InterfaceType,
    RequestTypes,
    Security,
)
from gurux_dlms.GXArray import GXArray
from gurux_dlms.GXBitString import GXBitString
from gurux_dlms.GXByteBuffer import GXByteBuffer
from gurux_dlms.GXCiphering import GXCiphering
from gurux_dlms.GXDateTime import GXDateTime
from gurux_dlms.GXDLMS import GXDLMS
from gurux_dlms.GXDLMSChippering import GXDLMSChippering
from gurux_dlms.GXDLMSSettings import GXDLMSSettings
from gurux_dlms.GXReplyData import GXReplyData
from gurux_dlms.GXStructure import GXStructure
from gurux_dlms.internal._GXCommon import _GXCommon
from gurux_dlms.internal._GXDataInfo import _GXDataInfo
from gurux_dlms.objects import GXDLMSProfileGeneric
from gurux_dlms.objects.enums.SecuritySuite import SecuritySuite
from gurux_dlms.secure.GXDLMSSecureClient import GXDLMSSecureClient

Tree = dict[str, Any]
#: Settings of nobody: how gurux reads and writes values when nothing was agreed on.
PLAIN = GXDLMSSettings(False, None)
CONFORMANCE = (
    Conformance.GET | Conformance.SET | Conformance.ACTION | Conformance.BLOCK_TRANSFER_WITH_GET_OR_READ
    | Conformance.BLOCK_TRANSFER_WITH_SET_OR_WRITE | Conformance.MULTIPLE_REFERENCES | Conformance.SELECTIVE_ACCESS
)  # fmt: skip
GROUPS = (DataType.ARRAY, DataType.STRUCTURE)

# --- values: {"t": tag, "v": value}, lists of the same for arrays and structures, hex for bytes ---


def write_value(tree: Tree, out: GXByteBuffer) -> None:
    """A tree through gurux's encoder; groups here, since gurux guesses the types of what is in them."""
    tag, value = DataType(tree["t"]), tree.get("v")
    if tag in GROUPS:
        out.setUInt8(tag)
        _GXCommon.setObjectCount(len(value), out)
        for item in value:
            write_value(item, out)
    else:
        if tag == DataType.OCTET_STRING:
            value = bytes.fromhex(value)
        elif tag == DataType.ENUM and value > 0x7F:
            value -= 256  # gurux writes an enum as int8
        elif tag in (DataType.DATETIME, DataType.DATE, DataType.TIME):
            value = read_value(GXByteBuffer(bytes((tag,)) + bytes.fromhex(value)))
        _GXCommon.setData(PLAIN, out, tag, value)


def read_value(buffer: GXByteBuffer) -> Any:
    """What gurux makes of A-XDR bytes: its own Python value."""
    info = _GXDataInfo()
    value = _GXCommon.getData(PLAIN, buffer, info)
    if not info.complete:
        raise ValueError("incomplete")
    return value


def plain(value: Any) -> Any:
    """A value of gurux as JSON: lists, numbers, texts, hex."""
    if isinstance(value, (GXArray, GXStructure, list)):
        return [plain(item) for item in value]
    if isinstance(value, (bytes, bytearray, GXByteBuffer)):
        return bytes(value).hex() if not isinstance(value, GXByteBuffer) else value.array().hex()
    if isinstance(value, GXBitString):
        return str(value)
    if isinstance(value, GXDateTime):
        return str(value.value)
    if value is None or isinstance(value, (bool, str)):
        return value
    return float(value) if isinstance(value, float) else int(value)


def axdr_encode(job: Tree) -> Any:
    out = GXByteBuffer()
    write_value(job["value"], out)
    return out.array().hex()


def axdr_decode(job: Tree) -> Any:
    buffer = GXByteBuffer(bytes.fromhex(job["hex"]))
    value = plain(read_value(buffer))
    if buffer.position != len(buffer):
        raise ValueError("bytes left over")
    return value


# --- frames ---


def framing(job: Tree, server: bool) -> Any:
    """Settings for one side of an HDLC line; `logical`, `physical` and `size` as in the standard."""
    settings = GXDLMSSettings(server, None)
    settings.interfaceType = InterfaceType.HDLC
    settings.clientAddress = job["client"]
    width = 14 if job["size"] == 4 else 7
    settings.serverAddress = job["logical"] if job["size"] == 1 else job["logical"] << width | job["physical"]
    settings.serverAddressSize = job["size"]
    settings.hdlc.maxInfoTX = 2030
    return settings


def hdlc_encode(job: Tree) -> Any:
    """One frame by gurux; control 0 means an I frame with gurux's own counting, so it is not used here."""
    information = GXByteBuffer(bytes.fromhex(job["information"])) if job["information"] else None
    return bytes(GXDLMS.getHdlcFrame(framing(job, job["server"]), job["control"], information)).hex()


def hdlc_decode(job: Tree) -> Any:
    """One frame through gurux's receiver of the other side; sequence numbers are not looked at."""
    settings = framing(job, job["server"])
    settings.checkFrame = lambda frame, xml: True
    buffer, reply = GXByteBuffer(bytes.fromhex(job["hex"])), GXReplyData()
    control = GXDLMS.getHdlcData(job["server"], settings, buffer, reply, None)
    if not reply.complete:
        raise ValueError("incomplete")
    more = int(reply.moreData) & RequestTypes.FRAME
    end = max(buffer.position, reply.packetLength)
    return {
        "control": control,
        "more": bool(more),
        "information": bytes(buffer.array()[buffer.position : end]).hex(),
    }


# --- ciphering ---


def gcm(job: Tree) -> AesGcmParameter:
    keys = [bytes.fromhex(job[name]) for name in ("title", "key", "authentication")]
    settings = AesGcmParameter(job["tag"], *keys)
    settings.security = Security(job["security"])
    settings.securitySuite = SecuritySuite(job["suite"])
    settings.invocationCounter = job["counter"]
    return settings


def seal(job: Tree) -> Any:
    return bytes(GXDLMSChippering.encryptAesGcm(gcm(job), bytes.fromhex(job["plain"]))).hex()


def unseal(job: Tree) -> Any:
    return bytes(
        GXDLMSChippering.decryptAesGcm(None, gcm(job), GXByteBuffer(bytes.fromhex(job["hex"])))
    ).hex()


# --- requests and answers, as gurux's client writes and reads them ---


def client_of(job: Tree) -> Any:
    client = GXDLMSSecureClient(True, 16, 1, Authentication.NONE, None, InterfaceType.WRAPPER)
    client.settings.invokeId = job.get("invoke", 1)  # setInvokeID sets another attribute, which nobody reads
    client.settings.maxPduSize = job.get("max_pdu", 0xFFFF)
    client.settings.negotiatedConformance = CONFORMANCE
    return client


def bare(frames: Any) -> list[str]:
    """Wrapper frames without their wrapper."""
    return [bytes(frame)[8:].hex() for frame in frames]


class Known:
    """An object for gurux: class and name are all that a request needs."""

    def __init__(self, class_id: int, obis: str) -> None:
        self.objectType, self.logicalName = class_id, obis


def request(job: Tree) -> Any:
    """The APDUs of a request; more than one where the value goes in blocks."""
    client = client_of(job)
    what = job["what"]
    if what == "get":
        return bare(client._read(job["obis"], job["class_id"], job["index"]))
    if what == "get-list":
        known = [(Known(class_id, obis), index) for class_id, obis, index in job["list"]]
        return [apdu for frames in client.readList(known) for apdu in bare(frames)]
    if what == "entries":
        profile = GXDLMSProfileGeneric(job["obis"])
        return bare(client.readRowsByEntry(profile, job["first"], job["count"]))
    if what == "range":
        raw = GXByteBuffer(bytes((DataType.DATETIME,)) + bytes.fromhex(job["begin"] + "19" + job["end"]))
        begin, end = read_value(raw), read_value(raw)
        return bare(client.readRowsByRange(GXDLMSProfileGeneric(job["obis"]), begin, end))
    value = job.get("value")
    tag = DataType.NONE if value is None else DataType(value["t"])
    bits: Any = None
    if value is not None:
        out = GXByteBuffer()
        write_value(value, out)
        bits = (
            out.array()
            if tag in GROUPS
            else bytes.fromhex(value["v"])
            if tag == DataType.OCTET_STRING
            else value["v"]
        )
    private = client._GXDLMSClient__write if what == "set" else client._GXDLMSClient__method
    if what == "set":
        return bare(private(job["obis"], bits, tag, job["class_id"], job["index"]))
    return bare(private(job["obis"], job["class_id"], job["index"], bits, tag))


def response(job: Tree) -> Any:
    """The value (or the error) that gurux's client finds in answers to it."""
    client, reply = client_of(job), GXReplyData()
    for apdu in job["apdus"]:
        raw = bytes.fromhex(apdu)
        wrapped = bytes((0, 1, 0, 1, 0, 16)) + len(raw).to_bytes(2, "big") + raw
        client.getData(GXByteBuffer(wrapped), reply)
        if reply.isMoreData():
            client.receiverReady(reply)  # counts the blocks
    return {"value": plain(reply.value), "error": int(reply.error)}


JOBS: dict[str, Callable[[Tree], Any]] = {
    "axdr-encode": axdr_encode, "axdr-decode": axdr_decode, "hdlc-encode": hdlc_encode, "hdlc-decode": hdlc_decode,
    "seal": seal, "unseal": unseal, "request": request, "response": response,
}  # fmt: skip


def batch(source: BinaryIO, sink: BinaryIO) -> None:
    for line in source:
        job = json.loads(line)
        try:
            answer = {"ok": JOBS[job["job"]](job)}
        except Exception as why:  # whatever gurux raises is an answer
            answer = {"error": f"{type(why).__name__}: {why}"}
        sink.write(json.dumps(answer).encode() + b"\n")
    sink.flush()


# --- the meter ---

ROWS = 200


def octets(raw: bytes) -> Tree:
    return {"t": DataType.OCTET_STRING, "v": raw.hex()}


def date_time(minutes: int) -> bytes:
    """2024-01-01 00:00 and so many minutes, UTC+8: at most a few days."""
    day, rest = divmod(minutes, 1440)
    return bytes.fromhex(f"07e801{day + 1:02x}ff{rest // 60:02x}{rest % 60:02x}0000fe2000")


def row(number: int) -> Tree:
    """A row of the load profile: end of a quarter hour, status, two registers."""
    return {"t": DataType.STRUCTURE, "v": [
        octets(date_time(15 * number)), {"t": DataType.UINT8, "v": number % 256},
        {"t": DataType.UINT32, "v": 1000 + 7 * number}, {"t": DataType.UINT32, "v": 5 * number},
    ]}  # fmt: skip


def obis(name: str) -> bytes:
    return bytes(int(part) for part in name.split("."))


def objects() -> dict[tuple[int, bytes, int], Tree]:
    """What the meter has: (class, logical name, attribute) -> value."""
    columns = [(8, "0.0.1.0.0.255"), (1, "0.0.96.10.1.255"), (3, "1.0.1.8.0.255"), (3, "1.0.2.8.0.255")]
    captured = [
        {"t": DataType.STRUCTURE, "v": [
            {"t": DataType.UINT16, "v": class_id}, octets(obis(name)), {"t": DataType.INT8, "v": 2},
            {"t": DataType.UINT16, "v": 0},
        ]}
        for class_id, name in columns
    ]  # fmt: skip
    scaler = {"t": DataType.STRUCTURE, "v": [{"t": DataType.INT8, "v": -1}, {"t": DataType.ENUM, "v": 30}]}
    profile, import_ = obis("1.0.99.1.0.255"), obis("1.0.1.8.0.255")
    return {
        (1, obis("0.0.42.0.0.255"), 2): octets(b"GRX0000000000001"),
        (8, obis("0.0.1.0.0.255"), 2): octets(date_time(600)),
        (3, import_, 2): {"t": DataType.UINT32, "v": 123456},
        (3, import_, 3): scaler,
        (3, obis("1.0.2.8.0.255"), 3): scaler,
        (70, obis("0.0.96.3.10.255"), 2): {"t": DataType.BOOLEAN, "v": True},
        (70, obis("0.0.96.3.10.255"), 3): {"t": DataType.ENUM, "v": 1},  # connected
        (70, obis("0.0.96.3.10.255"), 4): {"t": DataType.ENUM, "v": 4},  # remote reconnect closes at once
        (7, profile, 2): {"t": DataType.ARRAY, "v": [row(number) for number in range(1, ROWS + 1)]},
        (7, profile, 3): {"t": DataType.ARRAY, "v": captured},
        (7, profile, 4): {"t": DataType.UINT32, "v": 900},
        (7, profile, 7): {"t": DataType.UINT32, "v": ROWS},
    }


#: The sealed form of a request's and an answer's tag: glo- (IEC 62056-5-3, tags 200 and on).
GLO = {0xC0: 0xC8, 0xC1: 0xC9, 0xC3: 0xCB, 0xC4: 0xCC, 0xC5: 0xCD, 0xC7: 0xCF}
OBJECT_UNDEFINED, BLOCK = 4, 12


class Meter:
    """One logical device: APDU in, APDU out. Associations, values and ciphering by gurux; the dispatch is ours."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.settings = GXDLMSSettings(True, None)
        self.settings.setUseLogicalNameReferencing(True)
        self.settings.proposedConformance = CONFORMANCE
        self.objects = objects()
        self.rest = b""  # of an answer that goes in blocks
        self.written = b""  # of a value that comes in blocks
        self.target: tuple[int, bytes, int] = (0, b"", 0)
        self.key, self.authentication, self.title = (
            bytes.fromhex(text) for text in (options.key, options.authentication, options.title)
        )
        self.counter, self.ciphered, self.peer = 1, False, b""
        self.challenges = (b"", b"")

    def answer(self, apdu: bytes) -> bytes:
        if apdu[0] == Command.AARQ:
            return self.associate(apdu)
        if apdu[0] == Command.RELEASE_REQUEST:
            return self.release()
        sealed = apdu[0] in GLO.values()
        plain_apdu = self.unseal(apdu) if sealed else apdu
        if self.ciphered and not sealed:
            return bytes.fromhex("d80101")
        serve = {0xC0: self.get, 0xC1: self.set, 0xC3: self.act}[plain_apdu[0]]
        said = serve(GXByteBuffer(plain_apdu))
        return self.seal(said) if sealed else said

    # --- ciphering ---

    def parameters(self, tag: int, title: bytes) -> AesGcmParameter:
        settings = AesGcmParameter(tag, title, self.key, self.authentication)
        settings.security = Security.AUTHENTICATION_ENCRYPTION
        settings.securitySuite = SecuritySuite.SUITE_0
        return settings

    def seal(self, apdu: bytes, tag: int = 0) -> bytes:
        settings = self.parameters(tag or GLO[apdu[0]], self.title)
        settings.invocationCounter = self.counter
        self.counter += 1
        return bytes(GXDLMSChippering.encryptAesGcm(settings, apdu))

    def unseal(self, apdu: bytes) -> bytes:
        return bytes(GXDLMSChippering.decryptAesGcm(None, self.parameters(0, self.peer), GXByteBuffer(apdu)))

    # --- the association ---

    def associate(self, apdu: bytes) -> bytes:
        """gurux parses a plain AARQ and writes a plain AARE. Ciphered ones it cannot: its `generateAARE` calls setUInt8 without a
        value, so the ciphered AARE is put together here around its ciphered InitiateResponse."""
        settings = GXDLMSSettings(True, None)
        settings.setUseLogicalNameReferencing(True)
        settings.proposedConformance = CONFORMANCE
        settings.maxServerPDUSize = self.options.max_pdu
        cipher = GXCiphering(self.title)
        cipher.blockCipherKey, cipher.authenticationKey = self.key, self.authentication
        settings.cipher = cipher
        diagnostic = _GXAPDU.parsePDU(settings, cipher, GXByteBuffer(apdu), None)
        self.settings = settings
        self.peer = bytes(settings.sourceSystemTitle or b"")
        self.ciphered = bytes.fromhex("60857405080103") in apdu
        want = {"none": Authentication.NONE, "lls": Authentication.LOW, "gmac": Authentication.HIGH_GMAC}[
            self.options.auth
        ]
        if diagnostic or settings.authentication != want:
            return self.aare(1, 14)
        if want == Authentication.LOW and bytes(settings.password or b"") != self.options.password.encode():
            return self.aare(1, 13)
        if want == Authentication.HIGH_GMAC:
            self.challenges = (bytes(settings.ctoSChallenge), bytes(range(0x41, 0x51)))
            return self.aare(0, 14)
        return self.aare(0, 0)

    def aare(self, result: int, diagnostic: int) -> bytes:
        settings = self.settings
        settings.maxPduSize = min(n for n in (settings.maxPduSize, self.options.max_pdu) if n)
        if not self.ciphered and not self.challenges[1]:
            out = GXByteBuffer()
            _GXAPDU.generateAARE(settings, out, result, diagnostic, None, None, None)
            return bytes(out.array())
        initiate = bytes(_GXAPDU.getUserInformation(settings, None))
        if self.ciphered:
            initiate = self.seal(initiate, Command.GLO_INITIATE_RESPONSE)
        body = bytes.fromhex("a109060760857405080103" if self.ciphered else "a109060760857405080101")
        body += bytes((0xA2, 3, 2, 1, result, 0xA3, 5, 0xA1, 3, 2, 1, diagnostic))
        body += bytes((0xA4, 10, 4, 8)) + self.title
        if self.challenges[1]:
            challenge = self.challenges[1]
            body += bytes.fromhex("88020780890760857405080205")
            body += bytes((0xAA, len(challenge) + 2, 0x80, len(challenge))) + challenge
        body += bytes((0xBE, len(initiate) + 2, 4, len(initiate))) + initiate
        return bytes((0x61, len(body))) + body

    def release(self) -> bytes:
        """In a ciphered context with the ciphered InitiateResponse, as gurux's own server does."""
        content = b""
        if self.ciphered:
            initiate = bytes(_GXAPDU.getUserInformation(self.settings, None))
            initiate = self.seal(initiate, Command.GLO_INITIATE_RESPONSE)
            content = bytes((0xBE, len(initiate) + 2, 4, len(initiate))) + initiate
        return bytes((0x63, 3 + len(content))) + b"\x80\x01\x00" + content

    def proof(self, argument: bytes) -> bytes | None:
        """reply_to_HLS_authentication with GMAC; None when the client's proof is wrong."""
        ours, theirs = self.challenges
        counter = int.from_bytes(argument[1:5], "big")
        if argument != self.gmac(self.peer, counter, theirs):
            return None
        self.counter += 1
        return self.gmac(self.title, self.counter - 1, ours)

    def gmac(self, title: bytes, counter: int, challenge: bytes) -> bytes:
        settings = self.parameters(0, title)
        settings.security, settings.type_ = Security.AUTHENTICATION, CountType.TAG
        settings.invocationCounter = counter
        return (
            b"\x10" + counter.to_bytes(4, "big") + bytes(GXDLMSChippering.encryptAesGcm(settings, challenge))
        )

    # --- services ---

    def get(self, request: GXByteBuffer) -> bytes:
        kind, invoke = request.array()[1:3]
        request.position = 3
        if kind == 2:
            return self.block(invoke, request.getUInt32() + 1)
        if kind == 3:
            count = _GXCommon.getObjectCount(request)
            results = b"".join(self.result(self.read(request)) for _ in range(count))
            return self.long(invoke, bytes((count,)) + results, bytes((0xC4, 3, invoke, count)) + results)
        value = self.read(request)
        return self.long(invoke, value or b"", bytes((0xC4, 1, invoke)) + self.result(value))

    def long(self, invoke: int, value: bytes, whole: bytes) -> bytes:
        if len(whole) <= self.settings.maxPduSize - 32 * self.ciphered:
            return whole
        self.rest = value
        return self.block(invoke, 1)

    def block(self, invoke: int, number: int) -> bytes:
        size = self.settings.maxPduSize - BLOCK - 32 * self.ciphered
        part, self.rest = self.rest[:size], self.rest[size:]
        out = GXByteBuffer()
        _GXCommon.setObjectCount(len(part), out)
        head = bytes((0xC4, 2, invoke, not self.rest)) + number.to_bytes(4, "big")
        return head + b"\0" + bytes(out.array()) + part

    def result(self, value: bytes | None) -> bytes:
        return bytes((1, OBJECT_UNDEFINED)) if value is None else b"\0" + value

    def name(self, request: GXByteBuffer) -> tuple[int, bytes, int]:
        class_id, name = request.getUInt16(), bytearray(6)
        request.get(name)
        return class_id, bytes(name), request.getUInt8()

    def read(self, request: GXByteBuffer) -> bytes | None:
        """The attribute that the descriptor at the buffer's position names, selected as asked."""
        tree = self.objects.get(self.name(request))
        if request.getUInt8():
            selector = request.getUInt8()
            asked = read_value(request)
            if tree is not None:
                tree = {"t": tree["t"], "v": list(self.selected(tree["v"], selector, asked))}
        if tree is None:
            return None
        out = GXByteBuffer()
        write_value(tree, out)
        return bytes(out.array())

    def selected(self, rows: list[Tree], selector: int, asked: Any) -> Iterator[Tree]:
        if selector == 2:
            first, last, left, right = (int(number) for number in asked)
            chosen, columns = rows[first - 1 : last or None], range(left - 1, right or 4)
        else:
            begin, end = (bytes(moment)[:4] + bytes(moment)[5:8] for moment in asked[1:3])
            chosen = [
                item for item in rows
                if begin <= (raw := bytes.fromhex(item["v"][0]["v"]))[:4] + raw[5:8] <= end
            ]  # fmt: skip
            wanted = [bytes(column[1]) for column in asked[3]]
            captured = [
                bytes.fromhex(item["v"][1]["v"]) for item in self.objects[7, obis("1.0.99.1.0.255"), 3]["v"]
            ]
            columns = [index for index, name in enumerate(captured) if not wanted or name in wanted]
        for item in chosen:
            yield {"t": item["t"], "v": [item["v"][index] for index in columns]}

    def set(self, request: GXByteBuffer) -> bytes:
        kind, invoke = request.array()[1:3]
        request.position = 3
        if kind in (1, 2):
            self.target, self.written = self.name(request), b""
            request.getUInt8()
        if kind == 1:
            return bytes((0xC5, 1, invoke, self.write(bytes(request.array()[request.position :]))))
        last, number = request.getUInt8(), request.getUInt32()
        _GXCommon.getObjectCount(request)
        self.written += bytes(request.array()[request.position :])
        if not last:
            return bytes((0xC5, 2, invoke)) + number.to_bytes(4, "big")
        return bytes((0xC5, 3, invoke, self.write(self.written))) + number.to_bytes(4, "big")

    def write(self, raw: bytes) -> int:
        if self.target not in self.objects:
            return OBJECT_UNDEFINED
        value = read_value(GXByteBuffer(raw))
        tree = {"t": raw[0], "v": plain(value)}
        out = GXByteBuffer()
        write_value(tree, out)
        if bytes(out.array()) != raw:
            raise ValueError("gurux reads and writes this value differently")
        self.objects[self.target] = tree
        return 0

    def act(self, request: GXByteBuffer) -> bytes:
        invoke, request.position = request.array()[2], 3
        class_id, name, method = self.name(request)
        argument = read_value(request) if request.getUInt8() else None
        head = bytes((0xC7, 1, invoke))
        if (class_id, method) == (15, 1):
            proof = self.proof(bytes(argument))
            return head + (b"\x0b\x00" if proof is None else b"\0\1\0\x09" + bytes((len(proof),)) + proof)
        if class_id == 70 and (70, name, 2) in self.objects:
            self.objects[70, name, 2] = {"t": DataType.BOOLEAN, "v": method == 2}
            self.objects[70, name, 3] = {"t": DataType.ENUM, "v": int(method == 2)}
            return head + b"\0\0"
        return head + bytes((OBJECT_UNDEFINED, 0))


class Wire:
    """Cuts what comes into APDUs, by gurux's receivers, and frames the answers."""

    def __init__(self, meter: Meter, options: argparse.Namespace) -> None:
        self.meter, self.size = meter, options.address_size
        self.framing = framing(
            {"client": options.client, "logical": 1, "physical": options.physical, "size": self.size}, True
        )
        if options.framing == "wrapper":
            self.framing.serverAddress = 1  # the wPort of the management logical device
        self.framing.hdlc.maxInfoTX = self.framing.hdlc.maxInfoRX = options.max_info
        self.framing.checkFrame = lambda frame, xml: True
        self.buffer, self.apdu, self.reply = bytearray(), b"", GXByteBuffer()
        self.sent = self.received = 0

    def hdlc(self, data: bytes) -> bytes:
        self.buffer += data
        out = b""
        while len(self.buffer) >= 9 and len(self.buffer) >= (
            end := 2 + ((self.buffer[1] & 7) << 8 | self.buffer[2])
        ):
            raw, self.buffer = bytes(self.buffer[:end]), self.buffer[end:]
            buffer, reply = GXByteBuffer(raw), GXReplyData()
            control = GXDLMS.getHdlcData(True, self.framing, buffer, reply, None)
            out += self.taken(
                control, raw[buffer.position : -3], bool(int(reply.moreData) & RequestTypes.FRAME)
            )
        return out

    def taken(self, control: int, information: bytes, more: bool) -> bytes:
        if control & 0xEF == 0x83:  # SNRM: UA with what gurux agrees on
            GXDLMS.parseSnrmUaResponse(GXByteBuffer(information), self.framing.hdlc) if information else None
            self.sent = self.received = 0
            self.apdu, self.reply = b"", GXByteBuffer()
            agreed = GXByteBuffer(bytes.fromhex("818000"))
            for number, value in ((5, self.framing.hdlc.maxInfoTX), (6, self.framing.hdlc.maxInfoRX)):
                agreed.setUInt8(number)
                GXDLMS.appendHdlcParameter(agreed, value)
            agreed.set(bytes.fromhex("070400000001080400000001"))
            agreed.setUInt8(len(agreed) - 3, 2)
            return self.frame(0x73, agreed)
        if control & 0xEF == 0x43:
            return self.frame(0x73, None)
        if control & 1 == 0 and control >> 1 & 7 == self.received:
            self.received = (self.received + 1) % 8
            self.apdu += information
            if not more:
                self.reply = GXByteBuffer(bytes.fromhex("e6e700") + self.meter.answer(self.apdu))
                self.apdu = b""
        if not more and len(self.reply):
            control = self.received << 5 | 0x10 | self.sent << 1
            self.sent = (self.sent + 1) % 8
            return self.frame(control, self.reply)
        return self.frame(self.received << 5 | 0x11, None)

    def frame(self, control: int, information: Any) -> bytes:
        return bytes(GXDLMS.getHdlcFrame(self.framing, control, information))

    def wrapper(self, data: bytes) -> bytes:
        """gurux's receiver of wrapper frames is private; the header is four numbers. Its writer frames the answer."""
        self.buffer += data
        out = b""
        while len(self.buffer) >= 8 and len(self.buffer) >= (
            end := 8 + int.from_bytes(self.buffer[6:8], "big")
        ):
            apdu, self.buffer = bytes(self.buffer[8:end]), self.buffer[end:]
            said = GXByteBuffer(self.meter.answer(apdu))
            out += bytes(GXDLMS.getWrapperFrame(self.framing, Command.NONE, said))
        return out


def run(options: argparse.Namespace, sink: BinaryIO) -> None:
    wire = Wire(Meter(options), options)
    take = wire.hdlc if options.framing == "hdlc" else wire.wrapper
    while data := os.read(0, 65536):
        sink.write(take(data))
        sink.flush()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["batch", "meter"])
    parser.add_argument("--framing", choices=["hdlc", "wrapper"], default="hdlc")
    parser.add_argument("--auth", choices=["none", "lls", "gmac"], default="none")
    parser.add_argument("--password", default="12345678")
    parser.add_argument("--key", default="000102030405060708090a0b0c0d0e0f")
    parser.add_argument("--authentication", default="d0d1d2d3d4d5d6d7d8d9dadbdcdddedf")
    parser.add_argument("--title", default="4752580000000001", help="system title, hex")
    parser.add_argument("--client", type=int, default=16)
    parser.add_argument("--physical", type=int, default=17)
    parser.add_argument("--address-size", type=int, choices=[1, 2, 4], default=2)
    parser.add_argument("--max-info", type=int, default=128)
    parser.add_argument("--max-pdu", type=int, default=512)
    options = parser.parse_args()
    with (
        os.fdopen(os.dup(1), "wb") as sink,
        contextlib.redirect_stdout(sys.stderr),
    ):  # gurux prints as it deciphers
        if options.what == "batch":
            batch(sys.stdin.buffer, sink)
        else:
            run(options, sink)


if __name__ == "__main__":
    main()
