import importlib.util
import os
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent import settings_devices, settings_load, settings_rules
from agent.settings import Settings
from agent.settings_load import Loaded, load
from agent.settings_nodes import Mark, Scalar
from agent.settings_walk import PATTERN_WORDS, Walk
from drivers.contract import ModbusMeterOptions, SerialReaderOptions

GOOD = """\
station:
  identity: CP-1
  vendor: Acme
  model: One
csms:
  - url: wss://csms.example.com/ocpp
supply:
  current_a: 32
evses:
  - id: 1
    meter: meter
    connectors:
      - id: 1
        pilot: pilot
devices:
  meter:
    driver: modbus_meter
    line: bus
    model: known_model
  pilot:
    driver: openevse
    port: /dev/serial/by-id/usb-pilot
lines:
  bus:
    port: /dev/serial/by-id/usb-bus
"""


@pytest.fixture(autouse=True)
def one_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_devices, "meter_models", lambda: ["known_model"])


def read(text: str | bytes) -> Loaded:
    return settings_load.read(text.encode() if isinstance(text, str) else text, "c.yaml")


def changed(*pairs: tuple[str, str]) -> Loaded:
    text = GOOD
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return read(text)


def mistakes(loaded: Loaded) -> list[str]:
    assert (loaded.settings is None) == bool(loaded.mistakes)
    return [str(mistake) for mistake in loaded.mistakes]


def the_mistake(*pairs: tuple[str, str]) -> str:
    found = mistakes(changed(*pairs))
    assert len(found) == 1, found
    return found[0]


def the_warning(*pairs: tuple[str, str]) -> str:
    loaded = changed(*pairs)
    assert mistakes(loaded) == []
    assert len(loaded.warnings) == 1, loaded.warnings
    return str(loaded.warnings[0])


def good(*pairs: tuple[str, str]) -> Settings:
    loaded = changed(*pairs)
    assert mistakes(loaded) == []
    assert loaded.settings is not None
    return loaded.settings


def test_a_good_file_loads_without_a_word() -> None:
    loaded = read(GOOD)
    assert mistakes(loaded) == []
    assert loaded.warnings == ()
    assert loaded.settings is not None
    assert loaded.settings.evses[0].connectors[0].current_a == 32.0
    assert isinstance(loaded.settings.devices["meter"], ModbusMeterOptions)


@pytest.mark.parametrize(
    "text", ["010", "04123456", "22:15", "12:30:45", "on", "no", "1e3", "2026-11-22", "0x1F", "1.0"]
)
def test_text_keeps_its_spelling(text: str) -> None:
    assert good(("vendor: Acme", f"vendor: {text}")).station.vendor == text


@pytest.mark.parametrize(
    ("text", "number"), [("010", 10.0), ("16", 16.0), ("16.50", 16.5), ("'32'", 32.0)]
)
def test_numbers_are_decimal(text: str, number: float) -> None:
    loaded = good(("        pilot: pilot", f"        pilot: pilot\n        current_a: {text}"))
    assert loaded.evses[0].connectors[0].current_a == number


def test_an_octal_looking_id_is_decimal() -> None:
    assert good(("  - id: 1\n    meter", "  - id: 010\n    meter")).evses[0].id == 10


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("1_000", "without _"),
        ("16,5", "a point"),
        ("16A", "the unit is part of the key's name"),
        ("many", "write digits"),
        ("0x20", "write digits"),
        ("1e3", "write digits"),
        ("inf", "write digits"),
        ("nan", "write digits"),
    ],
)
def test_what_is_no_number_is_named_with_its_fix(text: str, advice: str) -> None:
    found = the_mistake(("  current_a: 32", f"  current_a: {text}"))
    assert found.startswith("c.yaml:8:14: supply.current_a: ")
    assert repr(text) in found
    assert advice in found


@pytest.mark.parametrize(
    ("text", "value"), [("on", True), ("No", False), ("TRUE", True), ("off", False), ("yes", True)]
)
def test_yes_and_no_come_in_all_spellings(text: str, value: bool) -> None:
    card = f"  card: {{driver: serial_reader, port: /r, reverse_bytes: {text}}}\nlines:"
    loaded = good(("lines:", card))
    reader = loaded.devices["card"]
    assert isinstance(reader, SerialReaderOptions)
    assert reader.reverse_bytes is value


def test_all_mistakes_come_at_once_and_in_the_order_of_the_file() -> None:
    found = mistakes(
        changed(
            ("identity: CP-1", "identiy: CP-1"),
            ("current_a: 32", "current_a: 5"),
            ("meter: meter", "meter: metr"),
            ("driver: openevse", "driver: openevs"),
            ("port: /dev/serial/by-id/usb-bus", "baud: x"),
        )
    )
    assert [line.split(": ")[0] for line in found] == [
        "c.yaml:2:3",
        "c.yaml:8:14",
        "c.yaml:11:12",
        "c.yaml:21:13",
        "c.yaml:24:3",
        "c.yaml:25:11",
    ]


CASES: list[tuple[str, str, str, tuple[str, ...]]] = [
    ("vendor: Acme", "vndor: Acme", "3:3", ("station.vndor", "did you mean 'vendor'?")),
    ("vendor: Acme", "", "1:1", ("station.vendor", "missing", "1 to 50")),
    ("vendor: Acme", "vendor:", "3:10", ("station.vendor", "empty")),
    ("vendor: Acme", "vendor: [a]", "3:3", ("station.vendor", "a list")),
    ("vendor: Acme", "vendor: Acme\n  colour: red", "4:3", ("unknown key", "expected one of")),
    ("vendor: Acme", "vendor: Acme\n  vendor: B", "4:3", ("second time", "line 3")),
    ("model: One", "model: " + "x" * 21, "4:10", ("station.model", "21 characters", "20")),
    ("identity: CP-1", "identity: a:b", "2:13", ("station.identity", "colon")),
    ("url: wss://csms.example.com/ocpp", "url: http://x", "6:10", ("csms[0].url", "wss://")),
    ("current_a: 32", "current_a: 32\n  phases: 2", "9:11", ("supply.phases", "1, 3")),
    ("current_a: 32", "current_a: 7000", "8:14", ("supply.current_a", "6 to 6000", "lower")),
    ("pilot: pilot\n", "pilot: pilot\n        cable: sokcet\n", "15:16", ("mean 'socket'?",)),
    ("pilot: pilot\n", "pilot: pilot\n        type: cType3\n", "15:15", ("connector type",)),
    ("pilot: pilot\n", "pilot: pliot\n", "14:16", ("no device 'pliot'", "mean 'pilot'?")),
    ("pilot: pilot\n", "pilot: meter\n", "14:16", ("not a pilot", "pilot")),
    ("meter: meter\n", "meter: pilot\n", "11:12", ("not a meter", "meter")),
    (
        "    meter: meter\n",
        "    meter: meter\n    bay_sensor: {device: pilot, input: bay}\n",
        "12:26",
        ("no device 'pilot' with inputs", "there is none"),
    ),
    ("driver: modbus_meter", "driver: modbus_metr", "17:13", ("mean 'modbus_meter'?",)),
    ("driver: modbus_meter\n", "\n", "16:3", ("'driver' is missing", "modbus_meter")),
    ("model: known_model", "model: know_model", "19:12", ("register map", "mean 'known_model'?")),
    ("line: bus", "line: bsu", "18:11", ("no line 'bsu'", "mean 'bus'?")),
    ("line: bus\n", "line: bus\n    unit: 248\n", "19:11", ("1 to 247",)),
    ("/dev/serial/by-id/usb-bus", "udp://10.0.0.1", "25:11", ("tcp:// or rtu-tcp://",)),
    ("/dev/serial/by-id/usb-bus", "tcp://10.0.0.1:x", "25:11", ("1 to 65535",)),
    ("/dev/serial/by-id/usb-bus", "tcp:///meter", "25:11", ("is no address",)),
    ("/dev/serial/by-id/usb-pilot", "tcp://10.0.0.1:502", "22:11", ("only lines",)),
    ("line: bus\n", "line: bus\n    interval_s: 0\n", "19:17", ("0.05 to 3600",)),
    ("line: bus\n", "line: bus\n    delay_s: 6\n", "19:14", ("0 to 5",)),
    ("by-id/usb-bus\n", "by-id/usb-bus\n    parity: even\n", "26:13", ("N, E or O",)),
    ("by-id/usb-bus\n", "by-id/usb-bus\n    stop_bits: 3\n", "26:16", ("1 or 2",)),
    ("by-id/usb-bus\n", "by-id/usb-bus\n    baud: 96\n", "26:11", ("300 to",)),
    ("by-id/usb-bus", "by-id/usb-pilot", "22:11", ("used already by", "lines.bus")),
    ("by-id/usb-pilot\n", "by-id/usb-pilot\n    fallback_a: 5\n", "23:17", ("6 or more",)),
    ("  - id: 1\n    meter", "  - id: x\n    meter", "10:9", ("evses[0].id", "whole number")),
    ("lines:", "data_directory: here\nlines:", "23:17", ("whole path",)),
    ("lines:", f"console_socket: /{'x' * 120}\nlines:", "23:17", ("121 bytes", "107")),
    ("  current_a: 32", "  <<: {current_a: 32}", "8:3", ("merge keys",)),
]


@pytest.mark.parametrize(("old", "new", "place", "parts"), CASES)
def test_one_mistake_is_named_once_at_its_place(
    old: str, new: str, place: str, parts: tuple[str, ...]
) -> None:
    loaded = changed((old, new))
    found = [line for line in mistakes(loaded) if line.startswith(f"c.yaml:{place}: ")]
    assert found, mistakes(loaded)
    for part in parts:
        assert part in found[0]


def test_a_missing_block_is_reported_at_the_top() -> None:
    found = the_mistake(("supply:\n  current_a: 32\n", ""))
    assert found.startswith("c.yaml:1:1: supply: is missing")
    assert "current_a" in found


def test_a_driver_picks_the_options_that_may_stand_beside_it() -> None:
    found = the_mistake(("driver: openevse", "driver: openevse\n    unit: 3"))
    assert "devices.pilot.unit: unknown key" in found


def second_evse(evse_id: int = 2, pilot: str = "pilot2", meter: str = "meter2") -> str:
    return (
        f"  - id: {evse_id}\n    meter: {meter}\n    connectors:\n"
        f"      - id: 1\n        pilot: {pilot}\ndevices:\n"
        "  pilot2: {driver: sim_pilot}\n  meter2: {driver: sim_meter}\n"
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


MAIN = "  grid: {driver: modbus_meter, line: bus, unit: 9, model: known_model}\nlines:\n"


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


def test_derating_ends_above_where_it_begins() -> None:
    safety = "safety: {derate_from_c: 70, stop_at_c: 70}\ndevices:\n"
    assert "not above derate_from_c (70)" in the_mistake(("devices:\n", safety))
    assert good(("devices:\n", safety.replace("stop_at_c: 70", "stop_at_c: 71"))).safety


@pytest.mark.parametrize(("written", "scope"), [("", "process"), ("reset: board\n", "board")])
def test_what_a_reset_starts_anew_is_set_in_the_file(written: str, scope: str) -> None:
    settings = changed(("devices:\n", f"{written}devices:\n")).settings
    assert settings is not None
    assert settings.reset == scope


def test_a_reset_of_something_else_is_a_mistake() -> None:
    found = the_mistake(("devices:\n", "reset: bord\ndevices:\n"))
    assert found.startswith("c.yaml:15:8: reset: ")
    assert "board" in found


def test_two_meters_on_a_line_need_two_units() -> None:
    more = second_evse().replace("sim_meter", "modbus_meter, line: bus, model: known_model")
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


URL = "url: wss://csms.example.com/ocpp"


def test_ws_without_a_password_is_refused_unless_the_lab_says_so() -> None:
    assert "lab_unsecured: true" in the_mistake((URL, "url: ws://10.0.0.1/ocpp"))
    warning = the_warning((URL, "url: ws://10.0.0.1/ocpp\n    lab_unsecured: yes"))
    assert "desk only" in warning


def test_ws_with_a_password_is_security_profile_1(tmp_path: Path) -> None:
    (tmp_path / "secret").touch(0o600)
    good((URL, f"url: ws://10.0.0.1/ocpp\n    password_file: {tmp_path}/secret"))


def test_an_inline_password_is_a_warning_that_does_not_show_it() -> None:
    warning = the_warning((URL, f"{URL}\n    password: hunter2hunter2hunter2"))
    assert "password_file" in warning
    assert "hunter2" not in warning


def test_a_password_that_does_not_fit_is_not_shown() -> None:
    found = the_mistake((URL, f"{URL}\n    password: hunter2"))
    assert "7 characters" in found
    assert "hunter2" not in found


def test_whatever_is_wrong_with_a_password_it_is_not_shown() -> None:
    walk = Walk("c.yaml")
    node = Scalar(Mark(1, 1), "hunter2", True)
    assert walk.value(node, msgspec.inspect.IntType(), ("csms", 0, "password")) is msgspec.UNSET
    assert len(walk.mistakes) == 1
    assert "hunter2" not in str(walk.mistakes[0])


def test_a_secret_that_others_can_read_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "secret").touch(0o644)
    warning = the_warning((URL, f"{URL}\n    password_file: {tmp_path}/secret"))
    assert "chmod 0600" in warning
    files = f"certificate_file: {tmp_path}/secret, key_file: {tmp_path}/secret"
    warning = the_warning(("supply:", f"security: {{{files}}}\nsupply:"))
    assert "security.key_file" in warning


@pytest.mark.parametrize(("profile", "scheme"), [(1, "wss"), (2, "ws"), (3, "ws")])
def test_a_security_profile_goes_with_its_scheme(profile: int, scheme: str) -> None:
    url = f"url: {scheme}://csms.example.com/ocpp\n    lab_unsecured: true"
    found = the_mistake((URL, f"{url}\n    security_profile: {profile}"))
    assert f"security profile {profile} goes with" in found


@pytest.mark.parametrize("profile", [2, 3])
def test_a_security_profile_may_be_named(profile: int) -> None:
    loaded = good((URL, f"{URL}\n    security_profile: {profile}"))
    assert loaded.csms[0].security_profile == profile


def test_a_certificate_file_that_is_not_there_is_a_warning() -> None:
    assert "put the PEM file there" in the_warning(
        ("supply:", "security: {ca_file: /nowhere/ca.pem}\nsupply:")
    )


def test_a_version_file_that_is_not_there_is_a_warning() -> None:
    assert "have the image write its version there" in the_warning(
        ("station:", "station:\n  firmware_version_file: /nowhere/version")
    )


def test_a_key_without_its_certificate_is_of_no_use(tmp_path: Path) -> None:
    (tmp_path / "key").touch(0o600)
    found = the_mistake(("supply:", f"security: {{key_file: {tmp_path}/key}}\nsupply:"))
    assert "certificate_file" in found


@pytest.mark.parametrize("scheme", ["wss", "http"])
def test_a_password_in_the_url_is_refused_and_not_shown(scheme: str) -> None:
    found = the_mistake((URL, f"url: {scheme}://me:hunter2@csms.example.com/ocpp"))
    assert "hunter2" not in found


def test_a_password_stands_in_one_place(tmp_path: Path) -> None:
    found = the_mistake((URL, f"{URL}\n    password: hunter2hunter2hunter2\n    password_file: /x"))
    assert "both" in found


def test_an_optional_key_may_be_null() -> None:
    assert good((URL, f"{URL}\n    password: null")).csms[0].password is None


@pytest.mark.parametrize("url", ["wss://x:99999/a", "wss://x:0/a", "wss://[::1/a", "wss://x/{id}/"])
def test_an_unusable_url_is_refused(url: str) -> None:
    assert "csms[0].url" in the_mistake((URL, f"url: '{url}'"))


WARNINGS = [
    (URL, f"{URL}/CP-1", "identity 'CP-1'"),
    (URL, f"{URL}\n    password_file: /nonexistent/file", "does not exist on this machine"),
    ("/dev/serial/by-id/usb-bus", "/dev/ttyUSB0", "lines.bus.port: /dev/ttyUSB0 may be another"),
    ("/dev/serial/by-id/usb-pilot", "/dev/ttyACM12", "/dev/serial/by-id"),
    ("current_a: 32", "current_a: 16", "more than the supply's 16 A"),
    ("current_a: 32", "current_a: 32\n  phases: 1", "the supply has 1"),
    ("lines:", "  spare: {driver: sim_meter}\nlines:", "devices.spare: nothing uses"),
    ("lines:", "lines:\n  spare: {port: /x}", "lines.spare: no device is on"),
]


@pytest.mark.parametrize(("old", "new", "said"), WARNINGS)
def test_what_is_allowed_but_unwise_is_a_warning(old: str, new: str, said: str) -> None:
    assert said in the_warning((old, new))


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n"


@pytest.mark.parametrize(
    ("raw", "place", "said"),
    [
        (b"", "1:1", "empty"),
        (b"# only a comment\n", "1:1", "empty"),
        (b"just words\n", "1:1", "not a block of keys"),
        (b"- a\n- b\n", "1:1", "not a block of keys"),
        (b"station:\n\tidentity: x\n", "2:1", "tab"),
        (b"station:\n  vendor: M\xfcller\n", "2:12", "0xfc is not UTF-8"),
        (b"station: \x07\n", "1:10", "not allowed in YAML"),
        (b"station: {a: 1\n", "2:1", "not valid YAML"),
        (b"station: 'a\nb: 1\n", "3:1", "begun on line 1"),
        (b"a: 1\n---\nb: 1\n", "2:1", "second document"),
        (b"a: !!python/object:os.system x\n", "1:4", "tags"),
        (b"? [a]\n: b\n", "1:3", "a key must be a single word"),
        (b"[" * 100_000, "1:21", "nested deeper than 20"),
        (b"a: &a [*a]\n", "1:8", "aliases"),
        (BOMB.encode(), "2:8", "aliases"),
        (b"#" * 300_000, "1:1", "300000 bytes"),
    ],
)
def test_a_text_that_is_no_settings_file_is_one_clear_mistake(
    raw: bytes, place: str, said: str
) -> None:
    found = mistakes(read(raw))
    assert len([line for line in found if said in line]) == 1
    assert found[0].startswith(f"c.yaml:{place}: ")


@pytest.mark.parametrize("old", ["CSafeLoader", None])
def test_both_yaml_loaders_read_the_same(old: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if old is not None:
        monkeypatch.delattr("yaml.CSafeLoader", raising=False)
    assert read(GOOD).settings is not None
    assert "tab" in mistakes(read("a:\n\tb: 1\n"))[0]
    assert "not allowed" in mistakes(read("a: \x07\n"))[0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, len(GOOD)),
            st.integers(0, 12),
            st.text(st.sampled_from("-:#[]{}&*!|>'\"%@`~\t\n ,.?<=0aé\x00"), max_size=6),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_a_spoiled_file_never_raises_and_names_a_place(edits: list[tuple[int, int, str]]) -> None:
    text = GOOD
    for at, cut, new in edits:
        text = text[:at] + new + text[at + cut :]
    loaded = read(text)
    assert (loaded.settings is None) == bool(loaded.mistakes)
    lines = text.count("\n") + 1
    assert all(1 <= m.mark.line <= lines + 1 and m.mark.column >= 1 for m in loaded.mistakes)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200))
def test_bytes_of_any_kind_never_raise(raw: bytes) -> None:
    assert read(raw).mistakes


def test_a_byte_order_mark_does_no_harm() -> None:
    assert read(b"\xef\xbb\xbf" + GOOD.encode()).settings is not None


def test_a_missing_file_a_directory_and_an_unreadable_file_are_named(tmp_path: Path) -> None:
    assert "no such file" in mistakes(load(str(tmp_path / "none.yaml")))[0]
    assert "directory" in mistakes(load(str(tmp_path)))[0]
    assert "no such file" not in mistakes(load("a\0b"))[0]
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    assert "cannot be read" in mistakes(load(str(loop)))[0]


NOBODY = 65534


def test_a_file_of_another_owner_is_named(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(GOOD)
    file.chmod(0)
    owner = os.geteuid()
    os.seteuid(owner or NOBODY)
    try:
        loaded = load(str(file))
    finally:
        os.seteuid(owner)
    assert "cannot be read" in mistakes(loaded)[0]


def test_load_reads_a_file(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(GOOD)
    assert load(str(file)).settings is not None


def test_empty_optional_blocks_are_fine() -> None:
    assert good(("lines:", "ocpp:\nlines:")).ocpp.variables == ()


def test_every_pattern_of_the_settings_has_words() -> None:
    found = [node.get("pattern") for node in _nodes(msgspec.json.schema(Settings))]
    patterns = {pattern for pattern in found if isinstance(pattern, str)}
    assert patterns
    assert patterns <= set(PATTERN_WORDS)


def _nodes(value: object) -> list[dict[str, object]]:
    if isinstance(value, list):
        return [node for one in value for node in _nodes(one)]
    if isinstance(value, dict):
        return [value, *(node for one in value.values() for node in _nodes(one))]
    return []


def test_connector_types_are_those_of_ocpp() -> None:
    package = importlib.util.find_spec("ocpp")
    assert package is not None
    assert package.origin is not None
    schema = Path(package.origin).parent / "v201" / "schemas" / "ReserveNowRequest.json"
    listed = msgspec.json.decode(schema.read_bytes())["definitions"]["ConnectorEnumType"]["enum"]
    assert list(settings_rules.CONNECTOR_TYPES) == listed


def test_register_maps_are_found_beside_the_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
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
