"""A script of one protocol, spoken through another: each of its frames travels inside a request to the terminal before the meter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from protocols.errors import FrameError, Refused
from protocols.exchange import Answer, Exchange, Ignored, Send
from protocols.machine import AskMachine
from terminals.drivers.driver import Script

T = TypeVar("T")
#: The meter's frame -> the request that carries it; its answer -> the bytes that the meter sent.
Wrap = Callable[[bytes], Any]
Unwrap = Callable[[Any], bytes]


def forwarded(script: Script[T], exchange: Exchange, wrap: Wrap, unwrap: Unwrap) -> Script[T]:
    """The script's result. `exchange` is the meter's side of the conversation, fresh for this script.

    A refusal by the meter goes into the script. A refusal by the terminal, or its silence about the meter, is a FrameError: neither
    says what the meter did, so a relay command that ended so must be read back.
    """
    try:
        request = next(script)
        while True:
            try:
                answer = yield from _ask(request, exchange, wrap, unwrap)
            except Refused as refusal:
                request = script.throw(refusal)
            else:
                request = script.send(answer)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        script.close()


def _ask(request: Any, exchange: Exchange, wrap: Wrap, unwrap: Unwrap) -> Script[Any]:
    if isinstance(request, AskMachine):
        return (yield request)
    frame = exchange.send(request)
    while True:
        exchange.receive_data((yield from _carried(frame, wrap, unwrap)))
        event = exchange.next_event()
        while isinstance(event, Ignored):
            event = exchange.next_event()
        if isinstance(event, Answer):
            return event.value
        if not isinstance(event, Send):
            raise FrameError("forwarding: the terminal brought no answer from the meter")
        frame = event.data


def _carried(frame: bytes, wrap: Wrap, unwrap: Unwrap) -> Script[bytes]:
    try:
        reply = yield wrap(frame)
    except Refused as denial:
        raise FrameError(f"forwarding: {denial}, which says nothing about the meter") from None
    return unwrap(reply)
