"""A dead variable looks alive to whoever asks, and nobody obeys it."""

import asyncio

import pytest

from agent.ocpp.device_model import DeviceModel
from hil.conformance import Octt
from hil.obeyed_mutants import Row, dead, read_table, try_out
from hil.sim import SimBench
from hil.virtual_time import run_virtual

HEARTBEAT = "OCPPCommCtrlr.HeartbeatInterval"


async def heartbeats(octt: Octt) -> int:
    """In 200 s with an interval of 40, and what the station says of it."""
    await octt.set_variable("OCPPCommCtrlr", "HeartbeatInterval", "40")
    found = await octt.get_variable("OCPPCommCtrlr", "HeartbeatInterval")
    assert found["attributeValue"] == "40"
    await asyncio.sleep(200)
    return len(octt.csms.of("Heartbeat"))


def heartbeats_of_a_station() -> int:
    counts = []

    async def scene() -> None:
        async with SimBench() as bench:
            octt = Octt(bench)
            await octt.booted()
            counts.append(await heartbeats(octt))

    run_virtual(scene())
    return counts[0]


def test_a_dead_variable_is_told_and_not_obeyed_until_it_is_revived() -> None:
    before = vars(DeviceModel).copy()
    with dead(HEARTBEAT):
        assert heartbeats_of_a_station() == 0
    assert vars(DeviceModel) == before
    assert heartbeats_of_a_station() >= 4


def test_a_policy_that_is_dead_stays_as_it_was_also_from_the_file_and_after_a_start() -> None:
    async def scene() -> None:
        async with SimBench(variables={"AuthCtrlr.Enabled": "false"}, evse_count=1) as bench:
            await Octt(bench).booted()
            await bench.power_cut()
            await bench.start()
            bench.plug_in()
            await asyncio.sleep(30)
            assert not bench.board.connector(1, 1).closed
            found = await Octt(bench).get_variable("AuthCtrlr", "Enabled")
            assert found["attributeValue"] == "false"

    with dead("AuthCtrlr.Enabled"):
        run_virtual(scene())


@pytest.mark.parametrize(("code", "verdict"), [(0, "SURVIVED"), (1, "killed"), (4, "with 4")])
def test_what_a_run_with_the_dead_variable_means(
    code: int, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = iter([0, code])
    monkeypatch.setattr("hil.obeyed_mutants.run_test", lambda test: (next(codes), ""))
    assert verdict in try_out(Row("OCPPCommCtrlr", "", "HeartbeatInterval", "", "any"))


def test_a_test_that_fails_anyway_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.obeyed_mutants.run_test", lambda test: (1, ""))
    assert try_out(read_table()[0]).startswith("fails")
