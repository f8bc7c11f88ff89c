"""What must hold of devices and lines in charger.yaml."""

import re
from pathlib import Path

import pytest

from agent import settings_devices
from tests.agent.settings_bench import (
    changed,
    good,
    mistakes,
    second_evse,
    the_mistake,
    the_warning,
)


def test_two_meters_on_a_line_need_two_units() -> None:
    more = second_evse().replace("sim_meter", "modbus_meter, line: bus, model: lovato_dmg610")
    found = the_mistake(("devices:\n", more))
    assert "unit 1 on line 'bus' is taken by 'meter2'" in found
    good(("devices:\n", more.replace("line: bus", "line: bus, unit: 2")))


def test_a_port_is_one_file_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "tty").touch()
    (tmp_path / "by-id").symlink_to("tty")
    found = the_mistake(
        ("/dev/serial/by-id/usb-bus", f"{tmp_path}/tty"),
        ("/dev/serial/by-id/usb-pilot", f"{tmp_path}/by-id"),
    )
    assert "used already by lines.bus" in found


def test_a_baud_rate_that_no_device_has_is_asked_about() -> None:
    odd = ("by-id/usb-bus\n", "by-id/usb-bus\n    baud: 9601\n")
    assert "9601, which hardly any device has; compare" in the_warning(odd)
    good(("by-id/usb-bus\n", "by-id/usb-bus\n    baud: 19200\n"))


def test_a_reader_serves_evses_that_exist() -> None:
    card = "  card: {driver: sim_reader, evses: [1, 7]}\nlines:"
    assert "devices.card.evses[1]: there is no EVSE 7; write one of: 1" in the_mistake(
        ("lines:", card)
    )


@pytest.mark.parametrize(("pattern", "said"), [("'(['", "regular"), ("'[0-9]+'", "no group")])
def test_a_reader_pattern_has_a_group(pattern: str, said: str) -> None:
    card = f"  card: {{driver: serial_reader, port: /r, pattern: {pattern}}}\nlines:"
    assert said in the_mistake(("lines:", card))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("driver: serial_reader, port: /r, profile: rdm6300", "write token_type: Local"),
        ("driver: serial_reader, port: /r, token_type: RFID", "no token type 'RFID'"),
        ("driver: serial_reader, port: /r, format: octal", "is 'octal'"),
        ("driver: serial_reader, port: /r, uid_bytes: [0]", "from 1 to 16"),
        ("driver: keyboard_reader, port: /r, pattern: '(['", "regular expression"),
        ("driver: keyboard_reader, port: /r, evses: [4]", "there is no EVSE 4"),
        ("driver: pn532, port: /r, poll_s: 0", "seconds from 0.05"),
    ],
)
def test_a_reader_that_cannot_be_right_is_named(keys: str, said: str) -> None:
    assert said in the_mistake(("lines:", f"  card: {{{keys}}}\nlines:"))


def test_the_number_of_an_input_device_is_no_name_to_rely_on() -> None:
    card = "  card: {driver: keyboard_reader, port: /dev/input/event3}\nlines:"
    assert "ls -l /dev/input/by-id" in the_warning(("lines:", card))


def test_register_maps_are_found_beside_the_sources() -> None:
    models = settings_devices.meter_models()
    assert "eastron_sdm630_v2" in models
    assert not [model for model in models if model.startswith("_")]


@pytest.mark.parametrize("driver", ["evse_wb", "phoenix_ev_cc"])
@pytest.mark.parametrize(
    ("decision", "mistake", "warning"),
    [
        ("", "goes on charging when this board dies.*watchdog relay", ""),
        ("    host_loss: keeps_charging\n", "", "nothing ends a charge.*watchdog relay"),
        ("    host_loss: interlock\n", "", ""),
    ],
)
def test_a_controller_without_a_watchdog_wants_a_decision(
    driver: str, decision: str, mistake: str, warning: str
) -> None:
    loaded = changed(
        (
            "    driver: openevse\n    port: /dev/serial/by-id/usb-pilot\n",
            f"    driver: {driver}\n    line: bus\n    unit: 2\n{decision}",
        )
    )
    for findings, words in ((loaded.mistakes, mistake), (loaded.warnings, warning)):
        assert len(findings) == bool(words), [str(one) for one in findings]
        for found in findings:
            assert re.search(words, str(found)), str(found)


def test_a_controller_and_a_meter_on_one_line_need_units_of_their_own() -> None:
    loaded = changed(
        (
            "    driver: openevse\n    port: /dev/serial/by-id/usb-pilot\n",
            "    driver: evse_wb\n    line: bus\n    host_loss: interlock\n",
        )
    )
    assert "unit 1 on line 'bus' is taken by 'meter'" in str(loaded.mistakes[0])


@pytest.mark.parametrize(("timeout_s", "is_said"), [("1.0", False), ("1.5", True)])
def test_a_device_that_may_hold_up_a_stop_on_its_line_is_named(
    timeout_s: str, is_said: bool
) -> None:
    loaded = changed(
        ("    driver: openevse\n    port: /dev/serial/by-id/usb-pilot\n", ""),
        ("  pilot:\n", "  pilot: {driver: evse_wb, line: bus, unit: 3, host_loss: interlock}\n"),
        ("    model: lovato_dmg610\n", f"    model: lovato_dmg610\n    timeout_s: {timeout_s}\n"),
    )
    assert mistakes(loaded) == []
    said = [str(w) for w in loaded.warnings if "so long a stop of 'pilot'" in str(w)]
    assert len(said) == is_said
