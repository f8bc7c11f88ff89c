"""What must hold between the keys of charger.yaml."""

import importlib.util
import sys
from pathlib import Path

import msgspec
import pytest

from agent import settings_rules
from agent.settings import EnergyManager
from tests.agent.settings_bench import (
    changed,
    good,
    mistakes,
    second_evse,
    the_mistake,
    the_warning,
)


def test_two_evses_are_fine() -> None:
    assert len(good(("devices:\n", second_evse())).evses) == 2


def test_evse_ids_are_unique() -> None:
    assert "evses[1].id: EVSE 1 exists already" in the_mistake(("devices:\n", second_evse(1)))


def test_connector_ids_are_unique_on_an_evse() -> None:
    found = the_mistake(
        ("devices:\n", "      - id: 1\n        pilot: p2\ndevices:\n  p2: {driver: sim_pilot}\n")
    )
    assert "evses[0].connectors[1].id: connector 1 exists already" in found


def test_a_device_serves_one_place_only() -> None:
    found = the_mistake(
        ("devices:\n", second_evse(pilot="pilot").replace("  pilot2: {driver: sim_pilot}\n", ""))
    )
    assert "'pilot' is used already by evses[0].connectors[0].pilot" in found


MAIN = "  grid: {driver: modbus_meter, line: bus, unit: 9, model: lovato_dmg610}\nlines:\n"


def test_a_meter_at_the_grid_connection_stands_beside_the_evses() -> None:
    loaded = changed(("devices:\n", "main_meter: grid\ndevices:\n"), ("lines:\n", MAIN))
    assert (mistakes(loaded), loaded.warnings) == ([], ())
    assert loaded.settings is not None
    assert loaded.settings.main_meter == "grid"


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("grit", "c.yaml:15:13: main_meter: there is no device 'grit' under devices"),
        ("pilot", "c.yaml:15:13: main_meter: device 'pilot' (openevse) is not a meter"),
        ("meter", "c.yaml:15:13: main_meter: device 'meter' is used already by evses[0].meter"),
        ("[grid]", "c.yaml:15:1: main_meter: is a list"),
    ],
)
def test_a_main_meter_that_cannot_be_is_named_with_its_line(named: str, said: str) -> None:
    more = (("devices:\n", f"main_meter: {named}\ndevices:\n"), ("lines:\n", MAIN))
    assert said in the_mistake(*more)


INSIDE = (
    ("    meter: meter\n", "    meter: pilot\n"),
    ("        pilot: pilot", "        phases: 1\n        pilot: pilot"),
)
NO_METER = (
    "  meter:\n    driver: modbus_meter\n    line: bus\n    model: lovato_dmg610\n",
    "",
)
NO_LINE = ("lines:\n  bus:\n    port: /dev/serial/by-id/usb-bus\n", "")


def test_a_controller_may_be_the_meter_of_its_connector_but_for_no_bill() -> None:
    said = the_warning(*INSIDE, NO_METER, NO_LINE)
    assert "evses[0].meter: 'pilot' counts energy by itself" in said
    assert "not for billing; name a meter" in said


def test_a_controller_measures_one_phase() -> None:
    found = the_mistake(INSIDE[0], NO_METER, NO_LINE)
    assert "which measures one phase; write phases: 1 for the connector" in found


def test_a_controller_is_the_meter_of_nothing_but_its_own_connector() -> None:
    other = "  pilot2: {driver: openevse, port: /dev/serial/by-id/usb-two}\n"
    found = the_mistake(
        ("    meter: meter\n", "    meter: pilot2\n"), NO_METER, ("lines:\n", other + "lines:\n")
    )
    assert "'pilot2' is a controller, which measures its own connector alone" in found


def test_a_controller_without_an_ammeter_is_no_meter() -> None:
    wb = "  wb: {driver: evse_wb, line: bus, unit: 3, host_loss: interlock}\n"
    found = mistakes(
        changed(("    meter: meter\n", "    meter: wb\n"), ("lines:\n", wb + "lines:\n"))
    )
    assert "device 'wb' (evse_wb) is not a meter" in found[0]


def test_derating_ends_above_where_it_begins() -> None:
    safety = "safety: {derate_from_c: 70, stop_at_c: 70}\ndevices:\n"
    assert "not above derate_from_c (70)" in the_mistake(("devices:\n", safety))
    assert good(("devices:\n", safety.replace("stop_at_c: 70", "stop_at_c: 71"))).safety


def test_a_failsafe_current_that_would_lower_nothing_is_pointed_out() -> None:
    block = "energy_manager: {silent_s: 30, failsafe_a: 32}\ndevices:\n"
    assert "would lower nothing" in the_warning(("devices:\n", block))
    settings = good(("devices:\n", block.replace("32}", "10}")))
    assert settings.energy_manager == EnergyManager(silent_s=30, failsafe_a=10.0)
    assert "silent_s" in the_mistake(("devices:\n", block.replace("silent_s: 30", "silent_s: 1")))


@pytest.mark.parametrize(("written", "scope"), [("", "process"), ("reset: board\n", "board")])
def test_what_a_reset_starts_anew_is_set_in_the_file(written: str, scope: str) -> None:
    settings = changed(("devices:\n", f"{written}devices:\n")).settings
    assert settings is not None
    assert settings.reset == scope


def test_a_reset_of_something_else_is_a_mistake() -> None:
    found = the_mistake(("devices:\n", "reset: bord\ndevices:\n"))
    assert found.startswith("c.yaml:15:8: reset: ")
    assert "board" in found


def test_a_version_file_that_is_not_there_is_a_warning() -> None:
    assert "have the image write its version there" in the_warning(
        ("station:", "station:\n  firmware_version_file: /nowhere/version")
    )


SFTP = "security:\n  known_hosts_file: /nowhere/known_hosts\ndevices:\n"


def test_a_file_of_sftp_servers_that_is_not_there_is_a_warning() -> None:
    found = the_warning(("devices:\n", SFTP))
    assert "/nowhere/known_hosts does not exist here" in found
    assert "`ssh-keyscan HOST`" in found


def test_sftp_without_its_package_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paramiko", None)
    found = the_warning(("devices:\n", SFTP.replace("/nowhere/known_hosts", "/etc/passwd")))
    assert "install chargepoint[sftp]" in found


def test_connector_types_are_those_of_ocpp() -> None:
    package = importlib.util.find_spec("ocpp")
    assert package is not None
    assert package.origin is not None
    schema = Path(package.origin).parent / "v201" / "schemas" / "ReserveNowRequest.json"
    listed = msgspec.json.decode(schema.read_bytes())["definitions"]["ConnectorEnumType"]["enum"]
    assert list(settings_rules.CONNECTOR_TYPES) == listed
