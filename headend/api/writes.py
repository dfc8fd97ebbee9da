"""Writes: an Idempotency-Key is required, and a repeat gets the first answer again without acting again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response

from headend.api.documents import answer, jsonable
from headend.api.house import House
from headend.api.problems import Problem
from headend.store import idempotency
from headend.store.db import Connection
from headend.store.idempotency import Answer
from headend.store.keys import Key


def _required(
    idempotency_key: Annotated[
        str | None,
        Header(max_length=200, description="a fresh random text for each new write; the same for a retry"),
    ] = None,
) -> str:
    if not idempotency_key or not idempotency_key.strip():
        raise Problem(
            400,
            "idempotency-key-missing",
            "a write needs the header Idempotency-Key: a fresh random text for each new write, "
            "the same text for a retry",
        )
    return idempotency_key.strip()


OnceKey = Annotated[str, Depends(_required)]


def once(
    request: Request,
    house: House,
    key: Key,
    once_key: str,
    *,
    body: Any,
    act: Callable[[Connection], tuple[int, dict[str, Any]]],
) -> Response:
    """Run `act` (status, body) and keep its answer; a repeat of the same request is given that answer and
    does nothing.

    An act that raises is not remembered, so the same key may be tried again. Acts commit by themselves;
    should the machine die
    between an act and its memory, the retry acts again, which is why every act is also idempotent by what it
    names
    (order request key, payment serial, state of the order).
    """
    wanted = json.dumps([request.method, request.url.path, jsonable(body)], sort_keys=True).encode()
    fingerprint = hashlib.sha256(wanted).digest()
    with house.connection() as conn, idempotency.one_at_a_time(conn, person=key.person, key=once_key):
        before = idempotency.recall(conn, person=key.person, key=once_key, request=fingerprint)
        if before is None:
            status, document = act(conn)
            given = Answer(status, jsonable(document))
            idempotency.remember(conn, person=key.person, key=once_key, request=fingerprint, answer=given)
        else:
            given = before
    headers = {} if before is None else {"Idempotency-Replayed": "true"}
    if "location" in given.body:
        headers["Location"] = str(given.body["location"])
    return answer(request, given.body, status=given.status, headers=headers)
