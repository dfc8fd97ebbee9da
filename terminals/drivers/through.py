"""A meter's own protocol through the terminal in front of it: each frame travels inside a request of the terminal's protocol."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from protocols.errors import FrameError, ProtocolError, Refused
from protocols.exchange import NEED_DATA, Answer, Exchange, Send
from protocols.machine import AskMachine
from terminals.drivers.driver import Script, T

#: A frame for the meter -> the terminal's request that carries it.
Carry = Callable[[bytes], Any]
#: The terminal's answer -> the bytes in it that the meter sent.
Content = Callable[[Any], bytes]


class NotReached(ProtocolError):
    """The terminal brought no answer from the meter. What the meter has heard and done is unknown, so this is no refusal."""


def through(script: Script[T], meter: Exchange, carry: Carry, content: Content = bytes) -> Script[T]:
    """Run a script of the meter's own protocol, frame by frame, as a script of the terminal's.

    `meter` is fresh state of the meter's protocol. Refused by the meter goes into the script. NotReached: the terminal has no answer;
    FrameError: what it brought is none.
    """
    try:
        request = next(script)
        while True:
            try:
                if isinstance(request, AskMachine):
                    answer = yield request
                else:
                    answer = yield from _carried(request, meter, carry, content)
            except Refused as refused:
                request = script.throw(refused)
            else:
                request = script.send(answer)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        script.close()


def _carried(request: Any, meter: Exchange, carry: Carry, content: Content) -> Script[Any]:
    frame = meter.send(request)
    event = meter.next_event()
    if isinstance(event, Answer):  # a broadcast: nobody answers it, and the terminal says just that
        with contextlib.suppress(Refused):
            yield carry(frame)
        return event.value
    while True:
        if event is NEED_DATA:
            meter.receive_data((yield from _brought(carry(frame), content)))
            event = meter.next_event()
            if event is NEED_DATA:
                raise FrameError("forwarded: what the terminal brought back is no whole answer of the meter")
        elif isinstance(event, Answer):
            return event.value
        elif isinstance(event, Send):
            frame, event = event.data, NEED_DATA
        else:  # Ignored: stale or foreign; the answer may stand behind it
            event = meter.next_event()
            if event is NEED_DATA:
                raise FrameError("forwarded: the terminal brought back another meter's frame")


def _brought(carrying: Any, content: Content) -> Script[bytes]:
    """The bytes that came back. A terminal's refusal must not be taken for the meter's: it says nothing about the meter."""
    try:
        back = yield carrying
    except Refused as refused:
        raise NotReached(f"the meter was not reached: {refused}") from None
    brought = content(back)
    if not brought:
        raise NotReached("the meter was not reached: the terminal brought nothing back")
    return brought
