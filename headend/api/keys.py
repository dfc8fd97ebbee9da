"""API keys: who holds one, and taking one away. They are made on the head-end's own machine, by `headend init --key-for`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from headend.api.auth import Admin
from headend.api.documents import answer
from headend.api.house import Here
from headend.api.writes import OnceKey, once
from headend.store import keys
from headend.store.db import Connection

router = APIRouter(prefix="/keys", tags=["keys"])


@router.get("")
def listing(request: Request, house: Here, _: Admin) -> Response:
    """Every key, newest first, without its secret."""
    with house.connection() as conn:
        return answer(request, {"keys": keys.listing(conn)})


@router.post("/{prefix}/revoke")
def revoke(request: Request, prefix: str, house: Here, key: Admin, once_key: OnceKey) -> Response:
    """Make a key useless from the next request on."""

    def act(conn: Connection) -> tuple[int, dict[str, Any]]:
        keys.revoke(conn, prefix)
        return 200, {"prefix": prefix, "revoked": True}

    return once(request, house, key, once_key, body={}, act=act)
