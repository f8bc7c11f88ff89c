"""`chargepoint bench` as a process: its control socket, a bench CSMS on loopback, power cuts."""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from agent.core.effects import Restart
from agent.settings_load import load
from drivers.contract import CardSeen, ModbusMeterOptions, SimMeterOptions, SimPilotOptions
from drivers.sim.board import SimBoard
from hil.bench import Bench, BenchReader, simulated
from hil.control import UnixAddress
from hil.parts.csms import BenchCsms
from hil.parts.csms_server import CsmsServer, serve_websocket
from tests.hil.bench_process import EXAMPLES, ROOT, BenchProcess, Payload


def a_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Csms:
    """A bench CSMS and the socket it listens on."""

    def __init__(self) -> None:
        self.seen = BenchCsms()
        self.server: CsmsServer


@pytest.fixture
async def csms() -> AsyncIterator[Csms]:
    it = Csms()
    it.server = await serve_websocket(it.seen)
    yield it
    await it.server.close()


@pytest.fixture
async def benches() -> AsyncIterator[list[BenchProcess]]:
    """Put every bench here: what still runs at the end is killed."""
    started: list[BenchProcess] = []
    yield started
    for bench in started:
        if bench.process is not None and bench.process.returncode is None:
            await bench.kill()


@pytest.fixture
async def bench(tmp_path: Path, csms: Csms, benches: list[BenchProcess]) -> BenchProcess:
    benches.append(BenchProcess(tmp_path, csms.server.url))
    return benches[0]


def energy_wh(event: Payload) -> float:
    """The last energy register of a TransactionEvent."""
    samples = event["meterValue"][-1]["sampledValue"]
    register = "Energy.Active.Import.Register"
    return float(next(s["value"] for s in samples if s.get("measurand", register) == register))


def is_charging(event: Payload) -> bool:
    return event["transactionInfo"].get("chargingState") == "Charging"


async def online(bench: BenchProcess) -> None:
    """Before the CSMS accepted the boot, a card nobody knows here is refused."""
    if (await bench.ask("hello"))["link"] != "online":
        await bench.event(lambda e: e["event"] == "link" and e["state"] == "online")


async def charge(bench: BenchProcess, csms: Csms) -> Payload:
    await online(bench)
    await bench.do("plug_in", evse=1, connector=1)
    await bench.do("swipe", id_token="04A1B2C3")
    return await csms.seen.wait_for("TransactionEvent", is_charging)


# --- pieces -------------------------------------------------------------------------------------


def test_every_device_of_a_real_station_is_simulated() -> None:
    settings = load(str(EXAMPLES / "dual_one_line.yaml")).settings
    assert settings is not None
    main = ModbusMeterOptions("rs485", "eastron_sdm630_v2", unit=3, interval_s=5.0)
    settings = replace(settings, main_meter="grid", devices=settings.devices | {"grid": main})
    devices = simulated(settings).devices
    assert devices == {
        "grid": SimMeterOptions(5.0),
        "left": SimPilotOptions(),
        "right": SimPilotOptions(),
        "meter_left": SimMeterOptions(1.0),
        "meter_right": SimMeterOptions(1.0),
    }


async def test_a_card_that_comes_before_the_agent_is_held_until_it_runs() -> None:
    reader, seen = BenchReader(), []
    reader.swipe("early", "ISO14443", (2,))
    running = asyncio.create_task(reader.run(seen.append))
    await asyncio.sleep(0)
    reader.swipe("late", "KeyCode", ())
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    cards = [card for card in seen if isinstance(card, CardSeen)]
    assert [(c.uid, c.token_type, reader.evses[c.device]) for c in cards] == [
        ("early", "ISO14443", (2,)),
        ("late", "KeyCode", ()),
    ]


async def test_a_restart_of_the_board_cuts_the_power_and_is_a_new_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(str(BenchProcess(tmp_path, "ws://127.0.0.1:1/ocpp").config)).settings
    assert settings is not None
    bench = Bench(settings, UnixAddress("c.sock"))
    await bench.open()
    boots: list[str] = []
    told: list[Mapping[str, Any]] = []
    orders = iter(["process", "board"])

    async def run_agent(agent_type: object) -> Restart:
        boots.append(bench._read_clock().boot_id)
        bench.board.pilots["pilot"].allow_power(16.0)
        offers.append(bench.board.connector(1, 1).offered_a)
        scope = next(orders, None)
        if scope is None:
            raise EOFError
        return Restart(scope, "ordered by the CSMS")

    offers: list[float] = []
    monkeypatch.setattr(bench, "_run_agent", run_agent)
    monkeypatch.setattr(bench.server, "tell", told.append)
    monkeypatch.setattr(
        bench.board, "power_cut", lambda: (offers.append(-1.0), SimBoard.power_cut(bench.board))
    )
    with pytest.raises(EOFError):
        await bench.run()
    await bench.server.close()
    assert boots[0] == boots[1] != boots[2]
    assert [event["scope"] for event in told if event["event"] == "restart"] == ["process", "board"]
    assert offers == [16.0, 16.0, -1.0, 16.0]


# --- the process --------------------------------------------------------------------------------


async def test_the_socket_answers_although_nobody_listens_at_the_csms(
    tmp_path: Path, benches: list[BenchProcess]
) -> None:
    bench = BenchProcess(tmp_path, f"ws://127.0.0.1:{a_free_port()}/ocpp")
    benches.append(bench)
    took_s = await bench.start()
    print(f"hello after {took_s:.2f} s")
    hello = await bench.ask("hello")
    assert (hello["station"], hello["version"]) == ("LAB-1", 1)
    await bench.do("plug_in", evse=1, connector=1)
    await bench.event(lambda e: e.get("state") == "Occupied")
    assert await bench.stop() == 0
    assert not bench.socket.exists()


async def test_a_charge_from_plug_in_to_plug_out(bench: BenchProcess, csms: Csms) -> None:
    await bench.start()
    await charge(bench, csms)
    await bench.event(lambda e: e["event"] == "current" and e["amps"] == 16.0)
    assert [e["state"] for e in bench.events if e["event"] == "power_path"] == ["closed"]
    assert [e["state"] for e in bench.events if e["event"] == "connector_state"] == [
        "Available",
        "Occupied",
    ]
    hello = await bench.ask("hello")
    assert hello["connectors"] == [
        {
            "evse": 1,
            "connector": 1,
            "plugged": True,
            "state": "Occupied",
            "power_path": "closed",
            "amps": 16.0,
        }
    ]
    await bench.do("plug_out", evse=1, connector=1)
    ended = await csms.seen.wait_for("TransactionEvent", lambda e: e["eventType"] == "Ended")
    await bench.event(lambda e: e["event"] == "power_path" and e["state"] == "open")
    assert ended["transactionInfo"]["stoppedReason"] == "EVDisconnected"
    (events,) = csms.seen.transactions.values()
    assert events[0]["eventType"] == "Started"
    assert await bench.stop() == 0
    csms.seen.check()


async def test_the_ev_of_plug_in_draws_what_it_was_told_to(bench: BenchProcess, csms: Csms) -> None:
    await bench.start()
    await online(bench)
    ev = {"current_a": 9.5, "phases": 1, "ready_after_s": 0}
    await bench.do("plug_in", evse=1, connector=1, ev=ev)
    await bench.do("swipe", id_token="04A1B2C3")
    await bench.event(lambda e: e["event"] == "current" and e["amps"] == 9.5)
    await bench.do("ev_state", evse=1, connector=1, state="B")
    await bench.event(lambda e: e["event"] == "current" and e["amps"] == 0.0)
    await bench.do("ev_state", evse=1, connector=1, state="C")
    await csms.seen.wait_for(
        "TransactionEvent", lambda e: e["transactionInfo"].get("chargingState") == "SuspendedEV"
    )
    await csms.seen.wait_for("TransactionEvent", is_charging)


async def test_a_fault_opens_the_power_path_and_shows_at_the_csms(
    bench: BenchProcess, csms: Csms
) -> None:
    await bench.start()
    await charge(bench, csms)
    await bench.do("raise_fault", evse=1, connector=1, fault="rcd")
    await bench.event(lambda e: e["event"] == "power_path" and e["state"] == "open")
    await bench.event(lambda e: e.get("state") == "Faulted")
    faulted = {"connectorStatus": "Faulted", "evseId": 1, "connectorId": 1}
    await csms.seen.wait_for("StatusNotification", lambda n: faulted.items() <= n.items())
    bench.events.clear()
    await bench.do("clear_fault", evse=1, connector=1, fault="rcd")
    await bench.event(lambda e: e.get("state") == "Occupied")


async def test_a_killed_bench_goes_on_from_where_the_power_was_cut(
    bench: BenchProcess, csms: Csms
) -> None:
    await bench.start()
    await charge(bench, csms)
    await asyncio.sleep(1.5)
    await bench.kill()
    world = json.loads((bench.config.parent / "data" / "world.json").read_text())
    csms.seen.expect_boot()

    await bench.start()
    (connector,) = (await bench.ask("hello"))["connectors"]
    assert connector["plugged"]
    assert connector["power_path"] == "open"
    ended = await csms.seen.wait_for("TransactionEvent", lambda e: e["eventType"] == "Ended")
    assert ended["transactionInfo"]["stoppedReason"] == "PowerLoss"
    (events,) = csms.seen.transactions.values()
    registers = [energy_wh(event) for event in events if "meterValue" in event]
    assert registers == sorted(registers)
    assert registers[-1] >= int(world["meters"]["1"]) > 0
    assert [call["reason"] for call in csms.seen.of("BootNotification")] == ["PowerUp"] * 2
    await bench.do("plug_out", evse=1, connector=1)
    assert await bench.stop() == 0
    csms.seen.check()


async def test_a_swipe_needs_no_reader_and_serves_the_evses_it_names(
    tmp_path: Path, csms: Csms, benches: list[BenchProcess]
) -> None:
    bench = BenchProcess(tmp_path, csms.server.url, "dual_one_line")
    benches.append(bench)
    content = yaml.safe_load(bench.config.read_text())
    del content["devices"]["reader"]
    bench.config.write_text(yaml.safe_dump(content))
    await bench.start()
    await online(bench)
    for evse in (1, 2):
        await bench.do("plug_in", evse=evse, connector=1)
    await bench.do("swipe", id_token="1234", type="KeyCode", evses=[2])
    await csms.seen.wait_for("TransactionEvent", is_charging)
    (events,) = csms.seen.transactions.values()
    started = events[0]
    assert started["evse"]["id"] == 2
    tokens = [e["idToken"] for e in events if "idToken" in e]
    assert tokens[0] == {"idToken": "1234", "type": "KeyCode"}


async def test_what_cannot_be_done_is_refused_and_the_connection_stays(
    bench: BenchProcess, csms: Csms
) -> None:
    await bench.start()
    place = {"evse": 1, "connector": 1}
    refusals = [
        ("plug_in", {"evse": 2, "connector": 1}, "no evse/connector 2/1; this station has 1/1"),
        ("plug_in", {"evse": 1, "connector": 9}, "no evse/connector 1/9"),
        ("plug_out", {"evse": 5, "connector": 1}, "no evse/connector 5/1"),
        ("plug_out", place, "no EV is plugged in at 1/1; send plug_in first"),
        ("ev_state", {**place, "state": "C"}, "no EV is plugged in at 1/1; send plug_in first"),
        ("raise_fault", {"evse": 1, "connector": 2, "fault": "rcd"}, "no evse/connector 1/2"),
        ("clear_fault", {"evse": 3, "connector": 1, "fault": "rcd"}, "no evse/connector 3/1"),
        ("swipe", {"id_token": "a", "evses": [1, 4]}, "no evse 4; this station has 1"),
        ("fly", {}, "no command 'fly'"),
    ]
    for cmd, arguments, words in refusals:
        told = await bench.ask(cmd, **arguments)
        assert told["ok"] is False
        assert words in told["error"]
    await bench.do("plug_in", **place)
    assert "send plug_out first" in (await bench.ask("plug_in", **place))["error"]
    for fault in ("emergency_stop", "meter_lost", "pilot_lost", "lock_failed", "rain"):
        await bench.do("raise_fault", **place, fault=fault)
        await bench.do("clear_fault", **place, fault=fault)
    await bench.do("press", button="stop")
    await bench.do("hello")


async def test_a_stop_right_after_the_socket_opened_is_clean(bench: BenchProcess) -> None:
    bench.process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hil.bench", str(bench.config), "--control", "tcp:127.0.0.1:0"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert bench.process.stdout is not None
    line = (await bench.process.stdout.readline()).decode()
    assert line.startswith("control: tcp:127.0.0.1:")
    bench.process.terminate()
    assert await bench.process.wait() == 0


# --- how it ends before it begins ---------------------------------------------------------------


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, cwd=ROOT, check=False
    )


def test_mistakes_in_the_file_are_told_as_check_tells_them(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text((EXAMPLES / "lab.yaml").read_text().replace("sim_meter", "sim_metre"))
    done = run("hil.bench", str(bad), "--control", f"unix:{tmp_path}/c.sock")
    assert done.returncode == 78
    assert done.stdout == run("agent.cli", "check", str(bad)).stdout
    assert "did you mean" in done.stdout


@pytest.mark.parametrize(
    ("control", "words"),
    [("tcp:0.0.0.0:0", "no loopback address"), ("here", "use unix:/PATH")],
)
def test_a_control_address_that_cannot_be_used_ends_the_bench(control: str, words: str) -> None:
    done = run("hil.bench", str(EXAMPLES / "lab.yaml"), "--control", control)
    assert done.returncode == 1
    assert done.stderr.startswith("chargepoint bench: ")
    assert words in done.stderr


def test_a_broken_world_is_named(tmp_path: Path) -> None:
    config = BenchProcess(tmp_path, "ws://127.0.0.1:1/ocpp").config
    (tmp_path / "data").mkdir()
    for broken in ("{", "{}", "[]"):
        (tmp_path / "data" / "world.json").write_text(broken)
        done = run("hil.bench", str(config), "--control", f"unix:{tmp_path}/c.sock")
        assert done.returncode == 1
        assert "world.json cannot be used" in done.stderr
        assert "remove it" in done.stderr
