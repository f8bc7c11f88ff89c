"""A power cut at every effect of a firmware update leads on to its end after the restart."""

import pytest

from agent.core.effects import Restart, Save
from agent.core.jobs import StartJob
from hil.conformance import Octt, firmware
from hil.sim import SimBench
from hil.virtual_time import run_virtual

ENDS = {"Installed", "InstallationFailed"}


def watched(effect: object) -> bool:
    is_state = isinstance(effect, Save) and effect.key == "firmware"
    return is_state or isinstance(effect, StartJob | Restart)


async def through(cut_at: int | None) -> tuple[int, list[str]]:
    """(effects of the update, statuses told) with the power cut after the given effect."""
    seen: list[object] = []

    def note(effect: object) -> None:
        if watched(effect):
            seen.append(effect)

    async with SimBench(on_effect=note) as bench:
        octt = Octt(bench)
        await octt.booted()
        wanted = await firmware(octt)
        seen.clear()
        task = bench.csms.call("UpdateFirmware", {"requestId": 1, "firmware": wanted})
        await task
        is_cut = False
        for _ in range(40_000):
            if not is_cut and cut_at is not None and len(seen) > cut_at:
                is_cut = True
                await bench.power_cut()
                await bench.start()
            elif not bench.is_running:
                bench.forget_agent()
                await bench.start()
            told = [p["status"] for p in bench.csms.of("FirmwareStatusNotification")]
            if told and told[-1] in ENDS:
                break
            await pause()
        return len(seen), told


async def pause() -> None:
    import asyncio

    await asyncio.sleep(0.05)


def test_an_update_without_a_cut_is_installed() -> None:
    told: list[str] = []

    async def play() -> None:
        told.extend((await through(None))[1])

    run_virtual(play())
    assert told == [
        "Downloading",
        "Downloaded",
        "SignatureVerified",
        "Installing",
        "InstallRebooting",
        "Installed",
    ]


@pytest.mark.parametrize("cut_at", range(14))
def test_a_cut_after_each_effect(cut_at: int) -> None:
    told: list[str] = []

    async def play() -> None:
        told.extend((await through(cut_at))[1])

    run_virtual(play())
    assert told[-1] == "Installed", told
    order = list(dict.fromkeys(told))
    assert order == sorted(order, key=ORDER.index), told


ORDER = [
    "Downloading",
    "Downloaded",
    "SignatureVerified",
    "Installing",
    "InstallRebooting",
    "Installed",
]
