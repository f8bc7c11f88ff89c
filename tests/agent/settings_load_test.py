"""charger.yaml as a whole: all mistakes at once, each at its place; what is no settings file."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.settings_load import load
from drivers.contract import ModbusMeterOptions
from tests.agent.settings_bench import GOOD, URL, changed, mistakes, read, the_mistake, the_warning


def test_a_good_file_loads_without_a_word() -> None:
    loaded = read(GOOD)
    assert mistakes(loaded) == []
    assert loaded.warnings == ()
    assert loaded.settings is not None
    assert loaded.settings.evses[0].connectors[0].current_a == 32.0
    assert isinstance(loaded.settings.devices["meter"], ModbusMeterOptions)


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
    ("meter: meter\n", "meter: pilot\n", "11:12", ("measures one phase", "phases: 1")),
    (
        "    meter: meter\n",
        "    meter: meter\n    bay_sensor: {device: pilot, input: bay}\n",
        "12:26",
        ("no device 'pilot' with inputs", "there is none"),
    ),
    ("driver: modbus_meter", "driver: modbus_metr", "17:13", ("mean 'modbus_meter'?",)),
    ("driver: modbus_meter\n", "\n", "16:3", ("'driver' is missing", "modbus_meter")),
    (
        "model: lovato_dmg610",
        "model: lovato_dmg61",
        "19:12",
        ("register map", "mean 'lovato_dmg610'?", "config/meters/_template.yaml"),
    ),
    ("line: bus", "line: bsu", "18:11", ("no line 'bsu'", "mean 'bus'?")),
    ("line: bus\n", "line: bus\n    unit: 248\n", "19:11", ("1 to 247",)),
    ("/dev/serial/by-id/usb-bus", "udp://10.0.0.1", "25:11", ("tcp:// or rtu-tcp://",)),
    ("/dev/serial/by-id/usb-bus", "tcp://10.0.0.1:x", "25:11", ("1 to 65535",)),
    ("/dev/serial/by-id/usb-bus", "tcp:///meter", "25:11", ("is no address",)),
    ("/dev/serial/by-id/usb-pilot", "tcp://10.0.0.1:502", "22:11", ("only lines",)),
    ("/dev/serial/by-id/usb-bus", "tcp://10.0.0.300", "25:11", ("no IP address",)),
    ("/dev/serial/by-id/usb-bus", "10.0.0.9:502", "25:11", ("write tcp://10.0.0.9:502",)),
    ("url: wss://csms.example.com/ocpp", "url: wss://a/<id>", "6:10", ("holds '<'",)),
    ("pilot: pilot\n", "pilot: pilot\n        type: sType2\n", "13:9", ("write cable: socket",)),
    ("vendor: Acme", "vendor: \u201cAcme\u201d", "3:11", ("begins with \u201c", "straight quote")),
    ("driver: openevse\n", "driver: keyboard_reader\n", "22:11", ("/dev/input/by-id",)),
    ("line: bus\n", "line: bus\n    interval_s: 0\n", "19:17", ("0.05 to 3600",)),
    ("line: bus\n", "line: bus\n    delay_s: 6\n", "19:14", ("0 to 5",)),
    ("by-id/usb-bus\n", "by-id/usb-bus\n    parity: even\n", "26:13", ("N, E or O",)),
    ("by-id/usb-bus\n", "by-id/usb-bus\n    stop_bits: 3\n", "26:16", ("1 or 2",)),
    ("by-id/usb-bus\n", "by-id/usb-bus\n    baud: 96\n", "26:11", ("300 to",)),
    ("by-id/usb-bus", "by-id/usb-pilot", "22:11", ("used already by", "lines.bus")),
    ("/dev/serial/by-id/usb-pilot", "COM3", "22:11", ("'COM3'", "/dev/serial/by-id/usb-...")),
    ("model: lovato_dmg610", "model: /no/meter.yaml", "19:12", ("no file /no/meter.yaml",)),
    (
        "model: lovato_dmg610",
        "model: em24",
        "19:12",
        ("one of: carlo_gavazzi_em24_e1, carlo_gavazzi_em24_rs485",),
    ),
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


WARNINGS = [
    (URL, f"{URL}/CP-1", "identity 'CP-1'"),
    (URL, f"{URL}\n    password_file: /nonexistent/file", "does not exist on this machine"),
    ("/dev/serial/by-id/usb-bus", "/dev/ttyUSB0", "lines.bus.port: /dev/ttyUSB0 may be another"),
    ("/dev/serial/by-id/usb-pilot", "/dev/ttyACM12", "/dev/serial/by-id"),
    ("current_a: 32", "current_a: 16", "more than the supply's 16 A"),
    ("current_a: 32", "current_a: 32\n  phases: 1", "the supply has 1"),
    ("pilot: pilot\n", "pilot: pilot\n        cable: socket\n        type: cType2\n", "sType2"),
    ("usb-pilot\n", "usb-pilot\n    lock: true\n", "no plug to lock"),
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
        (b"station: 'a\nb: 1\n", "1:10", "a quote opens here and is not closed"),
        (b'a: "b\nc: 1\nd: "tcp://x"\n', "1:4", "a quote opens here and is not closed"),
        (b"a: b: c\n", "1:5", "needs quotes around it"),
        (b"a: @b\n", "1:4", "put quotes around a value"),
        (b"x: 1\na:1\nb: 2\n", "3:1", "a colon and a space behind each key"),
        (b"a:\n  - b: 1\n   c: 2\n", "3:4", "the same indent"),
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
