"""`chargepoint limit` and its message: from a word on the console to less current, and silence."""

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from agent import cli, console
from agent.core.effects import SendFrame
from agent.doctor_limit import energy_manager
from agent.local_limit import LimitRefused, limited, rows
from agent.runtime import DURABLE
from agent.settings import EnergyManager
from agent.status_table import table
from hil.desk import DeskBench
from hil.scenarios.day import begin
from hil.sim import SimBench
from hil.virtual_time import run_virtual

ROOT = Path(__file__).parent.parent.parent
LAB = ROOT / "config" / "examples" / "lab.yaml"
PAGE = ROOT / "docs" / "local-limit.md"
SOCKET = "/var/lib/chargepoint/console.sock"
MANAGER = EnergyManager(silent_s=60, failsafe_a=8.0)
CARD = "04A1B2C3"


def say(bench: SimBench, **words: Any) -> dict[str, Any]:
    agent = bench.agent
    return limited(agent.view.station, agent.runtime.post, {"cmd": "limit", **words})


def offered_a(bench: SimBench, evse_id: int = 1) -> Any:
    return bench.connector(evse_id)["offered_a"]


# --- what comes of a word -----------------------------------------------------------------------


def test_a_word_lowers_the_offer_and_the_status_says_whose_it_was() -> None:
    async def scene() -> None:
        async with SimBench(energy_manager=MANAGER) as bench:
            await bench.csms.wait_for("StatusNotification")
            answer = say(bench, limit_a=20, for_s=30, source="pv")
            assert answer == {"evse_id": 0, "limit_a": 20.0, "for_s": 30.0, "silent_s": 60.0}
            await begin(bench, 1, CARD)
            say(bench, limit_a=20, for_s=30, source="pv")
            await asyncio.sleep(6)
            assert offered_a(bench) == 20.0
            say(bench, limit_a=10, evse_id=1)
            await asyncio.sleep(1)
            assert offered_a(bench) == 10.0
            station, evse = bench.agent.status()["local_limits"]
            assert (station["place"], station["limit_a"], station["source"]) == (
                "station",
                20,
                "pv",
            )
            assert (station["age_s"], station["left_s"]) == pytest.approx((7.0, 23.0), abs=0.2)
            assert (evse["place"], evse["limit_a"], evse["source"]) == ("EVSE 1", 10.0, "unnamed")
            assert "left_s" not in evse

    run_virtual(scene())


def test_after_a_crash_the_failsafe_current_holds_until_the_manager_speaks() -> None:
    async def scene() -> None:
        async with SimBench(energy_manager=MANAGER) as bench:
            await bench.csms.wait_for("StatusNotification")
            say(bench, limit_a=None)
            await begin(bench, 1, CARD)
            assert offered_a(bench) == 32.0
            await bench.crash()
            bench.plug_out()
            await bench.start(cold=False)
            await asyncio.sleep(10)
            (silence,) = bench.agent.status()["local_limits"]
            assert (silence["source"], silence["limit_a"], silence["age_s"]) == (
                "failsafe_a",
                8.0,
                None,
            )
            await begin(bench, 2, CARD)
            assert offered_a(bench, 2) == 8.0
            say(bench, limit_a=12)
            await asyncio.sleep(6)
            assert offered_a(bench, 2) == 12.0
            await asyncio.sleep(60)
            assert offered_a(bench, 2) == 8.0

    run_virtual(scene())


def test_a_word_a_second_writes_nothing_to_the_disk() -> None:
    async def scene() -> None:
        async with SimBench(energy_manager=MANAGER) as bench:
            await bench.csms.wait_for("StatusNotification")
            await asyncio.sleep(60)
            before = len(bench.effects)
            for number in range(300):
                say(bench, limit_a=10 + number % 9, for_s=5)
                await asyncio.sleep(1)
            since = bench.effects[before:]
            assert any(isinstance(effect, SendFrame) for effect in since), "the CSMS hears of it"
            assert [effect for effect in since if isinstance(effect, DURABLE)] == []

    run_virtual(scene())


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({}, "limit_a is missing"),
        ({"limit_a": -0.1}, "limit_a is -0.1; write a number from 0 to 6000"),
        ({"limit_a": 6001}, "limit_a is 6001"),
        ({"limit_a": float("nan")}, "limit_a is nan"),
        ({"limit_a": float("inf")}, "limit_a is inf"),
        ({"limit_a": True}, "limit_a is True"),
        ({"limit_a": "10"}, "limit_a is 10; write a number"),
        ({"limit_a": [10]}, "limit_a is"),
        ({"limit_a": 10, "for_s": 0}, "for_s is 0; write a number from 1 to 604800"),
        ({"limit_a": 10, "fors": 30}, "there is no 'fors'; use: limit_a, for_s, evse_id, source"),
        ({"limit_a": 10, "evse_id": 3}, "no EVSE 3; write one of 1, 2, or 0"),
        ({"limit_a": 10, "evse_id": True}, "no EVSE True"),
        ({"limit_a": 10, "evse_id": [1]}, "no EVSE"),
        ({"limit_a": 10, "source": "x" * 41}, "at most 40 characters"),
        ({"limit_a": 10, "source": "a\nb"}, "at most 40 characters"),
        ({"limit_a": 10, "source": 7}, "at most 40 characters"),
    ],
)
def test_what_is_no_limit_is_refused_with_what_to_write(words: dict[str, Any], why: str) -> None:
    async def scene() -> None:
        async with SimBench(energy_manager=MANAGER) as bench:
            with pytest.raises(LimitRefused, match=re.escape(why)):
                say(bench, **words)
            await asyncio.sleep(1)
            assert bench.agent.view.station.local.heard_s is None

    run_virtual(scene())


def test_a_station_without_a_manager_says_how_to_name_one() -> None:
    async def scene() -> None:
        async with SimBench() as bench:
            with pytest.raises(LimitRefused, match="add the block energy_manager"):
                say(bench, limit_a=10)
            assert "local_limits" not in bench.agent.status()
            assert rows(bench.agent.view.station.local, 0.0) == []

    run_virtual(scene())


# --- the command line, status and doctor --------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "question", "shown"),
    [
        (
            ["10"],
            {"limit_a": 10.0, "evse_id": 0},
            "all EVSEs together: at most 10 A per phase; the next word is due within 60 s\n",
        ),
        (
            ["8.5", "--evse", "2", "--for", "30"],
            {"limit_a": 8.5, "evse_id": 2, "for_s": 30.0},
            "EVSE 2: at most 8.5 A per phase; the next word is due within 30 s\n",
        ),
        (
            ["off", "--evse", "1"],
            {"limit_a": None, "evse_id": 1},
            "EVSE 1: no local limit; the next word is due within 60 s\n",
        ),
    ],
)
def test_the_verb_asks_the_running_station(
    words: list[str],
    question: dict[str, Any],
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[dict[str, Any]] = []

    def answer(path: str, request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request)
        return {"ok": True, "for_s": request.get("for_s"), "silent_s": 60.0}

    monkeypatch.setattr(console, "ask", answer)
    first, *rest = words
    assert cli.main(["limit", first, str(LAB), *rest]) == 0
    assert asked == [{"cmd": "limit", "source": "command line", **question}]
    assert capsys.readouterr().out == shown


def test_a_word_that_is_no_current_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["limit", "10A", str(LAB)]) == 2
    assert (
        "'10A' is no current; write amperes per phase, like 10, or off" in capsys.readouterr().err
    )


def test_status_and_doctor_show_who_said_what_how_long_ago() -> None:
    async def scene() -> None:
        async with SimBench(energy_manager=MANAGER) as bench:
            await asyncio.sleep(20)
            status = bench.agent.status()
            assert re.search(r"station +8 +failsafe_a +-\n", table(status) + "\n")
            never = energy_manager(status)
            assert never is not None
            assert (never.level, never.what) == (
                "warn",
                "the energy manager is silent since the start: at most 8 A for all EVSEs",
            )
            say(bench, limit_a=20, for_s=30, source="pv")
            await asyncio.sleep(10)
            status = bench.agent.status()
            assert re.search(r"station +20 +pv +10 +20\n", table(status) + "\n")
            heard = energy_manager(status)
            assert heard is not None
            assert (heard.level, heard.what) == (
                "ok",
                "the energy manager was heard 10 s ago: station 20 A (pv)",
            )
            say(bench, limit_a=None)
            await asyncio.sleep(1)
            free = energy_manager(bench.agent.status())
            assert free is not None
            assert free.what.endswith("heard 1 s ago: no limit")
            say(bench, limit_a=20, for_s=30, source="pv")
            await asyncio.sleep(70)
            status = bench.agent.status()
            assert re.search(r"station +- +pv, ran out +70 +0\n", table(status) + "\n")
            late = energy_manager(status)
            assert late is not None
            assert "silent for 40 s" in late.what
            assert "docs/local-limit.md" in late.next_step
        async with SimBench() as bench:
            assert energy_manager(bench.agent.status()) is None

    run_virtual(scene())


# --- the page -----------------------------------------------------------------------------------


def script() -> str:
    """The example of docs/local-limit.md."""
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    lines = block.splitlines()
    return "\n".join(line.removeprefix("   ") for line in lines) + "\n"


async def test_the_example_of_the_page_steers_a_real_agent(tmp_path: Path) -> None:
    """As it stands there, but for the place of the socket."""
    assert script().count(SOCKET) == 1
    async with DeskBench() as bench:
        with bench.config.open("a") as file:
            file.write("energy_manager: {silent_s: 60, failsafe_a: 6}\n")
        await bench.start_agent()
        await bench.wait_until(lambda: bench.csms.boot_status == "Accepted", "a boot", 60.0)
        bench.plug_in(1)
        await bench.swipe(CARD)
        await bench.wait_until(lambda: bench.offered_a(1) == 6.0, "the fail-safe current", 30.0)
        example = tmp_path / "limit.py"
        place = str(bench.directory / "data" / "console.sock")
        example.write_text(script().replace(SOCKET, place))
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(example), stdout=asyncio.subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            answer = await asyncio.wait_for(process.stdout.readline(), 20.0)
            assert b'"ok": true' in answer
            await bench.wait_until(lambda: bench.offered_a(1) == 10.0, "10 A", 30.0)
        finally:
            process.kill()
            await process.wait()
        (row,) = (await bench.status())["local_limits"]
        assert (row["limit_a"], row["source"]) == (10.0, "pv")
        words = ("limit", "8", str(bench.config), "--evse", "1", "--for", "600")
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "agent.cli", *words)
        assert await process.wait() == 0
        await bench.wait_until(lambda: bench.offered_a(1) == 8.0, "8 A", 30.0)
        bench.csms.check()
