"""Who is calling, what they may do, and how often."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Annotated, Final

from fastapi import Depends, Request, Response

from headend.api.house import Here
from headend.api.problems import Problem
from headend.store import keys
from headend.store.keys import Key

#: Requests per minute and caller. A CRM page makes a handful, a console one in three seconds; a loop gone
#: wild makes thousands.
PER_MINUTE: Final = 600
#: Attempts per minute and address with a key that is not valid: enough for a mistake, useless for guessing.
FAILURES_PER_MINUTE: Final = 30
#: Callers remembered at once; the longest idle one is forgotten first.
REMEMBERED: Final = 4096
WINDOW: Final = 60.0


@dataclass(slots=True)
class _Window:
    began: float
    used: int


class Limiter:
    """Requests counted per caller in windows of a minute, within this process. The clock is real time: this
    protects a machine.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._windows: OrderedDict[str, _Window] = OrderedDict()
        self._lock = Lock()

    def take(self, caller: str, cost: int = 1) -> tuple[int, int]:
        """(requests left, seconds until the window ends); -1 left means: refuse. `cost` 0 only looks."""
        now = self._clock()
        with self._lock:
            window = self._windows.get(caller)
            if window is None or now - window.began >= WINDOW:
                window = self._windows[caller] = _Window(now, 0)
            self._windows.move_to_end(caller)
            while len(self._windows) > REMEMBERED:
                self._windows.popitem(last=False)
            reset = max(1, int(window.began + WINDOW - now + 0.999))
            if window.used + cost > self.per_minute or (cost == 0 and window.used >= self.per_minute):
                return -1, reset
            window.used += cost
            return self.per_minute - window.used, reset


@dataclass(frozen=True, slots=True)
class Limits:
    """The limiters of one application."""

    requests: Limiter
    failures: Limiter


def limits(per_minute: int = PER_MINUTE) -> Limits:
    return Limits(Limiter(per_minute), Limiter(FAILURES_PER_MINUTE))


def caller(request: Request, response: Response, house: Here) -> Key:
    """The key of the request. Problem 401 without a valid one, 429 when its owner asks too often."""
    shield: Limits = request.app.state.limits
    address = request.client.host if request.client else "unknown"
    left, reset = shield.failures.take(address, cost=0)
    if left < 0:
        raise _too_many(reset, FAILURES_PER_MINUTE, "too many requests with a key that is not valid")
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    key = None
    if scheme.lower() == "bearer" and text.strip():
        with house.connection() as conn:
            key = keys.check(conn, text.strip())
        if key is None:
            shield.failures.take(address)
    if key is None:
        raise Problem(
            401,
            "unauthorized",
            "send a valid API key as 'Authorization: Bearer hes_...'; `headend init --key-for PERSON` makes one",
            headers={"WWW-Authenticate": 'Bearer realm="headend"'},
        )
    left, reset = shield.requests.take(key.prefix)
    if left < 0:
        raise _too_many(reset, shield.requests.per_minute, "too many requests with this key")
    policy = f'"default";q={shield.requests.per_minute};w={int(WINDOW)}'
    request.state.rate = {"RateLimit-Policy": policy, "RateLimit": f'"default";r={left};t={reset}'}
    return key


def _too_many(reset: int, quota: int, why: str) -> Problem:
    return Problem(
        429,
        "too-many-requests",
        f"{why}; try again in {reset} s",
        headers={
            "Retry-After": str(reset),
            "RateLimit-Policy": f'"default";q={quota};w={int(WINDOW)}',
            "RateLimit": f'"default";r=0;t={reset}',
        },
    )


def need(scope: str) -> Callable[[Key], Key]:
    """A dependency: the caller, if the key has the scope; Problem 403 if not."""

    def check(key: Annotated[Key, Depends(caller)]) -> Key:
        if not key.may(scope):
            raise Problem(
                403, "scope-missing", f"this key of {key.person} lacks the scope {scope!r}", needs=scope
            )
        return key

    return check


Reader = Annotated[Key, Depends(need("read"))]
Operator = Annotated[Key, Depends(need("operate"))]
Approver = Annotated[Key, Depends(need("approve"))]
Cashier = Annotated[Key, Depends(need("pay"))]
Teller = Annotated[Key, Depends(need("notify"))]
Admin = Annotated[Key, Depends(need("admin"))]


def banker(key: Annotated[Key, Depends(need("bank"))]) -> Key:
    """A key that speaks for one bank; Problem 403 for any other, an administrator's too."""
    if key.bank is None:
        raise Problem(
            403,
            "scope-missing",
            f"this key of {key.person} belongs to no bank: `headend bank key`",
            needs="bank",
        )
    return key


Banker = Annotated[Key, Depends(banker)]
