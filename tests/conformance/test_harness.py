"""The reusable states against the station, in every combination of start and stop points."""

import pytest

from hil.cases import play
from hil.conformance import Octt

STARTS = (
    "PowerPathClosed",
    "EVConnected",
    "Authorized",
    "EnergyTransfer",
    "EVConnected,Authorized",
)
STOPS = ("PowerPathClosed", "Authorized", "EVConnected", "EnergyTransfer")


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("start", STARTS)
def test_a_session_by_card_goes_through_all_states(start: str, stop: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.configure(start=start, stop=stop)
        await octt.ev_connected_pre_session()
        await octt.authorized()
        await octt.energy_transfer_started()
        await octt.stop_authorized()
        await octt.ev_connected_post_session()
        await octt.ev_disconnected()
        assert octt.transaction_id is None

    play(scene)


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("start", STARTS)
def test_a_session_by_remote_start_goes_through_all_states(start: str, stop: str) -> None:
    async def scene(octt: Octt) -> None:
        await octt.configure(start=start, stop=stop)
        await octt.authorized_remotely()
        await octt.ev_connected_pre_session()
        await octt.energy_transfer_started()
        await octt.stop_authorized_remotely()
        await octt.ev_connected_post_session()
        await octt.ev_disconnected()
        assert octt.transaction_id is None

    play(scene)
