"""Masters that hear what a terminal says beside what it was asked: whoever has its line, a meter's driver or a station, tells the same ears."""

from __future__ import annotations

from dataclasses import replace
from zoneinfo import ZoneInfo

from protocols.dlt698.apdu import Apdu
from protocols.dlt698.attentive import AttentiveMaster
from protocols.dlt698.frame import Address
from protocols.errors import FrameError
from protocols.exchange import Answer, Event, Ignored
from protocols.gdw376.exchange import Master, Reply
from protocols.gdw376.forms import Event as Record
from protocols.gdw376.frame import decode, parse_address
from protocols.gdw376.values import decode_units
from terminals.drivers import events376, events698
from terminals.drivers.ears import Ears


class Listening376(Master):
    """Bit ACD with EC1 and EC2 in its answers, and event records (AFN 0E) that it sends of its own accord."""

    def __init__(self, counter: int, terminal: str, zone: ZoneInfo, ears: Ears) -> None:
        super().__init__(counter)
        self._terminal = terminal
        self._zone = zone
        self._ears = ears

    def next_event(self) -> Event:
        event = super().next_event()
        if isinstance(event, Answer) and isinstance(event.value, Reply):
            self._ears.says(self._terminal, event.value.ec)
        elif isinstance(event, Ignored):
            self._overheard(event.frame)
        return event

    def _overheard(self, raw: bytes) -> None:
        try:
            frame = decode(raw)
            own = frame.uplink and frame.address.text == parse_address(self._terminal).text
            if not own or frame.afn != 0x0E:
                return
            units = decode_units(frame.afn, frame.body, uplink=True)
        except FrameError:
            return  # what cannot be read is in the terminal's list still
        records = [v.value for unit in units for v in unit.values if isinstance(v.value, Record)]
        found = [events376.happening(record, self._zone) for record in records]
        self._ears.tells(self._terminal, [event for event in found if event is not None])


class Listening698(AttentiveMaster):
    """Bit ACD of its answers, and reports, which are acknowledged and kept."""

    def __init__(self, server: Address, terminal: str, zone: ZoneInfo, ears: Ears) -> None:
        super().__init__(server, on_report=self._reported)
        self._terminal = terminal
        self._zone = zone
        self._ears = ears

    def next_event(self) -> Event:
        event = super().next_event()
        if isinstance(event, Answer):
            self._ears.says(self._terminal, self.acd or None)
        return event

    def _reported(self, apdu: Apdu) -> None:
        # of a meter that it does not name, the report is the terminal's word: whoever is asked just now has nothing to do with it
        told = [
            replace(e, of="terminal") if e.of == "meter" else e for e in events698.reported(apdu, self._zone)
        ]
        self._ears.tells(self._terminal, told)
