"""The bank link (银电联网): a bank's messages and its day-end file, under /bank. The key says which bank it is.

Every answer to a message that could be read, a refusal too, carries `code`, `zh` and `en` (see `tariffs/bank.py`). A payment is named by
(bank, accounting date, serial), so these writes need no Idempotency-Key. Where the bank has a MAC key, each message carries the field
Bank-MAC over its fixed part, and so does each answer: with the day's key, a sign-on with the shared one. Without, TLS and the API key stand
for it. The form is this program's own: no field-level specification of such a link is public.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, NoReturn

import structlog
from fastapi import APIRouter, Header, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from starlette.concurrency import run_in_threadpool

from headend.api.auth import Banker
from headend.api.documents import answer, money
from headend.api.house import Here, House
from headend.api.problems import Problem
from headend.store import bank as link
from headend.store import bank_days, banks, reclose
from headend.store.bank import Answer, Wish
from headend.store.banks import Bank, BankRefused
from headend.store.db import Connection
from headend.store.keys import Key
from protocols.localtime import instant
from tariffs.bank import Code, genuine, mac
from tariffs.bank_files import NAME, BadFile

log = structlog.get_logger(__name__)
router = APIRouter(prefix="/bank", tags=["bank"])

#: bytes of a day-end file: two million lines
MOST_BYTES: Final = 200_000_000
#: HTTP status of a refusal; 409 where it is not named
STATUS: Final[Mapping[Code, int]] = {
    Code.BAD_MAC: 401,
    Code.UNKNOWN_CUSTOMER: 404,
    Code.UNKNOWN_PAYMENT: 404,
    Code.BAD_FILE: 422,
}
Mac = Annotated[
    str | None, Header(alias="Bank-MAC", max_length=64, description="MAC of the message's fixed part")
]
Serial = Annotated[
    str, Field(pattern=f"^{NAME.pattern}$", description="the bank's own number of the transaction")
]
Operator = Annotated[str, Field(min_length=1, max_length=40, description="who sits at the bank's counter")]
Fen = Annotated[int, Field(gt=0, le=10**11, strict=True, description="whole fen")]


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SignIn(Message):
    """Sign-on and sign-off (签到, 签退)."""

    accounting_date: dt.date
    operator: Operator


class Paying(Message):
    """A payment (缴费): of bills by name, or with `prepaid` onto the account."""

    accounting_date: dt.date
    serial: Serial
    customer: Annotated[str, Field(min_length=1, max_length=40)]
    amount_fen: Fen
    time: AwareDatetime
    prepaid: bool = False
    bills: Annotated[list[str], Field(max_length=200)] = []

    @model_validator(mode="after")
    def _one_of_both(self) -> Paying:
        if self.prepaid == bool(self.bills):
            raise ValueError("either prepaid, or the names of bills")
        return self


class Reversing(Message):
    """A reversal (冲正) of the payment that the path names."""

    reversal_serial: Serial
    amount_fen: Fen
    time: AwareDatetime


class Printing(Message):
    operator: Operator


class _Call:
    """One message: whose it is, by which key it is authenticated, and its answer."""

    def __init__(
        self, request: Request, key: Key, message: str, fields: Mapping[str, Any], given: str | None
    ) -> None:
        assert key.bank is not None
        self.request, self.code_of_bank, self.message, self.fields, self.given = (
            request, key.bank, message, fields, given,
        )  # fmt: skip
        self.key: bytes | None = None

    def authenticate(self, conn: Connection) -> Bank:
        """The bank. Problem 401 for a missing or wrong MAC, or where none can be right because nobody has signed on for the date."""
        bank = banks.get(conn, self.code_of_bank)
        key = bank.mac_key
        if key is None:
            return bank
        if self.message != "sign-on":
            session = banks.session(conn, bank, self.fields["accounting_date"])
            if session is None or session.key is None:
                self.refuse(BankRefused(Code.NOT_SIGNED_ON))
            key = session.key
        if not genuine(key, self.message, self.fields, self.given):
            self.refuse(BankRefused(Code.BAD_MAC))
        self.key = key  # from here on: whoever that was gets no MAC of ours to learn from
        return bank

    def _sealed(self, code: Code, state: str, amount_fen: int | None) -> dict[str, str]:
        if self.key is None:
            return {}
        said = {
            "message": self.message, "accounting_date": self.fields.get("accounting_date"), "serial": self.fields.get("serial"),
            "code": code.value.number, "state": state, "amount_fen": amount_fen,
        }  # fmt: skip
        return {"Bank-MAC": mac(self.key, "answer", said)}

    def answer(
        self,
        code: Code,
        body: Mapping[str, Any],
        *,
        status: int = 200,
        state: str = "",
        fen: int | None = None,
    ) -> Response:
        word = code.value
        return answer(
            self.request,
            {
                "code": word.number,
                "zh": word.zh,
                "en": word.en,
                **({"state": state} if state else {}),
                **body,
            },
            status=status,
            headers=self._sealed(code, state, fen),
        )

    def refuse(self, error: BankRefused) -> NoReturn:
        word = error.code.value
        raise Problem(
            STATUS.get(error.code, 409), "bank-refused", str(error), headers=self._sealed(error.code, "", None),
            code=word.number, zh=word.zh, en=word.en,
        ) from None  # fmt: skip

    def run(self, house: House, act: Callable[[Connection, Bank], Response]) -> Response:
        """Authenticate and act, with a connection for it."""
        with house.connection() as conn:
            bank = self.authenticate(conn)
            try:
                return act(conn, bank)
            except BankRefused as error:
                conn.rollback()
                self.refuse(error)


def _told(call: _Call, said: Answer, *, status: int = 200, **more: Any) -> Response:
    body = {"payment": said.payment, "amount": money(said.amount_fen), **more}
    return call.answer(said.code, body, status=status, state=said.state, fen=said.amount_fen)


@router.post("/sign-on")
def sign_on(request: Request, body: SignIn, house: Here, key: Banker, given: Mac = None) -> Response:
    """Open an accounting date (签到). `seed` makes the day's MAC key; again, it is the same."""
    call = _Call(request, key, "sign-on", body.model_dump(), given)

    def act(conn: Connection, bank: Bank) -> Response:
        session = banks.sign_on(
            conn, bank, body.accounting_date, body.operator, now=house.now, zone=house.zone
        )
        conn.commit()
        return call.answer(
            Code.DONE,
            {
                "bank": bank.code, "accounting_date": body.accounting_date, "seed": session.seed,
                "cutoff": bank.cutoff.isoformat("minutes"), "zone": str(house.zone),
            },
        )  # fmt: skip

    return call.run(house, act)


@router.post("/sign-off")
def sign_off(request: Request, body: SignIn, house: Here, key: Banker, given: Mac = None) -> Response:
    """End an accounting date (签退): no more payments; state, reversals and receipts are still served."""
    call = _Call(request, key, "sign-off", body.model_dump(), given)

    def act(conn: Connection, bank: Bank) -> Response:
        banks.sign_off(conn, bank, body.accounting_date, now=house.now)
        conn.commit()
        return call.answer(Code.DONE, {"accounting_date": body.accounting_date})

    return call.run(house, act)


@router.get("/echo")
def echo(request: Request, accounting_date: dt.date, house: Here, key: Banker, given: Mac = None) -> Response:
    """Whether the line, the key and the database are there (回响), and what time it is here."""
    call = _Call(request, key, "echo", {"accounting_date": accounting_date}, given)

    def act(conn: Connection, bank: Bank) -> Response:
        now = house.now
        session = banks.session(conn, bank, accounting_date)
        signed_on = session is not None and session.on
        present = bank.date_of(now, house.zone)
        return call.answer(
            Code.DONE,
            {"bank": bank.code, "signed_on": signed_on, "time": now, "present_accounting_date": present},
        )

    return call.run(house, act)


@router.get("/customers/{number}/arrears")
def arrears(
    request: Request, number: str, accounting_date: dt.date, house: Here, key: Banker, given: Mac = None
) -> Response:
    """What a customer owes now (查询欠费): total with penalty, open bills the oldest first, balance. The name is masked."""
    call = _Call(request, key, "arrears", {"accounting_date": accounting_date, "customer": number}, given)

    def act(conn: Connection, bank: Bank) -> Response:
        found = link.arrears(conn, number, now=house.now, zone=house.zone)
        owed = found.owed
        bills = [
            {
                "bill": item.bill.name, "first_day": item.bill.first_day, "last_day": item.bill.last_day,
                "amount": money(item.bill.amount_fen), "open": money(item.principal_fen), "penalty": money(item.penalty_fen),
            }
            for item in owed.arrears.open
        ]  # fmt: skip
        return call.answer(
            Code.DONE,
            {
                "customer": found.customer, "name": found.name, "prepaid": owed.prepaid, "total": money(owed.total_fen),
                "penalty": money(owed.arrears.penalty_fen), "balance": money(owed.balance_fen), "bills": bills,
            },
            fen=owed.total_fen,
        )  # fmt: skip

    return call.run(house, act)


@router.post("/payments", status_code=201)
def pay(request: Request, body: Paying, house: Here, key: Banker, given: Mac = None) -> Response:
    """Book a payment (缴费), once however often it is sent: 201, and 200 for a repeat. Who was cut off gets supply again at once."""
    call = _Call(request, key, "pay", body.model_dump(), given)
    wish = Wish(
        body.accounting_date, body.serial, body.customer, body.amount_fen, body.time, tuple(body.bills)
    )

    def act(conn: Connection, bank: Bank) -> Response:
        said = link.pay(conn, bank, wish, now=house.now, zone=house.zone)
        _supply(conn, said, house)
        status = 201 if said.code is Code.DONE else 200
        return _told(call, said, status=status, customer=body.customer)

    return call.run(house, act)


def _supply(conn: Connection, said: Answer, house: House) -> None:
    """The payment is booked, whatever becomes of this; a repeat looks again."""
    assert said.account_id is not None
    asked, failed = reclose.after_payment(conn, [said.account_id], now=house.now)
    if asked or failed:
        log.info("reclose after payment", payment=said.payment, orders=asked, refusals=failed)


@router.get("/payments/{accounting_date}/{serial}")
def state(
    request: Request, accounting_date: dt.date, serial: str, house: Here, key: Banker, given: Mac = None
) -> Response:
    """What became of a payment whose answer was lost (查询交易状态): booked, reversed, blocked (its reversal came first), unknown."""
    call = _Call(request, key, "state", {"accounting_date": accounting_date, "serial": serial}, given)
    return call.run(
        house, lambda conn, bank: _told(call, link.state(conn, bank, accounting_date, serial), serial=serial)
    )


@router.post("/payments/{accounting_date}/{serial}/reversal")
def reverse(
    request: Request,
    accounting_date: dt.date,
    serial: str,
    body: Reversing,
    house: Here,
    key: Banker,
    given: Mac = None,
) -> Response:
    """Take a payment of this accounting day back (冲正), once however often it is sent. One that has not come yet is refused when it comes."""
    named = {"accounting_date": accounting_date, "serial": serial}
    call = _Call(request, key, "reverse", {**body.model_dump(), **named}, given)
    if not NAME.fullmatch(serial):
        raise Problem(422, "invalid-request", "path/serial: not 1 to 80 of letters, digits and _ . : -")

    def act(conn: Connection, bank: Bank) -> Response:
        said = link.reverse(
            conn, bank, accounting_date, serial, reversal_serial=body.reversal_serial, amount_fen=body.amount_fen,
            time=body.time, now=house.now, zone=house.zone,
        )  # fmt: skip
        return _told(call, said, serial=serial, reversal_serial=body.reversal_serial)

    return call.run(house, act)


@router.post("/payments/{accounting_date}/{serial}/receipt")
def receipt(
    request: Request,
    accounting_date: dt.date,
    serial: str,
    body: Printing,
    house: Here,
    key: Banker,
    given: Mac = None,
) -> Response:
    """What a payment's receipt says (打印收据). Each call is a print; from the second on it says so."""
    named = {"accounting_date": accounting_date, "serial": serial}
    call = _Call(request, key, "receipt", {**body.model_dump(), **named}, given)

    def act(conn: Connection, bank: Bank) -> Response:
        who = f"{bank.code}/{body.operator}"
        print_ = link.receipt(conn, bank, accounting_date, serial, who=who, now=house.now)
        conn.commit()
        return call.answer(
            Code.DONE if print_.number == 1 else Code.SECOND_PRINT,
            {
                "payment": print_.payment, "print": print_.number, "customer": print_.customer, "name": print_.name,
                "amount": money(print_.amount_fen), "paid_at": instant(print_.paid_at),
                "bills": print_.detail.get("bills", []), "prepaid": print_.detail.get("prepaid", False),
            },
            state="booked",
            fen=print_.amount_fen,
        )  # fmt: skip

    return call.run(house, act)


@router.post("/days/{accounting_date}")
async def day(
    request: Request, accounting_date: dt.date, house: Here, key: Banker, given: Mac = None
) -> Response:
    """A day-end file as text: totals and details (对账), its form in `tariffs/bank_files.py`. Taken whole or not at all; the answer says how
    many payments agree, and not what was decided of the others. The MAC covers the file's SHA-256."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise Problem(413, "too-large", f"a day-end file has at most {MOST_BYTES} bytes")
    fields = {"accounting_date": accounting_date, "sha256": hashlib.sha256(body).hexdigest()}
    call = _Call(request, key, "day", fields, given)

    def act(conn: Connection, bank: Bank) -> Response:
        try:
            said = bank_days.compare(
                conn, bytes(body), who=f"bank:{bank.code}", now=house.now, zone=house.zone,
                only=(bank.code, accounting_date),
            )  # fmt: skip
        except BadFile as error:
            raise BankRefused(Code.BAD_FILE, str(error)) from None
        return call.answer(
            Code.DONE,
            {"totals_agree": said.totals_agree, "items": said.items, "open": said.open, "late": said.late},
        )

    return await run_in_threadpool(call.run, house, act)
