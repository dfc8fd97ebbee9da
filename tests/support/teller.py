"""A bank: it books on its own account first, tells the utility, and clears up what it has not heard an answer to. It speaks HTTP, and loses
what the test tells it to lose."""

from __future__ import annotations

import datetime as dt
import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
import uvicorn
from fastapi import FastAPI

from protocols.localtime import as_datetime
from tariffs.bank import accounting_date, day_key, genuine, mac
from tariffs.bank_files import write_day
from tariffs.bank_match import Day, Payment, Reversal
from tests.support.house import SHANGHAI
from tests.support.wire import HandClock

CUTOFF = dt.time(22)


class Lost(Exception):
    """No answer came."""


class Crash(Exception):
    """The bank's front machine died here."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What happens to the nth message from now on. `how`: 'request' it never leaves; 'answer' it is done and nobody hears of it; 'hang up'
    the line is cut before an answer; 'twice' it is sent twice; 'late' it is held back and comes when all is over; 'crash' the bank dies
    when it has been sent."""

    nth: int
    how: str


@dataclass(slots=True)
class Paid:
    """One transaction in the bank's own books. `standing`: the customer's money has gone to the utility."""

    payment: Payment
    bills: tuple[str, ...]
    standing: bool | None = None
    reversed_by: str = ""
    told: bool = True


@dataclass
class Teller:
    """One bank's front machine. Its books outlive a crash; what it has in mind does not."""

    url: str
    key: str
    code: str
    clock: HandClock
    master: bytes | None = None
    books: dict[str, Paid] = field(default_factory=dict)
    late: list[tuple[str, str, str, dict[str, Any], dict[str, Any] | None]] = field(default_factory=list)
    trouble: Trouble | None = None
    sent: int = 0
    _serial: int = 0
    _mac: bytes | None = None

    @property
    def now(self) -> dt.datetime:
        return as_datetime(self.clock.now(), SHANGHAI)

    @property
    def date(self) -> dt.date:
        return accounting_date(self.now, CUTOFF)

    def serial(self) -> str:
        self._serial += 1
        return f"{self.code}{self._serial:06d}"

    # -- the line

    def say(
        self, message: str, method: str, path: str, fields: dict[str, Any], body: dict[str, Any] | None = None
    ) -> httpx2.Response:
        """Send a message and hear the answer, or Lost."""
        self.sent += 1
        hit = self.trouble is not None and self.trouble.nth == self.sent
        how = self.trouble.how if hit and self.trouble else ""
        if how == "request":
            raise Lost(message)
        if how == "late":
            self.late.append((message, method, path, fields, body))
            raise Lost(message)
        if how == "hang up":
            self._hang_up(message, method, path, fields, body)
            raise Lost(message)
        answer = self._exchange(message, method, path, fields, body)
        if how == "twice":
            again = self._exchange(message, method, path, fields, body)
            if message != "receipt":
                assert again.json().get("payment") == answer.json().get("payment"), (answer.text, again.text)
        if how == "answer":
            raise Lost(message)
        if how == "crash":
            raise Crash(message)
        return answer

    def _headers(self, message: str, fields: dict[str, Any]) -> dict[str, str]:
        key = self.master if message == "sign-on" else self._mac
        sealed = {"Bank-MAC": mac(key, message, fields)} if key is not None else {}
        return {"Authorization": f"Bearer {self.key}", **sealed}

    def _exchange(
        self, message: str, method: str, path: str, fields: dict[str, Any], body: dict[str, Any] | None
    ) -> httpx2.Response:
        query = (
            {"accounting_date": fields["accounting_date"].isoformat()}
            if method == "GET" and "/payments" not in path
            else None
        )
        with httpx2.Client(base_url=self.url, trust_env=False) as client:
            answer = client.request(
                method,
                f"/api/v1/bank{path}",
                json=body,
                params=query,
                headers=self._headers(message, fields),
                timeout=30,
            )
        assert {"code", "zh", "en"} <= answer.json().keys(), answer.text
        if self._mac is not None and message != "sign-on" and answer.json()["code"] not in ("1001", "1002"):
            told = answer.json()
            amount = told.get("total" if message == "arrears" else "amount")
            fen = amount["fen"] if amount else None
            said = {
                "message": message, "accounting_date": fields["accounting_date"], "serial": fields.get("serial"), "code": told["code"],
                "state": told.get("state", ""), "amount_fen": fen,
            }  # fmt: skip
            assert genuine(self._mac, "answer", said, answer.headers.get("Bank-MAC")), told
        return answer

    def _hang_up(
        self, message: str, method: str, path: str, fields: dict[str, Any], body: dict[str, Any] | None
    ) -> None:
        """All of the request goes out, and the socket is closed at once."""
        request = httpx2.Request(
            method, f"{self.url}/api/v1/bank{path}", json=body, headers=self._headers(message, fields),
            params={"accounting_date": fields["accounting_date"].isoformat()} if body is None else None,
        )  # fmt: skip
        head = f"{method} {request.url.raw_path.decode()} HTTP/1.1\r\n"
        lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        with socket.create_connection((request.url.host, request.url.port or 80)) as link:
            link.sendall((head + lines + "\r\n").encode() + request.read())

    # -- what a counter does

    def sign_on(self) -> None:
        fields = {"accounting_date": self.date, "operator": "柜员7"}
        answer = self.insist("sign-on", "POST", "/sign-on", fields)
        if self.master is not None:
            self._mac = day_key(self.master, self.code, self.date, answer.json()["seed"])

    def sign_off(self) -> None:
        self.insist("sign-off", "POST", "/sign-off", {"accounting_date": self.date, "operator": "柜员7"})

    def insist(self, message: str, method: str, path: str, fields: dict[str, Any]) -> httpx2.Response:
        """Again until an answer comes: for what may be said as often as one likes."""
        body = (
            {k: v.isoformat() if isinstance(v, dt.date) else v for k, v in fields.items()}
            if method == "POST"
            else None
        )
        for _ in range(5):
            try:
                return self.say(message, method, path, fields, body)
            except Lost:
                continue
        raise AssertionError(f"{message} is lost for ever")

    def arrears(self, customer: str) -> dict[str, Any]:
        fields = {"accounting_date": self.date, "customer": customer}
        return dict(self.insist("arrears", "GET", f"/customers/{customer}/arrears", fields).json())

    def pay(self, customer: str, fen: int, bills: tuple[str, ...] = ()) -> Paid:
        """Book, tell, and clear up: at the end `standing` says whether the customer's money is gone."""
        serial = self.serial()
        paid = self.books[serial] = Paid(Payment(serial, customer, fen, self.now), bills)
        try:
            answer = self.tell(paid)
        except Lost:
            self.clear_up(paid)
        else:
            paid.standing = answer.status_code in (200, 201)
        return paid

    def tell(self, paid: Paid) -> httpx2.Response:
        """The payment's message, the same each time."""
        p = paid.payment
        date = accounting_date(p.time.astimezone(SHANGHAI), CUTOFF)
        fields = {
            "accounting_date": date, "serial": p.serial, "customer": p.customer, "amount_fen": p.amount_fen, "time": p.time,
            "prepaid": not paid.bills, "bills": list(paid.bills),
        }  # fmt: skip
        body = {**fields, "accounting_date": date.isoformat(), "time": p.time.isoformat()}
        return self.say("pay", "POST", "/payments", fields, body)

    def clear_up(self, paid: Paid) -> None:
        """No answer: ask what became of it; what is not booked, or not to be learnt, is taken back."""
        date = accounting_date(paid.payment.time.astimezone(SHANGHAI), CUTOFF)
        serial = paid.payment.serial
        try:
            state = self.say(
                "state", "GET", f"/payments/{date}/{serial}", {"accounting_date": date, "serial": serial}
            ).json()["state"]
        except Lost:
            state = ""
        if state == "booked":
            paid.standing = True
        elif state in ("reversed", "blocked"):
            paid.standing = False
            paid.reversed_by = paid.reversed_by or self.serial()
        else:
            self.reverse(paid)

    def reverse(self, paid: Paid) -> httpx2.Response:
        """Take it back, as often as it needs; refused, the money stays with the utility."""
        date = accounting_date(paid.payment.time.astimezone(SHANGHAI), CUTOFF)
        serial, fen = paid.payment.serial, paid.payment.amount_fen
        paid.reversed_by = paid.reversed_by or self.serial()
        fields = {
            "accounting_date": date, "serial": serial, "reversal_serial": paid.reversed_by, "amount_fen": fen, "time": self.now,
        }  # fmt: skip
        body = {"reversal_serial": paid.reversed_by, "amount_fen": fen, "time": self.now.isoformat()}
        for _ in range(5):
            try:
                answer = self.say("reverse", "POST", f"/payments/{date}/{serial}/reversal", fields, body)
            except Lost:
                continue
            paid.standing = answer.status_code != 200
            if paid.standing:
                paid.reversed_by = ""
            return answer
        raise AssertionError("the reversal is lost for ever")

    def receipt(self, paid: Paid) -> dict[str, Any]:
        date, serial = accounting_date(paid.payment.time.astimezone(SHANGHAI), CUTOFF), paid.payment.serial
        fields = {"accounting_date": date, "serial": serial, "operator": "柜员7"}
        for _ in range(5):
            try:
                return dict(
                    self.say(
                        "receipt", "POST", f"/payments/{date}/{serial}/receipt", fields, {"operator": "柜员7"}
                    ).json()
                )
            except Lost:
                continue
        raise AssertionError("the receipt is lost for ever")

    def restart(self) -> None:
        """After a crash: the day's key is fetched anew, and what was under way is cleared up from the books."""
        self._mac = None
        self.sign_on()
        for paid in self.books.values():
            if paid.standing is None:
                self.clear_up(paid)

    def deliver_late(self) -> list[httpx2.Response]:
        """What was held back on the line comes at last."""
        held, self.late = self.late, []
        return [self._exchange(*message) for message in held]

    # -- the night

    def day(self, date: dt.date) -> Day:
        """Its books of an accounting day."""
        of_day = [p for p in self.books.values() if accounting_date(p.payment.time, CUTOFF) == date]
        assert all(p.standing is not None for p in of_day), "something is not cleared up"
        listed = [p for p in of_day if p.standing or p.reversed_by]
        return Day(
            self.code,
            date,
            tuple(p.payment for p in listed),
            tuple(
                Reversal(
                    p.reversed_by, p.payment.serial, p.payment.customer, p.payment.amount_fen, p.payment.time
                )
                for p in listed
                if not p.standing
            ),
        )

    def hand_in(self, day: Day) -> httpx2.Response:
        body = write_day(day)
        fields = {"accounting_date": day.date, "sha256": hashlib.sha256(body).hexdigest()}
        with httpx2.Client(base_url=self.url, trust_env=False) as client:
            return client.post(
                f"/api/v1/bank/days/{day.date}",
                content=body,
                headers=self._headers("day", fields),
                timeout=30,
            )


def altered(day: Day, serial: str, **changes: Any) -> Day:
    """The day with one payment said differently, as a planted error."""
    assert serial in {p.serial for p in day.payments}
    return replace(
        day, payments=tuple(replace(p, **changes) if p.serial == serial else p for p in day.payments)
    )


def without(day: Day, serial: str) -> Day:
    return replace(day, payments=tuple(p for p in day.payments if p.serial != serial))


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The application on a port of its own; its address."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started:
            assert thread.is_alive(), "the server has died"
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)
