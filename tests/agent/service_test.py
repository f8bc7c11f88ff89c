"""`chargepoint service`: what waits for a technician is told, kept over a restart, and cleared."""

import asyncio
from pathlib import Path

import pytest

from agent import cli, console
from agent.service import ServiceError, login, serviced
from hil.sim import SimBench
from hil.virtual_time import run_virtual

LAB = Path(__file__).parent.parent.parent / "config" / "examples" / "lab.yaml"


def test_a_welded_contactor_is_sold_again_only_after_service() -> None:
    async def scene() -> None:
        async with SimBench(evse_count=1) as bench:
            await asyncio.sleep(1)
            bench.plug_in()
            bench.swipe()
            await bench.until(lambda: bench.board.connector(1, 1).closed)
            bench.board.weld(1, 1)
            bench.plug_out()
            await bench.until(lambda: bench.connector()["status"] == "Faulted")
            await asyncio.sleep(20)
            with pytest.raises(ServiceError, match="repair it first"):
                ask(bench, connector="1/1")
            bench.board.clear_fault(1, 1, "welded_contactor")
            await asyncio.sleep(5)
            await bench.crash()
            await bench.start(cold=False)
            await asyncio.sleep(5)
            assert ask(bench) == {"waiting": {"1/1": ["welded_contactor"]}}
            assert bench.connector()["status"] == "Faulted"
            assert ask(bench, connector="1/1") == {"cleared": {"1/1": ["welded_contactor"]}}
            await asyncio.sleep(1)
            assert bench.connector()["status"] == "Available"
            with pytest.raises(ServiceError, match="no fault waits"):
                ask(bench, connector="1/1")
            with pytest.raises(ServiceError, match="no connector '9/9'"):
                ask(bench, connector="9/9")

    run_virtual(scene())


def ask(bench: SimBench, **words: str) -> dict[str, object]:
    agent = bench.agent
    return serviced(agent.view.station, agent.runtime.post, {"cmd": "service", **words})


@pytest.mark.parametrize(
    ("words", "question", "answer", "shown"),
    [
        ([], {"cmd": "service"}, {"waiting": {}}, "nothing waits for service\n"),
        (
            [],
            {"cmd": "service"},
            {"waiting": {"1/1": ["rcd"]}},
            "1/1: rcd: waits for `chargepoint service --connector`\n",
        ),
        (
            ["--connector", "1/1"],
            {"cmd": "service", "connector": "1/1"},
            {"cleared": {"1/1": ["rcd"]}},
            "1/1: rcd: cleared\n",
        ),
    ],
)
def test_the_verb_asks_the_running_station(
    words: list[str],
    question: dict[str, str],
    answer: dict[str, object],
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(console, "ask", lambda path, what: asked.append(what) or answer)
    assert cli.main(["service", str(LAB), *words]) == 0
    assert asked == [question]
    assert capsys.readouterr().out == shown


def test_a_refused_user_is_told_in_the_form_of_the_standard() -> None:
    event = login("uid 1000", False)
    assert event.type == "MaintenanceLoginFailed"
    assert event.info == "{'user': 'uid 1000', 'origin': 'console'}"
