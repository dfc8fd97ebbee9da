"""The bank link (银电联网): what bank and utility say to each other, its codes, its accounting day, its message authentication code (MAC).

No field-level specification of this link is public. Known from descriptions without official standing are its functions alone: query of
arrears (查询欠费), payment (缴费), reversal (冲正), direct debit (代扣), comparison of totals and details (对总账, 对明细账), printing of a
receipt, a cut-off time (日切). Fields, codes, forms and the MAC below are this program's own; a bank that speaks otherwise needs a
translator in front.

A payment's name is (bank, accounting date, serial), for ever. The accounting date is the bank's, and follows from the time that the bank
gives the transaction and from the cut-off that both have agreed on: so a message that comes late, or again, keeps its name.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Word:
    """What an answer says: a number for programs, two sentences for people."""

    number: str
    zh: str
    en: str


class Code(Enum):
    """Every answer carries one. 0xxx it is so, 1xxx who speaks, 2xxx whose money, 3xxx which payment, 4xxx its reversal, 5xxx files."""

    DONE = Word("0000", "成功", "done")
    BOOKED_BEFORE = Word(
        "0001", "重复交易,原已入账", "the same payment was booked before; nothing was booked now"
    )
    REVERSED_BEFORE = Word(
        "0002", "重复冲正,原已冲正", "the same payment was reversed before; nothing was done now"
    )
    BLOCKED = Word(
        "0003", "无原交易,其后到达将拒绝", "no such payment has come; it will be refused should it come"
    )
    SECOND_PRINT = Word("0004", "收据补打", "the receipt has been printed before")
    REVERSED = Word("0005", "交易已冲正", "the payment was booked and reversed")
    NOT_KNOWN = Word("0006", "无此交易", "no such payment has come")
    NOT_SIGNED_ON = Word("1001", "未签到", "not signed on for this accounting date; sign on first")
    BAD_MAC = Word("1002", "MAC校验错", "the MAC is missing or wrong")
    WRONG_DATE = Word(
        "1003", "会计日期不符", "the time of the transaction belongs to another accounting date"
    )
    UNKNOWN_CUSTOMER = Word("2001", "户号不存在", "no customer with this number and an open account")
    SEVERAL_ACCOUNTS = Word(
        "2002", "该户有多个账户", "the customer has several open accounts; pay at the utility's counter"
    )
    NO_SUCH_BILL = Word("2003", "账单不存在或已结清", "no such open bill; query the arrears again")
    MORE_THAN_OWED = Word("2004", "金额超过应缴", "the amount is more than these bills owe")
    OTHER_CONTENTS = Word("3001", "同流水内容不同", "this serial came before with other contents")
    REVERSED_FIRST = Word(
        "3002", "冲正先到,拒绝入账", "the reversal of this payment came first; it is not booked"
    )
    UNKNOWN_PAYMENT = Word("3003", "原交易不存在", "there is no such payment")
    OTHER_AMOUNT = Word("4001", "冲正金额不符", "the amount is not that of the payment")
    OTHER_DAY = Word(
        "4002", "非当日交易", "only payments of the same accounting day can be reversed by message"
    )
    CONSUMED = Word("4003", "电费已使用", "the money has been used; settle it at the utility's counter")
    INVOICED = Word("4004", "收据已打印", "a receipt has been printed; settle it at the utility's counter")
    BAD_FILE = Word("5001", "文件有误", "the file is refused as a whole")


#: The fields that a MAC covers, in this order, by message: the fixed part (定长部分). What is not in a message counts as empty.
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "sign-on": ("accounting_date", "operator"),
    "sign-off": ("accounting_date", "operator"),
    "echo": ("accounting_date",),
    "arrears": ("accounting_date", "customer"),
    "pay": ("accounting_date", "serial", "customer", "amount_fen", "time", "prepaid", "bills"),
    "state": ("accounting_date", "serial"),
    "reverse": ("accounting_date", "serial", "reversal_serial", "amount_fen", "time"),
    "receipt": ("accounting_date", "serial", "operator"),
    "day": ("accounting_date", "sha256"),
    "answer": ("message", "accounting_date", "serial", "code", "state", "amount_fen"),
}


def text_of(value: Any) -> str:
    """A field as the MAC sees it: integers in decimal, yes or no, dates in ISO form, lists joined by commas. TypeError for a float."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return ",".join(text_of(item) for item in value)
    if isinstance(value, str | int):
        return str(value)
    raise TypeError(f"a message of the bank link holds no {type(value).__name__}")


def fixed_part(message: str, fields: Mapping[str, Any]) -> bytes:
    """What a MAC is computed over: the message's name and its fields, each with its length in bytes as four digits before it."""
    texts = [message, *(text_of(fields.get(name)) for name in FIELDS[message])]
    return b"".join(b"%04d" % len(part) + part for part in (text.encode() for text in texts))


def mac(key: bytes, message: str, fields: Mapping[str, Any]) -> str:
    """HMAC-SHA-256 of the fixed part, the first 16 bytes in hex."""
    return hmac.new(key, fixed_part(message, fields), hashlib.sha256).hexdigest()[:32]


def genuine(key: bytes, message: str, fields: Mapping[str, Any], given: str | None) -> bool:
    """Whether `given` is the MAC of the message, in a time that does not tell how much of it is right."""
    return given is not None and hmac.compare_digest(
        mac(key, message, fields).encode(), given.lower().encode()
    )


def day_key(master: bytes, bank: str, date: dt.date, seed: str) -> bytes:
    """The key of one accounting day: both sides derive it from the key that they share and the seed of the day's first sign-on."""
    parts = (part.encode() for part in (bank, date.isoformat(), seed))
    return hmac.new(master, b"".join(b"%04d" % len(part) + part for part in parts), hashlib.sha256).digest()


def accounting_date(local: dt.datetime, cutoff: dt.time) -> dt.date:
    """The accounting day (会计日) of a transaction by its local time: from the cut-off (日切) on it is the next day's."""
    return local.date() + dt.timedelta(days=local.time() >= cutoff)


def masked(name: str) -> str:
    """A name for the eyes of somebody at a counter: the last character of a person's, both ends of a longer one."""
    if len(name) <= 4:
        return "*" * (len(name) - 1) + name[-1:] if len(name) > 1 else "*" * len(name)
    return name[:2] + "*" * (len(name) - 4) + name[-2:]


def total(amounts: Iterable[int]) -> tuple[int, int]:
    """(how many, their sum in fen)."""
    listed = list(amounts)
    return len(listed), sum(listed)
