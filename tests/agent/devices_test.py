"""What people are shown of the devices."""

from pathlib import Path

import msgspec
import pytest

from agent.devices import CARDS_KEPT, DeviceBook, DeviceSeen, registry_of
from agent.settings import Settings
from agent.settings_load import load
from drivers.contract import (
    CardRefused,
    CardSeen,
    Counters,
    DeviceFound,
    DeviceLost,
    GpioBoardOptions,
    InputSeen,
    MeterReading,
    MeterSeen,
    PilotReading,
    PilotSeen,
    PilotState,
    PowerPath,
)
from drivers.registry import Registry

EXAMPLE = Path(__file__).parent.parent.parent / "config" / "charger.yaml"
METER = MeterReading(at_s=90.0, energy_wh=1.0, serial="77", voltage_v=(230.0, 231.0, 229.0))
PILOT = PilotReading(95.0, PilotState.B, PowerPath.OPEN, faults=frozenset({"rcd"}))


@pytest.fixture
def settings() -> Settings:
    found = load(str(EXAMPLE)).settings
    assert found is not None
    return found


@pytest.fixture
def book(settings: Settings) -> DeviceBook:
    build = Registry(settings.lines).build
    return DeviceBook(settings, {name: build(name, o) for name, o in settings.devices.items()})


def row(book: DeviceBook, name: str, now_s: float = 100.0) -> DeviceSeen:
    return next(row for row in book.rows(now_s, with_cards=True) if row.name == name)


def test_before_anything_is_seen_the_file_is_told(book: DeviceBook) -> None:
    meter, pilot = row(book, "meter1"), row(book, "pilot1")
    assert (meter.roles, pilot.roles) == (("meter",), ("pilot",))
    assert (meter.driver, meter.model) == ("modbus_meter", "eastron_sdm630_v2")
    assert meter.port.startswith("/dev/serial/by-id/usb-FTDI")
    assert meter.unit == 1
    assert (meter.places, pilot.places) == (((1, 0),), ((1, 1),))
    assert (meter.age_s, meter.phases, meter.counters) == (None, 3, Counters())
    assert book.tripping()[0] == ("pilot1", "rcd")
    assert book.counting() == ("pilot1", "meter1", "reader1")


def test_the_last_report_counts_with_its_age(book: DeviceBook) -> None:
    book.see(MeterSeen("meter1", METER), 100.0)
    book.see(PilotSeen("pilot1", PILOT), 100.0)
    book.see(InputSeen("pilot1", "plug_lock", True, 96.0), 96.0)
    book.see(MeterSeen("nobody", METER), 100.0)
    assert (row(book, "meter1").meter, row(book, "meter1").age_s) == (METER, 10.0)
    assert (row(book, "pilot1").pilot, row(book, "pilot1").inputs) == (PILOT, {"plug_lock": True})


def test_a_lost_device_says_why_until_it_is_found(book: DeviceBook) -> None:
    book.see(DeviceLost("meter1", "no answer; check A/B"), 100.0)
    assert row(book, "meter1").lost == "no answer; check A/B"
    assert book.summary()[1]["state"] == "lost"
    book.see(DeviceFound("meter1"), 101.0)
    assert row(book, "meter1").lost == ""


def test_cards_are_kept_for_those_who_learn_alone_and_not_for_ever(book: DeviceBook) -> None:
    for number in range(CARDS_KEPT + 2):
        book.see(CardSeen("reader1", f"0{number}", raw=f"raw{number}"), 100.0)
    cards = row(book, "reader1").cards
    assert [card.number for card in cards] == list(range(3, CARDS_KEPT + 3))
    assert (cards[-1].uid, cards[-1].raw) == ("09", "raw9")
    assert [row.cards for row in book.rows(100.0)] == [()] * 3
    assert "raw9" not in str(book.rows(100.0)) + str(book.summary())


def test_a_refused_card_is_kept_with_its_reason_for_those_who_learn_alone(book: DeviceBook) -> None:
    book.see(CardSeen("reader1", "01"), 100.0)
    book.see(CardRefused("reader1", "a random number; use another card", "08A1B2C3"), 101.0)
    card = row(book, "reader1").cards[-1]
    assert (card.number, card.uid, card.raw) == (2, "", "08A1B2C3")
    assert card.refused == "a random number; use another card"
    assert "08A1B2C3" not in str(book.rows(100.0)) + str(book.summary())


def test_rows_cross_the_console_unchanged(book: DeviceBook) -> None:
    book.see(MeterSeen("meter1", METER), 100.0)
    book.see(PilotSeen("pilot1", PILOT), 100.0)
    counters = book.counters("meter1")
    assert counters is not None
    counters.timeouts = 3
    rows = book.rows(100.0)
    text = msgspec.json.encode(msgspec.to_builtins(rows))
    assert msgspec.json.decode(text, type=list[DeviceSeen]) == rows
    assert book.summary()[1]["timeouts"] == 3


def test_what_a_controller_does_by_itself_is_told_before_a_car_is_plugged_in(
    book: DeviceBook,
) -> None:
    notes = row(book, "pilot1").notes
    assert notes[0] == "a stop opens within 6 s"
    assert notes[1].startswith("when this board dies: goes on charging, with at most 6 A")
    assert notes[2].startswith("before the first order: it starts enabled")
    assert len(notes) == 3, "it senses a voltage behind its relay"
    assert row(book, "meter1").notes == ()


def test_a_controller_that_knows_its_orders_alone_says_so() -> None:
    found = load(str(EXAMPLE.parent / "examples" / "evse_wb.yaml")).settings
    assert found is not None
    build = Registry(found.lines).build
    there = DeviceBook(found, {name: build(name, o) for name, o in found.devices.items()})
    notes = row(there, "controller").notes
    assert "interlock" in notes[1]
    assert "no contact tells" in notes[-1]


def test_a_controller_that_measures_is_shown_in_both_roles(tmp_path: Path) -> None:
    file = tmp_path / "charger.yaml"
    text = EXAMPLE.read_text().replace("    meter: meter1\n", "    meter: pilot1\n")
    file.write_text(text.replace("        phases: 3\n", "        phases: 1\n"))
    found = load(str(file)).settings
    assert found is not None
    build = registry_of(found).build
    there = DeviceBook(found, {name: build(name, o) for name, o in found.devices.items()})
    shown = row(there, "pilot1")
    assert (shown.roles, shown.places) == (("pilot", "meter"), ((1, 0), (1, 1)))
    assert any(note.startswith("as a meter: ") for note in shown.notes)
    there.see(PilotSeen("pilot1", PILOT), 100.0)
    assert row(there, "pilot1").age_s is None, "a controller that never counts is not looked past"
    there.see(MeterSeen("pilot1", METER), 100.0)
    assert row(there, "pilot1").age_s == 10.0, "the older of both"


def test_a_board_that_has_shown_its_inputs_answers() -> None:
    settings = load(str(EXAMPLE.parent / "examples" / "gpio_contactor.yaml")).settings
    assert settings is not None
    (name,) = [n for n, o in settings.devices.items() if isinstance(o, GpioBoardOptions)]
    build = Registry(settings.lines, settings.devices).build
    book = DeviceBook(settings, {name: build(name, settings.devices[name])})
    assert book.summary()[0]["state"] == "-"
    book.see(InputSeen(name, "emergency_stop", False, 1.0), 1.0)
    assert book.summary()[0]["state"] == "answers"
