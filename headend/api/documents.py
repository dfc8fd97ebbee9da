"""How things look on the wire: instants, energy, money, pages, entity tags."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import numpy as np
from fastapi import Query, Request, Response

from headend.api.problems import Problem
from protocols.localtime import as_datetime, instant, midnight

#: rows on a page when the caller does not say, and at most
PAGE: Final = 50
MAX_PAGE: Final = 500
#: registers and energies are integers of this many kWh
ENERGY_UNIT: Final = Decimal("0.0001")

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="rows on a page")]
Cursor = Annotated[str | None, Query(max_length=200, description="from `next` of the page before")]


def when(value: dt.datetime | np.datetime64 | None) -> str | None:
    """An instant in UTC with its offset, as RFC 3339 writes it."""
    if value is None:
        return None
    moment = as_datetime(value) if isinstance(value, np.datetime64) else value.astimezone(dt.UTC)
    return moment.isoformat().replace("+00:00", "Z")


def energy(units: int | None) -> str | None:
    """1e-4 kWh -> exact decimal text in kWh. A text, because a float would not be the register."""
    return None if units is None else f"{units * ENERGY_UNIT:f}"


def money(fen: int | None) -> dict[str, Any] | None:
    """Fen as the integer that counts, and yuan as text for people."""
    if fen is None:
        return None
    sign, whole = "-" if fen < 0 else "", abs(fen)
    return {"fen": fen, "yuan": f"{sign}{whole // 100}.{whole % 100:02d}"}


def jsonable(value: Any) -> Any:
    """Store rows -> JSON: instants in UTC, dates, decimals as exact text, numpy scalars as Python ones."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item) for item in value]
    if isinstance(value, dt.datetime | np.datetime64):
        value = when(value)
    elif isinstance(value, dt.date):
        value = value.isoformat()
    elif isinstance(value, Decimal):
        value = f"{value:f}"
    elif isinstance(value, np.generic):
        value = value.item()
    elif isinstance(value, bytes | memoryview):
        value = bytes(value).hex()
    return value


def answer(
    request: Request, body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON response with the caller's rate-limit state."""
    return Response(
        json.dumps(jsonable(body), ensure_ascii=False, separators=(",", ":")),
        status_code=status,
        media_type="application/json",
        headers={**rate(request), **(headers or {})},
    )


def rate(request: Request) -> dict[str, str]:
    """The RateLimit fields for the caller of this request."""
    fields: dict[str, str] = getattr(request.state, "rate", {})
    return fields


def single(request: Request, body: Any, *, headers: Mapping[str, str] | None = None) -> Response:
    """One resource with its entity tag; 304 when the caller has it already (RFC 9110, 13.1.2)."""
    text = json.dumps(jsonable(body), ensure_ascii=False, separators=(",", ":")).encode()
    tag = f'"{hashlib.sha256(text).hexdigest()[:32]}"'
    fields = {**rate(request), "ETag": tag, "Cache-Control": "private, no-cache", **(headers or {})}
    if matches(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=fields)
    return Response(text, media_type="application/json", headers=fields)


def matches(condition: str | None, tag: str) -> bool:
    """Whether an If-None-Match names the tag; weak comparison, as GET asks for."""
    if condition is None:
        return False
    theirs = [part.strip().removeprefix("W/") for part in condition.split(",")]
    return "*" in theirs or tag in theirs


def page(request: Request, name: str, items: list[Any], following: str | None, **more: Any) -> Response:
    """A page of a list: {name: items, next: cursor or null}, and a Link to the next page."""
    headers = {"Link": link(request, following)} if following is not None else {}
    return answer(request, {name: items, "next": following, **more}, headers=headers)


def link(request: Request, cursor: str) -> str:
    """The Link field's value for the page at `cursor`, all other parameters kept."""
    parameters = [(k, v) for k, v in request.query_params.multi_items() if k != "cursor"]
    return f'<{request.url.path}?{urlencode([*parameters, ("cursor", cursor)])}>; rel="next"'


def pack(*parts: str | int) -> str:
    """A cursor that callers need not understand."""
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def unpack(cursor: str | None, *kinds: type) -> tuple[Any, ...] | None:
    """The parts of a cursor made by `pack`, None without one. Problem 400 if it was not made here."""
    if not cursor:
        return None
    try:
        parts = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        fits = isinstance(parts, list) and [type(part) for part in parts] == list(kinds)
        if fits and all(abs(part) < 2**63 for part in parts if isinstance(part, int)):
            return tuple(parts)
    except ValueError:
        pass
    raise Problem(400, "bad-cursor", f"{cursor[:60]!r} is not a cursor of this list; use `next` of a page")


def moment(text: str, zone: ZoneInfo, *, name: str, end: bool) -> np.datetime64:
    """A parameter that is an instant with offset, or a local date: its beginning, or with `end` its end.
    Problem 422 otherwise.
    """
    try:
        if len(text) == 10:
            day = dt.date.fromisoformat(text)
            return midnight(day + dt.timedelta(days=1) if end else day, zone)
        parsed = dt.datetime.fromisoformat(text)
        if parsed.tzinfo is None:
            raise ValueError("it has no offset from UTC")
        return instant(parsed)
    except (ValueError, OverflowError) as error:
        raise Problem(
            422,
            "invalid-request",
            f"query/{name}: {text[:40]!r} is neither a date (2026-03-11) nor an instant with offset "
            f"(2026-03-11T10:00:00+08:00; a + in a URL is written %2B): {error}",
            errors=[{"where": f"query/{name}", "problem": str(error)}],
        ) from None


def chosen(accept: str | None, offered: tuple[str, ...]) -> str:
    """The offered media type that an Accept field prefers (RFC 9110, 12.5.1). Problem 406 if it accepts none."""
    if not accept or not accept.strip():
        return offered[0]
    best, best_rank = "", (0.0, 0)
    for rank, media in enumerate(offered):
        quality, precision = 0.0, -1
        for part in accept.split(","):
            kind, *parameters = (field.strip().lower() for field in part.split(";"))
            exact = (
                2
                if kind == media
                else 1
                if kind == media.split("/")[0] + "/*"
                else 0
                if kind == "*/*"
                else -1
            )
            if exact > precision:
                precision = exact
                quality = _quality(parameters)
        if quality > 0 and (quality, -rank) > (best_rank if best else (0.0, -len(offered))):
            best, best_rank = media, (quality, -rank)
    if not best:
        raise Problem(406, "not-acceptable", f"this is served as {', '.join(offered)}", offered=list(offered))
    return best


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0
