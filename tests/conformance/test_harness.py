"""The reusable states against the station, in every combination of start and stop points."""

import pytest

from hil.conformance import Octt
from hil.sim import SimBench
from hil.virtual_time import run_virtual

STARTS = (
    "PowerPathClosed",
    "EVConnected",
    "Authorized",
    "EnergyTransfer",
    "EVConnected,Authorized",
)
STOPS = ("PowerPathClosed", "Authorized", "EVConnected", "EnergyTransfer")
QUIET = {"SampledDataCtrlr.TxUpdatedInterval": "0"}


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("start", STARTS)
def test_a_session_by_card_goes_through_all_states(start: str, stop: str) -> None:
    async def scene() -> None:
        async with SimBench(variables=QUIET) as bench:
            octt = Octt(bench)
            await octt.booted()
            await octt.configure(start=start, stop=stop)
            await octt.ev_connected_pre_session()
            await octt.authorized()
            await octt.energy_transfer_started()
            await octt.stop_authorized()
            await octt.ev_connected_post_session()
            await octt.ev_disconnected()
            assert octt.transaction_id is None
            bench.csms.check()

    run_virtual(scene())


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("start", STARTS)
def test_a_session_by_remote_start_goes_through_all_states(start: str, stop: str) -> None:
    async def scene() -> None:
        async with SimBench(variables=QUIET) as bench:
            octt = Octt(bench)
            await octt.booted()
            await octt.configure(start=start, stop=stop)
            await octt.authorized_remotely()
            await octt.ev_connected_pre_session()
            await octt.energy_transfer_started()
            await octt.stop_authorized_remotely()
            await octt.ev_connected_post_session()
            await octt.ev_disconnected()
            assert octt.transaction_id is None
            bench.csms.check()

    run_virtual(scene())
