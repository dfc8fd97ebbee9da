"""Commands to meters and terminals: asked for here, approved by a second person, carried out and proven elsewhere."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from headend.api.auth import Approver, Operator, Reader
from headend.api.documents import PAGE, Cursor, Limit, pack, page, single, unpack
from headend.api.house import Here
from headend.api.writes import OnceKey, once
from headend.control.load_control import check_request
from headend.control.order_state import NoSuchStep
from headend.store import orders
from headend.store.db import Connection
from headend.store.orders import Writing

router = APIRouter(prefix="/commands", tags=["commands"])


class CommandIn(BaseModel):
    """What is to be done to which meter, or to which terminal itself, and why."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["relay", "read", "clock", "control", "prices"]
    action: str = Field(
        default="",
        max_length=20,
        description="relay: trip, permit, close, keep-power, end-keep-power; clock: read, set; prices: read; read: none; control, of a terminal: "
        "read, keep-power, end-keep-power, release, write",
    )
    meter: str = Field(default="", max_length=60, description="asset number")
    terminal: str = Field(
        default="",
        max_length=60,
        description="code of the terminal itself, instead of a meter: its clock, or load control",
    )
    request: dict[str, Any] = Field(
        default={},
        description="of control: group, off, set, on, power_rounds, energy_rounds, alarm_minutes, security_w, sliding_minutes; "
        "of keep-power: half_hours",
    )
    reason: str = Field(min_length=3, max_length=400, description="goes to the audit trail")
    valid_s: int = Field(
        default=3600,
        ge=60,
        le=86400,
        strict=True,
        description="seconds until the command is void unless it was sent",
    )

    @model_validator(mode="after")
    def _action_fits(self) -> CommandIn:
        if bool(self.meter) == bool(self.terminal):
            raise ValueError("name either a meter or a terminal")
        possible = (orders.ACTIONS if self.meter else orders.TERMINAL_ACTIONS).get(self.kind, ())
        if (
            self.kind == "prices"
        ):  # what is written is worked out from the tariff: by a campaign, or at the command line
            possible = possible[:1]
        if self.action not in possible:
            names = ", ".join(possible) if any(possible) else "none"
            of = "" if self.meter else " of a terminal"
            raise ValueError(f"{self.kind}{of} has no action {self.action!r}; possible: {names}")
        if (self.kind, self.action) == ("control", "purchase"):
            raise ValueError("a purchase that no payment stands behind is a write")
        if self.kind == "control":
            check_request(self.action, self.request)  # a ControlError is a ValueError
        elif self.request:
            raise ValueError(f"{self.kind} takes no request")
        return self


@router.post("", status_code=202)
def ask(request: Request, body: CommandIn, house: Here, key: Operator, once_key: OnceKey) -> Response:
    """Ask for a command. A trip passes every gate or is refused (409, with the gates), then waits for a
    second person.
    """
    now = house.now

    def act(conn: Connection) -> tuple[int, dict[str, Any]]:
        order_id = orders.request(
            conn,
            kind=body.kind,
            action=body.action,
            asset=body.meter,
            terminal=body.terminal,
            reason=body.reason,
            who=key.person,
            now=now,
            expires=now + np.timedelta64(body.valid_s, "s"),
            request_key=f"api:{key.person}:{once_key}",
            writing=Writing(body.request),
        )
        return 202, _document(orders.get(conn, order_id))

    return once(request, house, key, once_key, body=body.model_dump(), act=act)


@router.get("")
def listing(
    request: Request,
    house: Here,
    _: Reader,
    *,
    meter: Annotated[str | None, Query(max_length=60, description="asset number")] = None,
    terminal: Annotated[
        str | None, Query(max_length=60, description="code: only commands to that terminal itself")
    ] = None,
    kind: Annotated[
        Literal[
            "relay",
            "read",
            "clock",
            "parameters",
            "archive",
            "tasks",
            "control",
            "purchase",
            "prices",
            "limits",
        ]
        | None,
        Query(),
    ] = None,
    open_only: Annotated[bool, Query(alias="open", description="only those not ended")] = False,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> Response:
    """Commands, newest first."""
    position = unpack(cursor, int)
    with house.connection() as conn:
        rows = orders.listing(
            conn,
            limit=limit + 1,
            before=position[0] if position else None,
            meter=meter,
            terminal=terminal,
            open_only=open_only,
            kind=kind,
        )
    following = pack(rows[limit - 1]["order_id"]) if len(rows) > limit else None
    return page(request, "commands", [_document(row) for row in rows[:limit]], following)


@router.get("/{command}")
def one(request: Request, command: int, house: Here, _: Reader) -> Response:
    """One command with every step it took."""
    with house.connection() as conn:
        return single(request, _document(orders.get(conn, command)))


class ApprovalIn(BaseModel):
    """What the approver takes upon himself."""

    model_config = ConfigDict(extra="forbid")

    accept: list[Literal["fall"]] = Field(
        default=[],
        max_length=5,
        description="gates whose doubt you have looked at: `fall`, a balance that fell by more than a few usual days",
    )


@router.post("/{command}/approve", status_code=202)
def approve(
    request: Request,
    command: int,
    house: Here,
    key: Approver,
    once_key: OnceKey,
    body: ApprovalIn | None = None,
) -> Response:
    """Be the second person of a trip, or of a write to a terminal or a meter (its `request` says what). All gates are asked again; whoever asked
    for it is refused. Where a person must look at something first, `accept` says that you have."""
    accept = body.accept if body else []

    def act(conn: Connection) -> tuple[int, dict[str, Any]]:
        try:
            orders.approve(conn, command, who=key.person, now=house.now, accept=accept)
        except NoSuchStep:
            conn.rollback()
            if orders.get(conn, command)["approved_by"] != key.person:
                raise
            # this person's approval is there already: its answer was lost, not its effect
        return 202, _document(orders.get(conn, command))

    return once(request, house, key, once_key, body={"accept": accept} if accept else {}, act=act)


@router.post("/{command}/cancel")
def cancel(request: Request, command: int, house: Here, key: Operator, once_key: OnceKey) -> Response:
    """Withdraw a command that has not been sent; one that may be on the wire is beyond recall (409)."""

    def act(conn: Connection) -> tuple[int, dict[str, Any]]:
        try:
            orders.cancel(conn, command, who=key.person, now=house.now)
        except NoSuchStep:
            conn.rollback()
            if orders.get(conn, command)["state"] != "cancelled":
                raise
        return 200, _document(orders.get(conn, command))

    return once(request, house, key, once_key, body={}, act=act)


def _document(row: dict[str, Any]) -> dict[str, Any]:
    """An order as the operation resource that callers follow."""
    document = {
        "id": row["order_id"],
        "location": f"/api/v1/commands/{row['order_id']}",
        "kind": row["kind"],
        "action": row["action"],
        "meter": row["asset"],
        "terminal": row["terminal"],
        "state": row["state"],
        "open": row["is_open"],
        "reason": row["reason"],
        "priority": row["priority"],
        "requested_by": row["requested_by"],
        "requested_at": row["requested_at"],
        "approved_by": row["approved_by"],
        "approved_at": row["approved_at"],
        "expires_at": row["expires_at"],
        "not_before": row["not_before"],
        "batch": row["batch_id"],
        "accepted": row["accepted"],
        "sent_at": row["sent_at"],
        "ended_at": row["ended_at"],
        "outcome": row["outcome"],
        "request": row["request"],
        "result": row["result"],
    }
    if "events" in row:
        document["events"] = row["events"]
    return document
