"""The desk bench with the real process; these take real seconds."""

import contextlib
import os
import signal
from typing import Any

import pytest

from agent.daemon import REBOOT_EXIT_CODE
from drivers.sim.connector import Ev
from hil.desk import EVSE_IDS, METER_START_WH, BenchError, DeskBench
from hil.desk_file import MAIN_UNIT
from hil.parts.modbus_slave import Fault
from hil.parts.openevse_commands import Mode
from hil.verdict import Evidence, Verdict, judge

CARD = "04A2B3C4D5E680"
CAR = Ev(current_a=16.0, ready_after_s=0.2)


async def begin_charge(bench: DeskBench, evse_id: int = 1) -> None:
    await bench.wait_until(lambda: bench.csms.boot_status == "Accepted", "a boot", 60.0)
    bench.plug_in(evse_id, CAR)

    async def is_seen() -> bool:
        return bool((await bench.connector(evse_id))["status"] == "Occupied")

    await bench.wait_until(is_seen, "the plug in the agent's view")
    await bench.swipe(CARD)
    await bench.wait_until(lambda: bench.drawn_a(evse_id) == CAR.current_a, "a charging EV")
    target_wh = bench.energy_wh(evse_id) + 5.0
    await bench.wait_until(lambda: bench.energy_wh(evse_id) >= target_wh, "5 Wh")


async def wait_told(bench: DeskBench) -> None:
    """The only transaction has ended and nothing waits any more."""

    async def is_told() -> bool:
        books = list(bench.csms.transactions.values())
        ended = len(books) == 1 and books[0][-1]["eventType"] == "Ended"
        return ended and await bench.queue_length() == 0

    await bench.wait_until(is_told, "the end of the transaction at the CSMS", 60.0)


def verdict(bench: DeskBench, **facts: Any) -> Verdict:
    return judge(
        Evidence(
            calls=bench.csms.calls,
            violations=bench.csms.violations,
            transactions=1,
            meters_wh={n: (METER_START_WH[n], bench.energy_wh(n)) for n in EVSE_IDS},
            outages=bench.outages,
            utc_offset_s=bench.utc_offset_s,
            **facts,
        )
    )


async def test_one_short_charge_from_card_to_bill_with_the_real_process_and_drivers() -> None:
    async with DeskBench() as bench:
        await bench.start_agent()
        await begin_charge(bench)
        assert bench.offered_a(1) == 32.0
        await bench.swipe(CARD)
        await wait_told(bench)
        bench.plug_out(1)
        code = await bench.stop_agent()
        bench.csms.check()
        found = verdict(bench, exit_code=code)
        assert found.problems == ()
        assert bench.energy_wh(1) - METER_START_WH[1] >= 5.0
        assert bench.energy_wh(2) == METER_START_WH[2]
        commands = {command.name for command in bench.controllers[1].received}
        assert {"SC", "SY", "FE", "FS", "GS"} <= commands
        assert {unit for unit, _ in bench.meters.requests} == {1, 2}
        assert bench.controllers[1].mode is Mode.SLEEPING
    assert not bench.directory.exists()


async def test_the_main_meter_shares_the_line_and_its_loss_stops_no_charge() -> None:
    async with DeskBench(main_meter=True) as bench:
        await bench.start_agent()
        await begin_charge(bench)

        async def shows_the_charge() -> bool:
            shown = (await bench.status())["main_meter"]
            return isinstance(shown, dict) and shown["current_a"] == CAR.current_a

        await bench.wait_until(shows_the_charge, "the charge at the grid connection")
        asked = {"requestedMessage": "MeterValues", "evse": {"id": 0}}
        assert await bench.csms.call("TriggerMessage", asked) == {"status": "Accepted"}
        told = await bench.csms.wait_for("MeterValues", timeout_s=10.0)
        assert told["evseId"] == 0
        energy_wh = float(told["meterValue"][0]["sampledValue"][0]["value"])
        assert energy_wh > sum(METER_START_WH.values())
        bench.meters.inject(Fault.SILENT, unit=MAIN_UNIT)

        async def shows_the_loss() -> bool:
            return bool((await bench.status())["main_meter"] == "meter_lost")

        await bench.wait_until(shows_the_loss, "the loss of the main meter", 60.0)
        assert bench.drawn_a(1) == CAR.current_a
        assert (await bench.connector(1))["faults"] == []
        bench.csms.check()


async def test_a_charge_counted_by_the_controller_itself_is_told_as_it_flowed() -> None:
    async with DeskBench(meter_inside=True) as bench:
        await bench.start_agent()
        await begin_charge(bench)
        await bench.swipe(CARD)
        await wait_told(bench)
        bench.plug_out(1)
        assert await bench.stop_agent() == 0
        bench.csms.check()
        ((first, *_, last),) = bench.csms.transactions.values()
        begin_wh, end_wh = (register_wh(event) for event in (first, last))
        flowed_wh = bench.energy_wh(1) - METER_START_WH[1]
        assert flowed_wh - 2.0 <= end_wh - begin_wh <= flowed_wh
        assert {unit for unit, _ in bench.meters.requests} == {2}
        assert "not for billing" in bench.agent_log.read_text()


def register_wh(event: dict[str, Any]) -> float:
    """The energy register that a TransactionEvent tells."""
    values = [v for taken in event["meterValue"] for v in taken["sampledValue"]]
    (value_wh,) = {
        v["value"]
        for v in values
        if v.get("measurand", "Energy.Active.Import.Register") == "Energy.Active.Import.Register"
    }
    return float(value_wh)


async def test_a_reset_of_the_board_ends_the_process_with_its_code() -> None:
    async with DeskBench() as bench:
        bench.config.write_text(bench.config.read_text() + "reset: board\n")
        await bench.start_agent()
        await bench.wait_until(lambda: bench.csms.boot_status == "Accepted", "a boot", 60.0)
        assert await bench.csms.call("Reset", {"type": "Immediate"}) == {"status": "Accepted"}
        assert await bench.agent_ended() == REBOOT_EXIT_CODE


async def test_a_killed_agent_started_again_on_its_data_ends_and_bills_what_it_had_begun() -> None:
    async with DeskBench() as bench:
        await bench.start_agent()
        await begin_charge(bench, evse_id=2)
        await bench.kill_agent()
        assert bench.pid is None
        target_wh = bench.energy_wh(2) + 3.0
        await bench.wait_until(lambda: bench.energy_wh(2) >= target_wh, "3 Wh without an agent")
        await bench.start_agent()
        await wait_told(bench)
        found = verdict(bench)
        assert found.problems == ()
        assert bench.drawn_a(2) == 0.0
        assert len(bench.csms.of("BootNotification")) == 2


async def test_waiting_fails_at_once_and_shows_the_log_when_the_agent_ends_by_itself() -> None:
    async with DeskBench() as bench:
        bench.config.write_text("station: nonsense\n")
        await bench.start_agent()
        with pytest.raises(BenchError, match="exit code 78") as caught:
            await bench.wait_until(lambda: False, "a miracle", limit_s=60.0)
        assert "charger.yaml" in str(caught.value)


async def test_waiting_in_vain_says_for_what_and_where_to_read_on() -> None:
    async with DeskBench() as bench:
        with pytest.raises(BenchError, match=r"for a miracle; read .*agent\.log"):
            await bench.wait_until(lambda: False, "a miracle", limit_s=0.1)


async def test_an_agent_that_ignores_the_order_to_stop_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hil.desk.STOP_WITHIN_S", 0.2)
    async with DeskBench() as bench:
        await bench.start_agent()
        await bench.wait_until(lambda: bench.csms.boot_status == "Accepted", "a boot", 60.0)
        assert bench.pid is not None
        # Its handler of SIGTERM cannot run any more.
        os.kill(bench.pid, signal.SIGSTOP)
        assert await bench.stop_agent() == -signal.SIGKILL
        assert bench.pid is None


async def test_the_directory_stays_when_the_block_is_left_by_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with contextlib.suppress(BenchError):
        async with DeskBench() as bench:
            raise BenchError("something is wrong")
    assert bench.config.exists()


async def test_a_process_that_was_never_started_leaves_nothing_to_stop() -> None:
    async with DeskBench() as bench:
        assert await bench.stop_agent() is None
    assert not bench.directory.exists()
