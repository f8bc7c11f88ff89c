"""The driver of OpenEVSE on its line: orders, restarts, loss, and what garble does not do."""

import asyncio
import itertools
import logging

import pytest

from drivers.contract import DeviceFound, DeviceLost, OpenEvseOptions, PilotState, PowerPath
from drivers.pilots import rapi_link
from drivers.pilots.openevse import OpenEvse
from tests.drivers.pilots.openevse_bench import Bench, Controller, framed


@pytest.fixture
async def bench(far_end, eventually):
    bench = Bench(far_end, eventually)
    yield bench
    if bench.task:
        assert not bench.task.done(), "the driver ended by itself"
        bench.task.cancel()
        await asyncio.gather(bench.task, return_exceptions=True)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(rapi_link, "REPLY_TIMEOUT_S", 0.1)


async def test_the_first_word_to_an_enabled_controller_is_sleep(bench) -> None:
    bench.controller.plug(3)
    bench.start()
    await bench.shows(PilotState.C, PowerPath.OPEN, 0.0)
    await bench.orders_begin("FS", "SY 20 10")


async def test_allowed_power_flows_in_c_with_the_current_set_before_enabling(bench) -> None:
    bench.start()
    await bench.shows(PilotState.A, PowerPath.OPEN, 0.0)
    bench.controller.plug(2)
    await bench.shows(PilotState.B, PowerPath.OPEN, 0.0)
    bench.evse.allow_power(16.9)
    await bench.shows(PilotState.B, PowerPath.OPEN, 16.0)
    bench.controller.plug(3)
    await bench.shows(PilotState.C, PowerPath.CLOSED, 16.0)
    assert bench.evse.power_path() is PowerPath.CLOSED
    commands = bench.controller.commands
    assert commands.index("SC 16 V") < commands.index("FE")
    bench.evse.allow_power(8)
    await bench.shows(PilotState.C, PowerPath.CLOSED, 8.0)
    assert bench.controller.heartbeat[:2] == (20, 8)
    bench.evse.stop()
    await bench.shows(PilotState.C, PowerPath.OPEN, 0.0)
    assert bench.controller.most_in_flight == 1


async def test_enabling_does_not_wait_for_the_next_poll(bench) -> None:
    bench.evse._poll_s = 3600.0
    bench.start()
    await bench.shows(PilotState.A, PowerPath.OPEN, 0.0)
    bench.evse.allow_power(16)
    await bench.shows(PilotState.A, PowerPath.OPEN, 16.0)


async def test_less_than_six_ampere_is_a_stop(bench) -> None:
    bench.controller.plug(3)
    bench.evse.allow_power(10)
    bench.start()
    await bench.shows(PilotState.C, PowerPath.CLOSED, 10.0)
    bench.evse.allow_power(5.9)
    await bench.shows(PilotState.C, PowerPath.OPEN, 0.0)
    assert not [c for c in bench.controller.commands if c.startswith("SC 5")]


async def test_an_emergency_stop_disables_and_stays_until_the_next_order(bench) -> None:
    bench.controller.plug(3)
    bench.evse.allow_power(10)
    bench.start()
    await bench.shows(PilotState.C, PowerPath.CLOSED, 10.0)
    bench.evse.emergency_stop()
    await bench.shows(PilotState.F, PowerPath.OPEN, 0.0)
    await bench.polls()
    assert bench.controller.state == 0xFF
    bench.evse.stop()
    await bench.shows(PilotState.C, PowerPath.OPEN, 0.0)
    assert bench.controller.state == 0xFE


async def test_a_stop_leaves_before_everything_that_waits(bench) -> None:
    bench.controller.plug(3)
    bench.start()
    await bench.shows(PilotState.C, PowerPath.OPEN, 0.0)
    bench.controller.reply_delay_s = 0.1
    asked = len(bench.controller.commands)
    await bench.eventually(lambda: len(bench.controller.commands) > asked)
    in_flight = len(bench.controller.commands)
    bench.evse.allow_power(16)
    bench.evse.stop()
    await bench.eventually(lambda: len(bench.controller.commands) > in_flight)
    assert bench.controller.commands[in_flight] == "FS"
    bench.controller.reply_delay_s = 0.0
    await bench.polls()
    assert "FE" not in bench.controller.commands


async def test_a_stop_does_not_wait_out_the_timeout_of_a_lost_answer(bench, monkeypatch) -> None:
    monkeypatch.setattr(rapi_link, "REPLY_TIMEOUT_S", 3600.0)
    bench.controller.plug(3)
    bench.evse.allow_power(10)
    bench.start()
    await bench.shows(PilotState.C, PowerPath.CLOSED, 10.0)
    bench.controller.deaf = True
    asked = len(bench.controller.commands)
    await bench.eventually(lambda: len(bench.controller.commands) > asked)
    bench.controller.deaf = False
    bench.evse.emergency_stop()
    await bench.eventually(lambda: bench.controller.state == 0xFF)


async def test_a_stop_is_repeated_until_the_controller_shows_it(bench) -> None:
    bench.start()
    await bench.shows(PilotState.A, PowerPath.OPEN, 0.0)
    bench.controller.state = 0x01
    bench.controller.plug(3)
    await bench.eventually(lambda: bench.controller.state == 0xFE)
    bench.controller.flags |= 0x0040
    bench.controller._settle = lambda: None
    asked = bench.controller.commands.count("FS")
    await bench.eventually(lambda: bench.controller.commands.count("FS") >= asked + 3)


async def test_a_fault_is_reported_and_not_hidden_by_repeated_sleep(bench) -> None:
    bench.start()
    await bench.shows(PilotState.A, PowerPath.OPEN, 0.0)
    bench.controller.state = 0x06
    bench.controller.tell()
    await bench.eventually(lambda: bench.reading.faults == {"rcd"})
    asked = bench.controller.commands.count("FS")
    await bench.polls(4)
    assert bench.controller.commands.count("FS") == asked
    assert bench.reading.faults == {"rcd"}


async def test_a_restarted_controller_is_put_to_sleep_before_anything_else(bench) -> None:
    bench.start()
    await bench.shows(PilotState.A, PowerPath.OPEN, 0.0)
    bench.controller.pilot = 3
    sent = len(bench.controller.commands)
    bench.controller.restart()
    await bench.shows(PilotState.C, PowerPath.OPEN, 0.0)
    await bench.orders_begin("FS", "SY 20 10", sent=sent)


async def test_a_restart_while_allowed_gets_its_current_and_supervision_back(bench) -> None:
    bench.controller.plug(3)
    bench.evse.allow_power(12)
    bench.start()
    await bench.shows(PilotState.C, PowerPath.CLOSED, 12.0)
    sent = len(bench.controller.commands)
    bench.controller.restart()
    await bench.eventually(lambda: bench.controller.heartbeat == (20, 10, 0))
    await bench.orders_begin("SC 12 V", "SY 20 10", sent=sent)
    assert bench.controller.amps == 12


async def test_a_restart_whose_message_was_lost_is_noticed_by_what_was_forgotten(
    bench, monkeypatch
) -> None:
    monkeypatch.setattr("drivers.pilots.openevse.PULSE_S", 0.1)
    bench.controller.plug(3)
    bench.evse.allow_power(12)
    bench.start()
    await bench.shows(PilotState.C, PowerPath.CLOSED, 12.0)
    bench.controller.amps, bench.controller.heartbeat = 32, (0, 0, 0)
    await bench.eventually(
        lambda: bench.controller.heartbeat == (20, 10, 0) and bench.controller.amps == 12
    )


async def test_a_current_changed_by_someone_else_is_set_back(bench) -> None:
    bench.controller.plug(3)
    bench.evse.allow_power(12)
    bench.start()
    await bench.shows(PilotState.C, PowerPath.CLOSED, 12.0)
    bench.controller.amps = 20
    await bench.eventually(lambda: bench.controller.amps == 12)


async def test_a_lower_ceiling_of_the_controller_is_accepted_and_named_once(bench, caplog) -> None:
    caplog.set_level(logging.INFO)
    bench.controller.ceiling_a = bench.controller.amps = 20
    bench.controller.plug(3)
    bench.evse.allow_power(32)
    bench.start()
    await bench.shows(PilotState.C, PowerPath.CLOSED, 20.0)
    await bench.polls(4)
    assert bench.controller.commands.count("SC 32 V") == 1
    bench.evse.allow_power(24)
    await bench.eventually(lambda: "SC 24 V" in bench.controller.commands)
    await bench.polls(2)
    assert caplog.text.count("offers 20 A where 32 were allowed") == 1
    assert "where 24 were allowed" not in caplog.text


async def test_a_tripped_supervision_is_armed_again_and_the_current_restored(
    bench, monkeypatch
) -> None:
    monkeypatch.setattr("drivers.pilots.openevse.PULSE_S", 0.1)
    bench.controller.plug(3)
    bench.evse.allow_power(16)
    bench.start()
    await bench.shows(PilotState.C, PowerPath.CLOSED, 16.0)
    bench.controller.amps, bench.controller.heartbeat = 10, (20, 10, 2)
    await bench.eventually(
        lambda: bench.controller.heartbeat == (20, 10, 0) and bench.controller.amps == 16
    )


@pytest.mark.parametrize(
    "mangle",
    [
        pytest.param(lambda reply: b"", id="silence"),
        pytest.param(lambda reply: reply[:-2] + b"!\r", id="bad checksum"),
        pytest.param(lambda reply: reply[:5], id="half a line"),
        pytest.param(lambda reply: framed("$OK 03 0 03 0140 :00"), id="foreign sequence id"),
        pytest.param(lambda reply: b"\xff\x00" * 300, id="garbage"),
        pytest.param(lambda reply: framed("$OK"), id="no sequence id"),
    ],
)
async def test_a_controller_without_good_answers_is_lost_and_then_found(
    bench, impatient, mangle
) -> None:
    bench.start()
    await bench.shows(PilotState.A, PowerPath.OPEN, 0.0)
    bench.controller.mangle = mangle
    await bench.eventually(lambda: bench.count(DeviceLost))
    assert bench.reading.state is PilotState.UNKNOWN
    assert bench.reading.power_path is PowerPath.UNKNOWN
    assert bench.evse.power_path() is PowerPath.UNKNOWN
    bench.controller.mangle = lambda reply: reply
    await bench.shows(PilotState.A, PowerPath.OPEN, 0.0)
    assert (bench.count(DeviceLost), bench.count(DeviceFound)) == (1, 1)


async def test_two_lost_answers_in_a_row_are_no_loss_however_often(bench, impatient) -> None:
    bench.start()
    await bench.shows(PilotState.A, PowerPath.OPEN, 0.0)
    answers = itertools.count()
    bench.controller.mangle = lambda reply: b"" if next(answers) % 3 else reply
    asked = len(bench.controller.commands)
    await bench.eventually(lambda: len(bench.controller.commands) > asked + 12)
    assert bench.count(DeviceLost) == 0


async def test_noise_and_half_lines_between_frames_do_no_harm(bench) -> None:
    bench.start()
    await bench.shows(PilotState.A, PowerPath.OPEN, 0.0)
    bench.controller.send(
        b"\xff$AT 03 03\r$OK 03\rrelayCloseMs: 1\n$AT zz 03 1 1^11\r" + b"x" * 999
    )
    bench.controller.send(b"\r" + framed("$AT 03 03") + framed("$WF 00") + framed("$AT x y z 1"))
    await bench.polls(4)
    assert {o.reading.state for o in bench.observations} == {PilotState.A}


async def test_a_view_without_news_becomes_unknown(bench, monkeypatch) -> None:
    monkeypatch.setattr(rapi_link, "REPLY_TIMEOUT_S", 3600.0)
    bench.start()
    await bench.shows(PilotState.A, PowerPath.OPEN, 0.0)
    assert bench.evse.power_path() is PowerPath.OPEN
    bench.controller.deaf = True
    await bench.eventually(lambda: bench.evse.power_path() is PowerPath.UNKNOWN)


@pytest.mark.parametrize("emergency", [False, True])
async def test_cancelling_puts_the_controller_to_sleep_but_never_undoes_an_emergency_stop(
    bench, emergency: bool
) -> None:
    bench.controller.plug(3)
    bench.evse.allow_power(16)
    bench.start()
    await bench.shows(PilotState.C, PowerPath.CLOSED, 16.0)
    if emergency:
        bench.evse.emergency_stop()
    bench.task.cancel()
    await asyncio.gather(bench.task, return_exceptions=True)
    bench.task = None
    await bench.eventually(lambda: bench.controller.state == (0xFF if emergency else 0xFE))


async def test_a_pulled_plug_is_a_lost_device_at_once(bench, far_end) -> None:
    bench.start()
    await bench.shows(PilotState.A, PowerPath.OPEN, 0.0)
    far_end.hang_up()
    await bench.eventually(lambda: bench.count(DeviceLost))
    assert bench.reading.power_path is PowerPath.UNKNOWN


async def test_a_missing_port_is_a_lost_device_and_an_order_tries_it_again(
    eventually, tmp_path, far_end
) -> None:
    observations: list[object] = []
    link = tmp_path / "evse"
    evse = OpenEvse("p", OpenEvseOptions(port=str(link)))
    task = asyncio.create_task(evse.run(observations.append))
    await eventually(lambda: any(isinstance(o, DeviceLost) for o in observations))
    assert str(link) in observations[-1].reason
    evse._pause_s = 3600.0
    evse.stop()
    await asyncio.sleep(0.1)
    link.symlink_to(far_end.path)
    controller = Controller(far_end)
    evse.stop()
    await eventually(lambda: controller.state == 0xFE)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_orders_before_the_start_do_no_io() -> None:
    evse = OpenEvse("p", OpenEvseOptions(port="/dev/nothing_here"))
    evse.allow_power(16)
    evse.stop()
    evse.lock(True)
    assert evse.power_path() is PowerPath.UNKNOWN
    assert "10 A" not in evse.capabilities.host_loss_fallback
    assert "6 A" in evse.capabilities.host_loss_fallback


async def test_damaged_answers_silence_and_new_ports_are_counted(bench, impatient) -> None:
    bench.start()
    await bench.shows(PilotState.A, PowerPath.OPEN, 0.0)
    counters = bench.evse.counters
    assert counters.requests >= 2
    assert counters.reconnects == 0
    assert (counters.unusable, counters.exceptions) == (0, 0)
    assert counters.latency_s is not None
    bench.controller.mangle = lambda reply: reply[:-2] + b"?\r"
    await bench.eventually(lambda: counters.unusable >= 1 and counters.timeouts >= 1)
    await bench.eventually(lambda: counters.reconnects >= 1, "the port opened anew")
