"""The whole agent on the sim bench: starts, stops, crashes, power cuts; files and passwords."""

import asyncio
import os
import signal
import sqlite3
import stat
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent import app, daemon
from agent.boot import WIRING
from agent.credentials import password_of
from agent.errors import SettingsError
from agent.ocpp.messages import parse_time
from agent.ocpp.network import connection_url
from agent.settings import CsmsEndpoint, Settings
from agent.store.rows import Batch, Committed, StoreFault
from drivers.sim.board import SimBoard, plan_of
from drivers.sim.parts import SimMeter
from hil.scenarios.day import begin, drained
from hil.sim import SimBench, settings_of
from hil.verdict import Evidence, judge
from hil.virtual_time import run_virtual

CARD = "04A1B2C3"


class PowerCut(Exception):
    """The bench ends the process between two instructions."""


def run(test: Callable[[SimBench], Coroutine[Any, Any, None]], **bench: Any) -> None:
    async def scene() -> None:
        async with SimBench(evse_count=1, **bench) as sim:
            await test(sim)

    run_virtual(scene())


def events(bench: SimBench) -> list[Any]:
    return [event for each in bench.csms.transactions.values() for event in each]


def closed_once(bench: SimBench, metered_wh: float) -> None:
    """Started to Ended, gapless, nothing lost or doubled, every Wh billed."""
    status = bench.agent.status()
    evidence = Evidence(
        calls=bench.csms.calls,
        meters_wh={1: (0.0, metered_wh)},
        waiting=status["queue"],
        set_aside=status["set_aside"],
        violations=bench.csms.violations,
    )
    assert judge(evidence).problems == ()


async def ended(bench: SimBench) -> None:
    await bench.until(lambda: bool(events(bench)) and events(bench)[-1]["eventType"] == "Ended")
    await drained(bench)


# --- power cuts and crashes -----------------------------------------------------------------------


@pytest.mark.parametrize("after_s", [0.0, 0.5, 3.0, 61.0, 600.0])
@pytest.mark.parametrize("network", ["up", "down before", "down after"])
def test_a_power_cut_while_charging_ends_the_transaction_with_power_loss(
    after_s: float, network: str
) -> None:
    async def scene(bench: SimBench) -> None:
        before_wh = bench.board.meter(1).energy_wh
        await bench.csms.wait_for("StatusNotification")
        await begin(bench, 1, CARD)
        if network == "down before":
            await bench.network.drop()
        await asyncio.sleep(after_s)
        await bench.power_cut()
        assert bench.board.connector(1, 1).drawn_a == 0.0
        if network == "down after":
            await bench.network.drop()
        await bench.start()
        await asyncio.sleep(300)
        assert bench.board.connector(1, 1).drawn_a == 0.0, "no card, no power"
        await bench.network.accept()
        await ended(bench)
        last = events(bench)[-1]
        assert last["transactionInfo"]["stoppedReason"] == "PowerLoss"
        assert bench.csms.of("BootNotification")[-1]["reason"] == "PowerUp"
        closed_once(bench, bench.board.meter(1).energy_wh - before_wh)

    run(scene)


def test_a_crash_in_the_same_boot_is_a_reboot_and_told_as_watchdog() -> None:
    async def scene(bench: SimBench) -> None:
        before_wh = bench.board.meter(1).energy_wh
        await bench.csms.wait_for("StatusNotification")
        await begin(bench, 1, CARD)
        await asyncio.sleep(100)
        await bench.crash()
        await bench.start(cold=False)
        await ended(bench)
        assert events(bench)[-1]["transactionInfo"]["stoppedReason"] == "Reboot"
        assert bench.csms.of("BootNotification")[-1]["reason"] == "Watchdog"
        closed_once(bench, bench.board.meter(1).energy_wh - before_wh)

    run(scene)


def test_an_ordered_stop_opens_the_contactor_and_is_told_as_such() -> None:
    async def scene(bench: SimBench) -> None:
        await bench.csms.wait_for("StatusNotification")
        await begin(bench, 1, CARD)
        await bench.stop()
        await asyncio.sleep(5)
        assert bench.board.connector(1, 1).drawn_a == 0.0
        await bench.start(cold=False)
        await ended(bench)
        assert events(bench)[-1]["transactionInfo"]["stoppedReason"] == "Reboot"
        assert bench.csms.of("BootNotification")[-1]["reason"] == "ApplicationReset"

    run(scene)


def test_told_to_stop_while_it_starts_it_closes_the_store_and_it_was_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a real loop: the signal comes while the store is being opened."""
    opened = app.Agent.open

    async def open_and_be_stopped(agent: app.Agent) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await opened(agent)

    async def start() -> int:
        async with asyncio.timeout(30):
            return await daemon._run(settings)

    settings = settings_of(str(tmp_path), endpoints=("ws://127.0.0.1:9/ocpp",))
    board = SimBoard(plan_of(settings))
    monkeypatch.setattr(daemon, "registry_of", lambda settings: board)
    monkeypatch.setattr(app.Agent, "open", open_and_be_stopped)
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert asyncio.run(start()) == daemon.RESTART_EXIT_CODE
    finally:
        signal.signal(signal.SIGTERM, before)
    with closing(sqlite3.connect(tmp_path / app.DATABASE)) as store:
        assert store.execute("SELECT value FROM state WHERE key='meta/clean'").fetchone() == ("1",)


def test_three_crashes_in_ten_minutes_and_nothing_is_sold_until_an_ordered_stop() -> None:
    async def scene(bench: SimBench) -> None:
        await bench.csms.wait_for("StatusNotification")
        for _ in range(3):
            await bench.crash()
            await bench.start(cold=False)
            await asyncio.sleep(30)
        assert bench.connector()["faults"] == ["restart_loop"]
        bench.plug_in(1)
        bench.swipe(CARD)
        await asyncio.sleep(60)
        assert "transaction_id" not in bench.connector()
        bench.plug_out(1)
        await bench.stop()
        await bench.start(cold=False)
        await begin(bench, 1, CARD)

    run(scene)


async def session_without_end(bench: SimBench) -> None:
    await begin(bench, 1, CARD)
    await asyncio.sleep(130)
    bench.swipe(CARD)
    await bench.until(lambda: False, limit_s=10_000)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("number", range(1, 22))
def test_a_power_cut_at_any_commit_of_a_session_loses_and_doubles_nothing(
    number: int, kept: bool
) -> None:
    """Cut right after the commit, before anything is told, or right before it."""

    async def scene(bench: SimBench) -> None:
        await bench.csms.wait_for("StatusNotification")
        before_wh = bench.board.meter(1).energy_wh
        store, commits = bench.agent.store, 0
        commit = store.commit

        async def cut(batch: Batch) -> Committed:
            nonlocal commits
            commits += batch != Batch()
            if commits < number:
                return await commit(batch)
            if kept:
                await commit(batch)
            raise PowerCut

        store.commit = cut  # type: ignore[method-assign]
        with pytest.raises(PowerCut):
            await session_without_end(bench)
        bench.board.power_cut()
        bench.network.cut()
        bench.forget_agent()
        bench.plug_out(1)
        await bench.start()
        await asyncio.sleep(300)
        await drained(bench)
        metered_wh = bench.board.meter(1).energy_wh - before_wh
        if metered_wh or bench.csms.transactions:
            closed_once(bench, metered_wh)
        bench.csms.check()
        await begin(bench, 1, CARD)

    run(scene, variables={"SampledDataCtrlr.TxUpdatedInterval": "10"})


def test_a_failing_disk_stops_power_and_the_session_goes_on_when_it_is_back() -> None:
    async def scene(bench: SimBench) -> None:
        await bench.csms.wait_for("StatusNotification")
        before_wh = bench.board.meter(1).energy_wh
        await begin(bench, 1, CARD)
        store = bench.agent.store
        commit = store.commit

        async def fail(batch: Batch) -> Committed:
            raise StoreFault("store: disk full; free space")

        store.commit = fail  # type: ignore[method-assign]
        await asyncio.sleep(300)
        assert bench.board.connector(1, 1).drawn_a == 0.0
        assert "disk full" in str(bench.agent.status()["disk"])
        store.commit = commit  # type: ignore[method-assign]
        await bench.until(lambda: bench.board.connector(1, 1).drawn_a == 16.0)
        bench.swipe(CARD)
        await ended(bench)
        closed_once(bench, bench.board.meter(1).energy_wh - before_wh)

    run(scene)


# --- times ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("clock_error_s", [-20 * 365 * 86_400.0, 5 * 365 * 86_400.0, 0.0])
@pytest.mark.parametrize("cut", [False, True])
def test_events_before_the_first_contact_get_their_true_time(
    clock_error_s: float, cut: bool
) -> None:
    """The board's clock is wrong by years; a power cut may lie between event and contact."""

    async def scene(bench: SimBench) -> None:
        await bench.network.drop()
        await asyncio.sleep(60)
        began_s = bench.utc_s()
        await begin(bench, 1, CARD)
        await asyncio.sleep(600)
        if cut:
            await bench.power_cut()
            await asyncio.sleep(50)
            await bench.start()
            await asyncio.sleep(100)
        else:
            bench.swipe(CARD)
        await bench.until(lambda: "transaction_id" not in bench.connector())
        await bench.network.accept()
        await ended(bench)
        for event in events(bench):
            assert event["offline"] is True
            assert began_s - 1 <= parse_time(event["timestamp"]) <= bench.utc_s()
            for value in event.get("meterValue", ()):
                assert began_s - 61 <= parse_time(value["timestamp"]) <= bench.utc_s()
        assert abs(parse_time(events(bench)[0]["timestamp"]) - began_s) < 30
        assert parse_time(bench.csms.of("StatusNotification")[0]["timestamp"]) > began_s
        bench.csms.check()

    variables = {"AuthCtrlr.OfflineTxForUnknownIdEnabled": "true"}
    run(scene, clock_error_s=clock_error_s, variables=variables)


# --- what may wait --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("may_wait", "has_csms", "begins_s"),
    [(False, True, 0.0), (True, True, 0.02), (True, False, 2.0)],
)
def test_a_driver_that_may_wait_begins_after_the_first_frame_or_soon(
    may_wait: bool, has_csms: bool, begins_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[float] = []
    monkeypatch.setattr(SimMeter, "may_wait", may_wait, raising=False)
    plain_run = SimMeter.run

    async def noted_run(self: SimMeter, report: Any) -> None:
        began.append(asyncio.get_running_loop().time() - started_s[0])
        await plain_run(self, report)

    monkeypatch.setattr(SimMeter, "run", noted_run)
    started_s: list[float] = []

    async def scene() -> None:
        bench = SimBench(evse_count=1)
        if not has_csms:
            await bench.network.drop()
        started_s.append(asyncio.get_running_loop().time())
        async with bench:
            await asyncio.sleep(5)

    run_virtual(scene())
    assert began == pytest.approx([begins_s], abs=0.015)


# --- files and secrets ----------------------------------------------------------------------------


def test_the_wiring_is_kept_without_secrets_for_the_owner_only() -> None:
    async def scene(bench: SimBench) -> None:
        path = bench.directory / WIRING
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        settings = msgspec.json.decode(path.read_bytes(), type=Settings)
        assert settings.devices == bench.settings.devices
        assert b"SECRET" not in path.read_bytes()

    async def start() -> None:
        sim = SimBench(evse_count=1)
        secret = msgspec.structs.replace(sim.settings.csms[0], password="SECRET-SECRET-SECRET")
        sim.settings = msgspec.structs.replace(sim.settings, csms=(secret,))
        async with sim:
            await scene(sim)

    run_virtual(start())


def test_the_status_shows_no_token_and_no_secret() -> None:
    async def scene(bench: SimBench) -> None:
        await bench.csms.wait_for("StatusNotification")
        await begin(bench, 1, CARD)
        status = bench.agent.status()
        assert CARD not in str(status)
        assert status["link"] == "online"
        assert status["connectors"][0]["charging_state"] == "Charging"

    run(scene)


@pytest.mark.parametrize(
    ("endpoint", "identity", "url"),
    [
        ("wss://a/ocpp", "CP1", "wss://a/ocpp/CP1"),
        ("wss://a/ocpp/", "CP1", "wss://a/ocpp/CP1"),
        ("wss://a", "a b/c", "wss://a/a%20b%2Fc"),
    ],
)
def test_the_identity_ends_the_address(endpoint: str, identity: str, url: str) -> None:
    assert connection_url(endpoint, identity) == url


@pytest.mark.parametrize(
    ("credential", "file", "inline", "expected"),
    [
        ("c", "f", "i", "c"),
        ("", "f", "i", "f"),
        (None, "f", "i", "f"),
        (None, None, "i", "i"),
        (None, None, None, None),
        ("", None, None, None),
    ],
)
def test_the_password_comes_from_the_credential_then_the_file_then_the_settings(
    credential: str | None,
    file: str | None,
    inline: str | None,
    expected: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    if credential is not None:
        (tmp_path / "csms-password").write_text(credential + "\n")
    path = tmp_path / "file"
    if file is not None:
        path.write_text(file + "\n")
    csms = CsmsEndpoint(
        url="wss://a", password=inline, password_file=str(path) if file is not None else None
    )
    assert password_of(csms) == expected


def test_a_password_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    csms = CsmsEndpoint(url="wss://a", password_file=str(tmp_path / "missing"))
    with pytest.raises(SettingsError, match=r"there is no .*missing; write it there"):
        password_of(csms)
