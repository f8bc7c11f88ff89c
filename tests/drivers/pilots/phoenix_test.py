"""The Phoenix driver before the bench's controller: settings, lock, contactor, errors."""

import asyncio

import pytest

from drivers.contract import DeviceLost, InputSeen, PilotState, PowerPath
from drivers.pilots.phoenix import errors_in
from hil.parts import phoenix as bench_part
from tests.drivers.pilots.modbus_bench import HERE, Bench, play

SETTINGS = [(4000, 3), (4001, 2), (4002, 3), (4006, 1)]


def lock_reports(bench: Bench) -> list[bool]:
    return [seen.active for seen in bench.seen if isinstance(seen, InputSeen)]


def test_settings_that_differ_are_written_once_and_no_others() -> None:
    async def scene(bench: Bench) -> None:
        await bench.charging()
        await asyncio.sleep(5)
        written = [pair for pair in bench.controller.writes if pair[0] < 20000]
        assert written == SETTINGS
        bench.controller.start()
        await bench.until(lambda: not bench.closed)
        await bench.until(lambda: bench.shows(PilotState.C, PowerPath.CLOSED))
        assert [pair for pair in bench.controller.writes if pair[0] < 20000] == SETTINGS

    play("phoenix", scene)


def test_without_feedback_and_lock_their_settings_are_left_alone() -> None:
    async def scene(bench: Bench) -> None:
        await bench.charging()
        assert not bench.driver.capabilities.has_lock
        assert not bench.driver.capabilities.watches_contacts
        assert bench.controller.settings[4002] == bench.controller.settings[4006] == 0
        bench.driver.lock(True)
        await asyncio.sleep(3)
        assert lock_reports(bench) == []

    play("phoenix", scene, lock=False, contactor_feedback=False)


def test_the_first_word_is_a_stop_and_the_current_is_set_before_charging_is_enabled() -> None:
    async def scene(bench: Bench) -> None:
        await bench.charging()
        writes = bench.controller.writes
        assert writes[0] == (20000, 0)
        assert writes.index((22000, 13)) < writes.index((20000, 1))

    play("phoenix", scene)


def test_another_device_at_its_unit_is_named(monkeypatch) -> None:
    monkeypatch.setattr(bench_part, "DESIGNATION", "EEM-350-D-MCB")

    async def scene(bench: Bench) -> None:
        bench.start()
        await bench.until(lambda: any(isinstance(seen, DeviceLost) for seen in bench.seen))
        lost = next(seen for seen in bench.seen if isinstance(seen, DeviceLost))
        assert "EEM-350" in lost.reason
        assert "check line and unit" in lost.reason
        assert (20000, 0) in bench.controller.writes, "the stop does not wait for the check"

    play("phoenix", scene)


def test_the_lock_follows_its_orders_and_is_reported() -> None:
    async def scene(bench: Bench) -> None:
        await bench.idle()
        await bench.until(lambda: lock_reports(bench) == [False])
        bench.driver.lock(True)
        await bench.until(lambda: lock_reports(bench) == [False, True])
        assert bench.controller.locked
        bench.driver.lock(False)
        await bench.until(lambda: lock_reports(bench)[-1] is False)
        assert not bench.controller.locked
        bench.driver.lock(False)
        told = [False, True, False, False]
        await bench.until(lambda: lock_reports(bench) == told)  # though it does not move

    play("phoenix", scene)


def test_a_lock_that_does_not_move_is_a_fault_and_reported_where_it_stands() -> None:
    async def scene(bench: Bench) -> None:
        await bench.idle()
        bench.fault("lock_failed")
        bench.driver.lock(True)
        await bench.until(lambda: bench.reading.faults == {"lock_failed"})
        await asyncio.sleep(3)
        assert lock_reports(bench)[-1] is False
        bench.fault("lock_failed", stands=False)
        await bench.until(lambda: lock_reports(bench)[-1] is True)

    play("phoenix", scene)


def test_a_welded_contactor_is_seen_and_its_path_is_in_doubt() -> None:
    async def scene(bench: Bench) -> None:
        await bench.charging()
        bench.live.catch_up()
        bench.world.weld(HERE)
        bench.driver.stop()
        await bench.until(lambda: bench.reading.faults == {"welded_contactor"})
        await asyncio.sleep(20)
        assert bench.reading.power_path is not PowerPath.OPEN

    play("phoenix", scene)


def test_without_pwm_the_path_is_in_doubt_until_the_ev_let_go() -> None:
    async def scene(bench: Bench) -> None:
        await bench.charging(ignores_pilot=True)
        bench.driver.stop()
        await bench.until(lambda: bench.reading.offered_a == 0)
        paths = set()
        while bench.closed:
            paths.add(bench.reading.power_path)
            await asyncio.sleep(0.1)
        assert PowerPath.OPEN not in paths
        await bench.until(lambda: bench.reading.power_path is PowerPath.OPEN)
        await asyncio.sleep(10)
        assert bench.reading.state is PilotState.C, "available again, so the EV can be seen"
        assert not bench.closed

    play("phoenix", scene)


def test_an_ev_that_asks_for_ventilation_is_a_fault() -> None:
    async def scene(bench: Bench) -> None:
        await bench.idle()
        bench.plug_in(wants="D")
        bench.driver.allow_power(13)
        await bench.until(lambda: "ventilation_required" in bench.reading.faults)
        assert not bench.closed

    play("phoenix", scene)


@pytest.mark.parametrize(
    ("register", "numbers"),
    [
        (0, set()),
        (1 << 1, {2}),
        (1 << 4, {5}),
        (1 << 11, {12}),
        (1 << 15, {16}),
        (1 << 11 | 1 << 12, {12, 13}),
    ],
)
def test_errors_are_bits_numbered_from_1(register: int, numbers: set[int]) -> None:
    assert errors_in(register) == numbers


def test_a_state_f_that_was_ordered_is_no_fault_and_is_left_again() -> None:
    async def scene(bench: Bench) -> None:
        await bench.charging(ignores_pilot=True)
        bench.driver.emergency_stop()
        await bench.until(lambda: bench.reading.state is PilotState.F)
        assert bench.controller.unit.read()[3, 24025] == 1 << 4, "it says why it is in F"
        assert bench.reading.faults == frozenset()
        bench.driver.stop()
        await bench.until(lambda: bench.reading.state is PilotState.C)
        assert not bench.closed

    play("phoenix", scene)


def test_a_short_circuit_of_the_proximity_wire_is_a_fault_and_no_rating() -> None:
    async def scene(bench: Bench) -> None:
        await bench.idle()
        bench.live.catch_up()
        bench.world.plug_in(HERE, cable_a=0xFFFF)
        await bench.until(lambda: bench.reading.faults == {"proximity"})
        assert bench.reading.cable_a is None

    play("phoenix", scene)


def test_a_switch_that_makes_the_cut_off_vain_is_named_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene(bench: Bench) -> None:
        bench.controller.dip_2 = False
        await bench.charging()
        bench.driver.emergency_stop()
        await bench.until(lambda: "S1/DIP 2" in caplog.text)
        await asyncio.sleep(30)
        assert caplog.text.count("S1/DIP 2") == 1

    play("phoenix", scene)


@pytest.mark.parametrize("status", ["F0", "F\0", "F "])
def test_state_f_is_seen_whatever_stands_behind_it(status: str) -> None:
    async def scene(bench: Bench) -> None:
        bench.controller.status_f = status
        await bench.charging()
        bench.driver.emergency_stop()
        await bench.until(lambda: bench.reading.state is PilotState.F)
        assert bench.reading.power_path is PowerPath.OPEN

    play("phoenix", scene)
