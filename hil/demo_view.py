"""What the demo shows while it plays: a line for all that happens, and how things stand."""

import asyncio
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from agent.errors import ChargepointError
from hil.desk import DeskBench
from hil.parts.csms import Received

LOOK_AGAIN_S = 0.1
STATE_EVERY_S = 2.0
INDENT = " " * 9
CLEAR_LINE = "\r\x1b[K"


class View:
    """Prints lines; on a terminal the state stays below them and is refreshed in place."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._began_s = time.monotonic()
        self._state = ""
        self._in_place = self._stream.isatty()
        self._seen: set[str] = set()

    def say(self, text: str) -> None:
        """Something happens at the charger."""
        self._line(f"{self._now()} * {text}")

    def result(self, text: str) -> None:
        """A line as it is."""
        self._state = ""
        self._line(text)

    async def follow(self, bench: DeskBench) -> None:
        """Shows what reaches the CSMS and, every 2 s, the agent's own status. Runs until
        cancelled."""
        shown, state_due_s = 0, time.monotonic() + LOOK_AGAIN_S * 5
        while True:
            for call in bench.csms.calls[shown:]:
                self._line(f"{self._now()}   {self._described(call)}")
            shown = len(bench.csms.calls)
            if time.monotonic() >= state_due_s:
                state_due_s = time.monotonic() + STATE_EVERY_S
                try:
                    self._show_state(state_line(await bench.status()))
                except ChargepointError:
                    self._show_state("the agent does not answer at its console")
            await asyncio.sleep(LOOK_AGAIN_S)

    def _now(self) -> str:
        return f"{time.monotonic() - self._began_s:6.1f} s"

    def _line(self, text: str) -> None:
        if self._in_place:
            self._stream.write(f"{CLEAR_LINE}{text}\n{self._state}")
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def _show_state(self, text: str) -> None:
        if self._in_place:
            width = shutil.get_terminal_size().columns - 1
            self._state = f"{CLEAR_LINE}{text[:width]}"
            self._stream.write(self._state)
        else:
            self._stream.write(f"{INDENT} | {text}\n")
        self._stream.flush()

    def _described(self, call: Received) -> str:
        again = " (sent again)" if call.message_id in self._seen else ""
        self._seen.add(call.message_id)
        return f"CSMS got {call.action}{again}: {', '.join(details(call.action, call.payload))}"


def details(action: str, payload: Mapping[str, Any]) -> Iterator[str]:
    """What somebody who looks on wants to know of a call."""
    match action:
        case "BootNotification":
            station = payload["chargingStation"]
            yield f"{station['vendorName']} {station['model']}"
            yield str(payload["reason"])
        case "StatusNotification":
            yield f"EVSE {payload['evseId']} {payload['connectorStatus']}"
        case "Authorize":
            yield f"card {payload['idToken']['idToken']}"
        case "TransactionEvent":
            yield from _transaction_details(payload)
        case "SecurityEventNotification":
            yield str(payload["type"])
        case _:
            yield f"{len(payload)} fields"


def _transaction_details(payload: Mapping[str, Any]) -> Iterator[str]:
    info = payload["transactionInfo"]
    yield f"{info['transactionId'][:8]} #{payload['seqNo']} {payload['eventType']}"
    yield str(payload["triggerReason"])
    if "chargingState" in info:
        yield str(info["chargingState"])
    for meter_value in payload.get("meterValue", ()):
        yield from _samples(meter_value["sampledValue"])
    if payload.get("offline"):
        yield "happened or waited offline"


def _samples(samples: list[dict[str, Any]]) -> Iterator[str]:
    for sample in samples:
        if "measurand" not in sample:
            yield f"{sample['value']:.0f} Wh"
    amps = [f"{s['value']:.0f}" for s in samples if s.get("measurand") == "Current.Import"]
    if amps:
        yield f"{'/'.join(amps)} A"


def state_line(status: Mapping[str, Any]) -> str:
    """The agent's status in one line."""
    places = [_place(connector) for connector in status["connectors"]]
    return " | ".join([f"{status['link']}, {status['queue']} waiting", *places])


def _place(connector: Mapping[str, Any]) -> str:
    state = connector.get("charging_state") or connector["status"]
    offered_a, drawn_a = connector.get("offered_a") or 0.0, connector.get("current_a") or 0.0
    energy = connector.get("energy_kwh")
    register = "-" if energy is None else f"{energy:.3f}"
    return (
        f"EVSE {connector['evse_id']} {state}, {drawn_a:.0f} of {offered_a:.0f} A, {register} kWh"
    )
