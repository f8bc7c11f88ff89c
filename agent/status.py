"""The station at one glance: what `chargepoint status` and the service manager are told."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from agent.core.evse import Evse
from agent.core.main_meter import MainMeter
from agent.devices import DeviceSeen
from agent.local_limit import rows
from agent.log import last_errors
from agent.ocpp.certificates import CSMS
from agent.ocpp.variable import is_secret
from agent.ocpp.view import View
from agent.runtime import Runtime
from agent.settings import Settings
from agent.store.rows import Counts
from drivers.contract import MeterReading, PilotReading

Place = tuple[int, int]


def snapshot(
    view: View, pilots: Mapping[Place, PilotReading], counts: Counts, runtime: Runtime
) -> dict[str, Any]:
    """Plain values, no secrets, no full idToken."""
    connection = view.connection
    link = connection.link if not connection.online else "online"
    answer: dict[str, Any] = {
        "station": view.facts.identity,
        "link": link,
        "boot": connection.boot_status or "not yet",
        "queue": counts.waiting,
        "set_aside": counts.set_aside,
        "thinned": counts.thinned,
        "firmware": _firmware(view),
        "log": _log(view),
        "connectors": [
            _connector(evse, connector_id, pilots)
            for evse in view.station.evses.values()
            for connector_id in evse.connectors
        ],
    }
    placeless = [f.transaction for f in view.station.granting.floating if f.transaction is not None]
    if placeless:
        answer["waiting_for_a_cable"] = [one.transaction_id for one in placeless]
    if view.station.main_meter is not None:
        answer["main_meter"] = _main_meter(view.station.main_meter)
    if view.station.local.manager is not None:
        answer["local_limits"] = rows(view.station.local, runtime.now().mono_s)
    if runtime.disk_fault is not None:
        answer["disk"] = runtime.disk_fault
    return answer


def _measured(reading: MeterReading) -> dict[str, Any]:
    return {
        "current_a": max(reading.current_a, default=0.0),
        "power_kw": (reading.power_w or 0.0) / 1000,
        "energy_kwh": reading.energy_wh / 1000,
    }


def _main_meter(meter: MainMeter) -> dict[str, Any] | str:
    """What it shows, or its fault."""
    if meter.reading is None:
        return meter.fault or "no reading yet"
    return _measured(meter.reading)


def _firmware(view: View) -> str:
    """Last FirmwareStatus and how far it is."""
    update = view.firmware.update
    if update is None or not update.status:
        return "Idle"
    return update.status + _percent(view.firmware.percent)


def _log(view: View) -> str:
    """Last LogStatus and how far it is."""
    return view.uploads.told + _percent(view.uploads.percent)


def _percent(percent: int) -> str:
    return f" {percent} %" if percent >= 0 else ""


def kept(view: View) -> dict[str, Any]:
    """What counts instead of charger.yaml, for `chargepoint doctor`: nothing of it is secret."""
    own = view.station_certificate.all
    return {
        "roots": [root.pem for root in view.certificates.roots(CSMS)],
        "passwords": view.passwords.replaced,
        "chain": own[0].chain if own else "",
        "key": own[0].key if own else "",
        "wildcards": view.variables.value("SecurityCtrlr", "AllowCSMSTLSWildcards") == "true",
    }


def report(
    status: Mapping[str, Any],
    settings: Settings,
    saved: Mapping[str, str],
    view: View,
    devices: Sequence[DeviceSeen],
    queue: Mapping[str, Any],
) -> dict[str, Any]:
    """The heart of a diagnostics bundle: what the station is, says of itself, was told, and what
    went wrong; no secrets. Any field that a device counts shows by itself."""
    told = {key: text for key, text in saved.items() if key.startswith("var/")}
    open_ones = {key: text for key, text in told.items() if not is_secret(key)}
    return {
        "versions": {
            "agent": _agent_version(),
            "firmware": view.facts.firmware_version,
            "python": sys.version,
            "board": list(os.uname()),
        },
        "status": status,
        "last_errors": last_errors.rows(),
        "device_counters": {
            row.name: {
                "driver": row.driver,
                "lost": row.lost,
                "age_s": row.age_s,
                "counted": msgspec.to_builtins(row.counters),
            }
            for row in devices
        },
        "queue": queue,
        "variables": open_ones,
        "settings": without_secrets(settings),
    }


def _agent_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("chargepoint")
    except PackageNotFoundError:
        return "not installed"


def without_secrets(settings: Settings) -> dict[str, Any]:
    """charger.yaml as it was understood, with passwords masked."""
    plain: dict[str, Any] = msgspec.to_builtins(settings)
    for csms in plain["csms"]:
        for name in ("password", "password_file"):
            csms.pop(name, None)
    for first in plain["ocpp"]["variables"]:
        if is_secret(first["variable"]["name"]):
            first["value"] = "***"
    return plain


def _connector(
    evse: Evse, connector_id: int, pilots: Mapping[Place, PilotReading]
) -> dict[str, Any]:
    connector = evse.connectors[connector_id]
    row: dict[str, Any] = {
        "evse_id": evse.evse_id,
        "connector_id": connector_id,
        "status": evse.status(connector_id),
        "faults": sorted(connector.faults),
    }
    reading = pilots.get((evse.evse_id, connector_id))
    if reading is not None:
        row |= {
            "pilot": reading.state.value,
            "power_path": reading.power_path.value,
            "offered_a": reading.offered_a,
        }
    meter = evse.metering.last
    if meter is not None:
        row |= _measured(meter)
    if evse.transaction is not None and evse.active is connector:
        row["transaction_id"] = evse.transaction.transaction_id
        row["charging_state"] = evse.transaction.charging_state
    return row
