"""The EVSE-WB driver before the bench's EVSE-WB: what its registers mean, and what is written."""

import asyncio
import logging

import pytest

from drivers.contract import DeviceLost, EvseWbOptions, PilotState, PowerPath
from drivers.pilots import evse_wb
from tests.drivers.pilots.modbus_bench import HERE, Bench, play

AFTER_BOOT, SETTINGS = 2000, 2005
FINE, OFF = 0x0080, 0x4000


def writes_to(bench: Bench, register: int) -> list[int]:
    return [value for address, value in bench.controller.writes if address == register]


def test_the_current_after_power_up_is_set_to_nothing_once() -> None:
    async def scene(bench: Bench) -> None:
        await bench.idle()
        await asyncio.sleep(5)
        assert writes_to(bench, AFTER_BOOT) == [0]
        bench.controller.start()
        await asyncio.sleep(10)
        assert writes_to(bench, AFTER_BOOT) == [0]
        assert bench.controller.set_a == 0

    play("evse_wb", scene)


def test_the_first_word_is_a_stop() -> None:
    async def scene(bench: Bench) -> None:
        await bench.idle()
        assert bench.controller.writes[0] == (1000, 0)

    play("evse_wb", scene)


def test_a_controller_that_was_set_up_well_is_not_written_to_but_for_orders() -> None:
    async def scene(bench: Bench) -> None:
        bench.controller.after_boot_a = 0
        await bench.charging()
        await asyncio.sleep(10)
        assert {address for address, _ in bench.controller.writes} == {1000}
        assert writes_to(bench, 1000) == [0, 13]

    play("evse_wb", scene)


@pytest.mark.parametrize(
    ("firmware", "bits", "limit_a", "written", "offered_a"),
    [(17, FINE, 13.57, 1357, 13.57), (16, FINE, 13.57, 13, 13.0), (18, 0, 13.57, 13, 13.0)],
)
def test_hundredths_of_an_ampere_where_firmware_and_settings_have_them(
    firmware: int, bits: int, limit_a: float, written: int, offered_a: float
) -> None:
    async def scene(bench: Bench) -> None:
        bench.controller.firmware, bench.controller.settings = firmware, bits
        await bench.charging(limit_a)
        assert writes_to(bench, 1000)[-1] == written
        assert bench.reading.offered_a == pytest.approx(offered_a)

    play("evse_wb", scene)


def test_firmware_whose_view_ends_at_1007_is_read_in_shorter_blocks() -> None:
    async def scene(bench: Bench) -> None:
        bench.controller.ends_at = 1007
        await bench.charging()
        await asyncio.sleep(10)
        assert not any(isinstance(seen, DeviceLost) for seen in bench.seen)
        too_long = [
            pdu for _, pdu in bench.slave.requests if pdu[:3] == b"\x03\x03\xe8" and pdu[4] > 8
        ]
        assert len(too_long) == 1, "what was refused is not asked again"

    play("evse_wb", scene)


def test_an_inverted_relay_bit_is_an_option() -> None:
    async def scene(bench: Bench) -> None:
        bench.controller.relay_bit_inverted = True
        await bench.charging()
        bench.driver.stop()
        await bench.until(lambda: bench.shows(PilotState.B, PowerPath.OPEN))

    play("evse_wb", scene, relay_bit_inverted=True)


def test_a_lower_ceiling_of_the_controller_is_accepted() -> None:
    async def scene(bench: Bench) -> None:
        bench.controller.most_a = 10
        await bench.charging()
        await asyncio.sleep(6)
        assert bench.reading.offered_a == 10
        assert writes_to(bench, 1000).count(13) == 1

    play("evse_wb", scene)


def test_a_controller_that_offers_more_than_allowed_is_a_fault() -> None:
    async def scene(bench: Bench) -> None:
        bench.controller.least_a = 10
        await bench.charging(6.0)
        await bench.until(lambda: "current_not_obeyed" in bench.reading.faults, 5)
        bench.driver.stop()
        await bench.until(lambda: not bench.reading.faults)

    play("evse_wb", scene)


def test_a_current_changed_by_its_button_is_set_back() -> None:
    async def scene(bench: Bench) -> None:
        await bench.charging()
        bench.controller.set_a = 8
        await bench.until(lambda: bench.reading.offered_a == 8)
        await bench.until(lambda: bench.reading.offered_a == 13)

    play("evse_wb", scene)


def test_the_cable_is_told() -> None:
    async def scene(bench: Bench) -> None:
        await bench.idle()
        bench.live.catch_up()
        bench.world.connectors[HERE].tethered = bench.world.connectors[HERE].cable_at_evse = False
        bench.plug_in()
        await bench.until(lambda: bench.reading.cable_a == 20.0)

    play("evse_wb", scene)


@pytest.mark.parametrize(
    ("vehicle", "status", "faults"),
    [
        (1, 0x00, set()),
        (3, 0x01, set()),
        (2, 0x08, set()),
        (5, 0x02, {"diode"}),
        (5, 0x04, {"ventilation_required"}),
        (4, 0x04, {"ventilation_required"}),
        (2, 0x20, {"rcd"}),
        (5, 0x10, {"rcd"}),
        (2, 0x10, set()),
        (5, 0x00, {"controller_failure"}),
        (5, 0x22, {"diode", "rcd"}),
    ],
)
def test_fault_bits(vehicle: int, status: int, faults: set[str]) -> None:
    driver = evse_wb.EvseWb("e", EvseWbOptions("bus"), FakeLine())  # type: ignore[arg-type]
    assert driver._faults(vehicle, status) == faults


class FakeLine:
    def counters(self, unit: int) -> None:
        return None


def test_a_vehicle_state_that_cannot_be_is_an_error_and_not_a_state(monkeypatch) -> None:
    async def scene(bench: Bench) -> None:
        await bench.idle()
        told = len(bench.seen)
        monkeypatch.setitem(bench_part.VEHICLE, PilotState.A, 9)
        await bench.until(lambda: any(isinstance(seen, DeviceLost) for seen in bench.seen))
        assert bench.reading.state is PilotState.UNKNOWN
        lost = next(seen for seen in bench.seen[told:] if isinstance(seen, DeviceLost))
        assert "check that this is an EVSE-WB" in lost.reason

    from hil.parts import evse_wb as bench_part

    play("evse_wb", scene)


@pytest.mark.parametrize(
    ("bits", "words"), [(OFF, "switched off"), (0x2000, "after a charge"), (0x0001, "button")]
)
def test_settings_that_disturb_are_named(caplog, bits: int, words: str) -> None:
    async def scene(bench: Bench) -> None:
        bench.controller.settings = bits
        await bench.idle()

    with caplog.at_level(logging.WARNING):
        play("evse_wb", scene)
    assert words in caplog.text
    assert "clear that bit" in caplog.text


def test_it_says_that_nothing_stops_it_when_the_host_dies() -> None:
    texts = {
        choice: evse_wb.EvseWb(
            "e",
            EvseWbOptions("bus", host_loss=choice),
            FakeLine(),  # type: ignore[arg-type]
        ).capabilities.host_loss_fallback
        for choice in ("interlock", "keeps_charging")
    }
    assert "goes on charging" in texts["interlock"]
    assert "interlock" in texts["interlock"]
    assert "until a person does" in texts["keeps_charging"]


def test_the_rcd_sensor_is_tested_at_the_start_and_after_each_ev_while_nobody_is_there() -> None:
    async def scene(bench: Bench) -> None:
        await bench.idle()
        await bench.until(lambda: bench.controller.is_testing, 5)
        await asyncio.sleep(20)
        assert bench.reading.faults == frozenset(), "a test under way is no fault"
        await bench.until(lambda: bench.controller.tests == 1)
        await asyncio.sleep(100)
        assert bench.controller.tests == 1
        await plugged_and_gone(bench)
        await bench.until(lambda: bench.controller.tests == 2, 60)

    play("evse_wb", scene, rcd_test=True)


async def plugged_and_gone(bench: Bench) -> None:
    bench.plug_in(wants="C")
    bench.driver.allow_power(13)
    await bench.until(lambda: bench.shows(PilotState.C, PowerPath.CLOSED))
    assert not bench.controller.is_testing
    bench.driver.stop()
    await bench.until(lambda: not bench.closed)
    bench.live.catch_up()
    bench.world.plug_out(HERE)


def test_a_sensor_that_fails_its_test_sells_nothing_until_it_passes_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene(bench: Bench) -> None:
        bench.fault("rcd_sensor")
        await bench.idle()
        await bench.until(lambda: "rcd_self_test" in bench.reading.faults, 90)
        await asyncio.sleep(60)
        assert "rcd_self_test" in bench.reading.faults
        bench.fault("rcd_sensor", stands=False)
        bench.controller.start()  # its own error goes with its supply
        await bench.until(lambda: bench.controller.is_testing)
        assert bench.reading.faults == {"rcd_self_test"}
        await bench.until(lambda: bench.reading.faults == frozenset(), 90)

    play("evse_wb", scene, rcd_test=True)
    assert caplog.text.count("the test of its RCD sensor failed") == 1


def test_a_test_that_does_not_end_is_a_failed_one() -> None:
    async def scene(bench: Bench) -> None:
        await bench.idle()
        await bench.until(lambda: bench.controller.is_testing, 5)
        bench.controller.stop()
        await bench.until(lambda: bench.reading.faults == {"rcd_self_test"}, 90)

    play("evse_wb", scene, rcd_test=True)


def test_who_comes_amid_a_test_is_served_and_it_is_not_begun_anew() -> None:
    async def scene(bench: Bench) -> None:
        await bench.idle()
        await bench.until(lambda: bench.controller.is_testing, 5)
        bench.plug_in(wants="C")
        bench.driver.allow_power(13)
        await bench.until(lambda: bench.shows(PilotState.C, PowerPath.CLOSED))
        await asyncio.sleep(60)
        assert (bench.controller.tests, bench.closed) == (1, True)

    play("evse_wb", scene, rcd_test=True)


def test_without_the_option_nothing_is_tested() -> None:
    async def scene(bench: Bench) -> None:
        await bench.idle()
        await plugged_and_gone(bench)
        await asyncio.sleep(30)
        assert writes_to(bench, 1004) == []

    play("evse_wb", scene)
