"""`{"cmd": "trace", "devices": true}` of the console: the bytes on the lines of the devices while
somebody looks. Where a card number may be among them, how many there are and no more."""

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from agent.console import ConsoleError
from agent.frame_trace import HEARD, LINK, LISTENERS, SENT, Backlog, Told, stamp
from agent.settings import Settings
from drivers.bus.tap import TAP
from drivers.contract import Device
from drivers.registry import roles_of

BYTES_SHOWN = 300
"""The longest frame of Modbus has 256."""
HEAD = 4
"""Bytes that are shown of a frame on a line where a meter signs: it may name who pays."""
CARDS, SIGNER = "a card", "a meter that signs"


class LineTrace:
    """Hands what the lines carry to those who listen."""

    def __init__(
        self, settings: Settings, devices: Mapping[str, Device], utc_s: Callable[[], float]
    ) -> None:
        self._names = names_of(settings)
        self._secret = secret_ports(settings, devices)
        self._utc_s = utc_s
        self._listeners: list[Bytes] = []

    def follow(self) -> AsyncGenerator[Told, None]:
        """One dict for each piece, from now on. Raises ConsoleError where too many listen."""
        if len(self._listeners) >= LISTENERS:
            raise ConsoleError(f"{LISTENERS} others trace; end one of them and try again")
        return self._followed()

    async def _followed(self) -> AsyncGenerator[Told, None]:
        listener = Bytes(self._names, self._secret)
        self._listeners.append(listener)
        TAP.seen = self._see
        try:
            names = ", ".join(sorted(self._names.values())) or "none"
            yield {"time": stamp(self._utc_s()), "direction": LINK, "text": f"lines: {names}"}
            while True:
                yield await listener.next()
        finally:
            self._listeners.remove(listener)
            if not self._listeners:
                TAP.seen = None

    def _see(self, port: str, is_sent: bool, data: bytes) -> None:
        at_s = self._utc_s()
        for listener in self._listeners:
            listener.put(at_s, (port, is_sent, data), len(data))


class Bytes(Backlog):
    """What one who listens has not taken yet."""

    def __init__(self, names: Mapping[str, str], secret: Mapping[str, str]) -> None:
        super().__init__()
        self._names = names
        self._secret = secret

    def told(self, happened: Any) -> Told:
        port, is_sent, data = happened
        why = self._secret.get(port, "")
        most = {CARDS: 0, SIGNER: HEAD}.get(why, BYTES_SHOWN)
        told = {
            "direction": SENT if is_sent else HEARD,
            "line": self._names.get(port, port),
            "bytes": data[:most].hex(" "),
        }
        if len(data) > most:
            told["note"] = f"{len(data)} bytes" + (f", {why}" if why else "")
        return told


def names_of(settings: Settings) -> dict[str, str]:
    """Port -> name of the line or device in charger.yaml that it belongs to."""
    entries = (*settings.devices.items(), *settings.lines.items())
    ports = {str(getattr(entry, "port", "")): name for name, entry in entries}
    return {port: name for port, name in ports.items() if port}


def secret_ports(settings: Settings, devices: Mapping[str, Device]) -> dict[str, str]:
    """Ports where a card number may pass -> why."""
    found: dict[str, str] = {}
    for name, options in settings.devices.items():
        line = settings.lines.get(getattr(options, "line", ""))
        port = line.port if line is not None else getattr(options, "port", "")
        if "reader" in roles_of(options):
            found[port] = CARDS
        elif getattr(devices.get(name), "signs", False):
            found.setdefault(port, SIGNER)
    return found
