"""The demo's people talk to the head-end as the CRM would: over REST, each with a key of their own."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from typing import Any


class RestError(Exception):
    """The API said no, or nothing."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Rest:
    """One person at the API of `base` (http://host:port)."""

    base: str
    key: str

    def get(self, path: str) -> Any:
        """The JSON document at /api/v1/`path`."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Post once: a fresh idempotency key."""
        return self._ask("POST", path, body if body is not None else {})

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        request = urllib.request.Request(
            f"{self.base}/api/v1/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.key}",
                "Content-Type": "application/json",
                **({"Idempotency-Key": uuid.uuid4().hex} if body is not None else {}),
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            raise RestError(error.code, f"{method} {path}: {error.code} {text[:300]}") from None
        except OSError as error:
            raise RestError(0, f"{method} {path}: {error}") from None
