"""The technician's file of the desk bench."""

from typing import Any

import yaml
from msgspec import Struct

IDENTITY = "DESK-1"
METER_MODEL = "eastron_sdm630_v2"
PILOTS = {1: "left", 2: "right"}
"""EVSE -> name of its controller, which is also the name of its port."""
LINE = "rs485"
READER = "reader"
BOARD, BAY = "board", "bay_left"
"""The device with the lines below, and the bay sensor of EVSE 1 there."""
EMERGENCY_STOP, DOOR, BAY_LEFT, LAMP_FREE, LAMP_CHARGING, LAMP_FAULT = range(6)
"""Lines of gpiochip0."""
MAIN_METER, MAIN_UNIT = "meter_main", 9
"""The meter at the grid connection and its number on the line."""


class DeskFile(Struct, frozen=True):
    """What differs from desk to desk. `ports` by the names above, `supply_a` per phase."""

    ports: dict[str, str]
    csms_url: str
    data_directory: str
    supply_a: float
    sample_interval_s: int
    main_meter: bool = False
    meter_inside: bool = False
    """The first EVSE's controller is its meter as well, on one phase."""
    password_file: str | None = None
    gpio: bool = False

    def text(self) -> str:
        """charger.yaml, with everything that an installation would have."""
        content = {
            "station": {
                "identity": IDENTITY,
                "vendor": "Chargepoint",
                "model": "Desk bench",
                "serial": "D-0001",
            },
            "csms": [{"url": self.csms_url} | self._login()],
            "supply": {"current_a": self.supply_a},
            "evses": [self._evse(evse_id, pilot) for evse_id, pilot in PILOTS.items()],
            "main_meter": MAIN_METER if self.main_meter else None,
            "devices": self._devices(),
            "lines": {LINE: {"port": self.ports[LINE]}},
            "data_directory": self.data_directory,
            "ocpp": {"variables": self._first_values()},
        }
        return yaml.safe_dump(content, sort_keys=False)

    def _is_inside(self, evse_id: int) -> bool:
        return self.meter_inside and evse_id == min(PILOTS)

    def _evse(self, evse_id: int, pilot: str) -> dict[str, Any]:
        evse: dict[str, Any] = {
            "id": evse_id,
            "meter": pilot if self._is_inside(evse_id) else f"meter_{pilot}",
            "connectors": [
                {"id": 1, "pilot": pilot, "phases": 1 if self._is_inside(evse_id) else 3}
            ],
        }
        if self.gpio and evse_id == min(PILOTS):
            evse["bay_sensor"] = {"device": BOARD, "input": BAY}
        return evse

    def _login(self) -> dict[str, Any]:
        if self.password_file is None:
            return {"lab_unsecured": True}
        return {"password_file": self.password_file}

    def _devices(self) -> dict[str, Any]:
        devices: dict[str, Any] = {
            READER: {"driver": "serial_reader", "port": self.ports[READER], "evses": [*PILOTS]}
        }
        for evse_id, pilot in PILOTS.items():
            devices[pilot] = {"driver": "openevse", "port": self.ports[pilot]}
            if not self._is_inside(evse_id):
                devices[f"meter_{pilot}"] = self._meter(evse_id)
        if self.main_meter:
            devices[MAIN_METER] = self._meter(MAIN_UNIT)
        if self.gpio:
            devices[BOARD] = _board()
        return devices

    def _meter(self, unit: int) -> dict[str, Any]:
        return {"driver": "modbus_meter", "line": LINE, "unit": unit, "model": METER_MODEL}

    def _first_values(self) -> list[dict[str, Any]]:
        """A bench has no time to wait: frequent samples, and dialling once a second."""
        values = [
            ("SampledDataCtrlr", "TxUpdatedInterval", self.sample_interval_s),
            ("OCPPCommCtrlr", "RetryBackOffWaitMinimum", 1),
            ("OCPPCommCtrlr", "RetryBackOffRandomRange", 0),
            ("OCPPCommCtrlr", "RetryBackOffRepeatTimes", 0),
        ]
        return [
            {"component": {"name": component}, "variable": {"name": name}, "value": str(value)}
            for component, name, value in values
        ]


def _board() -> dict[str, Any]:
    """Inputs and lamps; active is high."""
    lines: dict[str, int | dict[str, int]] = {
        "emergency_stop": EMERGENCY_STOP,
        "door": DOOR,
        "inputs": {BAY: BAY_LEFT},
        "lamps": {"available": LAMP_FREE, "charging": LAMP_CHARGING, "faulted": LAMP_FAULT},
    }
    return {"driver": "gpio_board", **{name: _on_chip(line) for name, line in lines.items()}}


def _on_chip(lines: int | dict[str, int]) -> dict[str, Any]:
    if isinstance(lines, dict):
        return {name: _on_chip(line) for name, line in lines.items()}
    return {"line": f"gpiochip0:{lines}"}
