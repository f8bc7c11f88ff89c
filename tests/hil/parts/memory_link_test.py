import asyncio
import json
from typing import Any

from agent.core.effects import Dial
from agent.core.events import FrameReceived, LinkClosed, LinkHeard, LinkOpened
from agent.csms.link import Credentials
from agent.csms.session import Session
from hil.parts.csms import BenchCsms, Cut, Delayed
from hil.parts.memory_link import MemoryNetwork
from hil.virtual_time import run_virtual

DIAL = Dial(1, "ws://bench/ocpp/CS001", "CS001", 1, 30.0, 60.0)
STATION = {"model": "m", "vendorName": "v"}
BOOT = json.dumps([2, "1", "BootNotification", {"reason": "PowerUp", "chargingStation": STATION}])


class Bench:
    """A real Session against the bench CSMS, joined in memory."""

    def __init__(self, latency_s: float = 0.0) -> None:
        self.csms = BenchCsms(read_utc=lambda: 1795341600.0)
        self.network = MemoryNetwork(self.csms, latency_s)
        self.events: list[tuple[float, Any]] = []
        self.session = Session(self.network.connect, lambda slot: Credentials("x" * 16), self.post)

    def post(self, event: Any) -> None:
        self.events.append((round(asyncio.get_running_loop().time(), 3), event))

    def of(self, kind: type) -> list[Any]:
        return [event for _, event in self.events if isinstance(event, kind)]


def test_frames_go_both_ways_in_order() -> None:
    async def run() -> None:
        bench = Bench(latency_s=0.25)
        bench.session.dial(DIAL)
        await asyncio.sleep(1)
        bench.session.send(BOOT)
        await asyncio.sleep(1)
        frames = [json.loads(event.text) for event in bench.of(FrameReceived)]
        assert [(frame[0], frame[1]) for frame in frames] == [(3, "1")]
        assert [at_s for at_s, event in bench.events if isinstance(event, FrameReceived)] == [1.5]
        for number in range(20):
            await bench.csms.send_text(f'[4,"{number}","GenericError","",{{}}]')
        await asyncio.sleep(1)
        numbers = [json.loads(event.text)[1] for event in bench.of(FrameReceived)[1:]]
        assert numbers == [str(number) for number in range(20)]
        await bench.session.close()
        assert not bench.csms.is_connected
        bench.csms.check()

    run_virtual(run())


def test_a_drop_loses_what_is_under_way_and_refuses_until_accepted() -> None:
    async def run() -> None:
        bench = Bench(latency_s=0.5)
        bench.session.dial(DIAL)
        await asyncio.sleep(1)
        bench.session.send(BOOT)
        await asyncio.sleep(0.1)
        await bench.network.drop()
        await asyncio.sleep(5)
        assert bench.csms.calls == []
        assert len(bench.of(LinkClosed)) == 1
        bench.session.dial(DIAL)
        await asyncio.sleep(5)
        assert "nothing listens" in bench.of(LinkClosed)[1].reason
        await bench.network.accept()
        bench.session.dial(DIAL)
        await asyncio.sleep(5)
        assert len(bench.of(LinkOpened)) == 2
        assert bench.csms.is_connected
        assert len(bench.network.dials) == 3

    run_virtual(run())


def test_an_answer_that_is_cut_breaks_the_link_but_not_the_network() -> None:
    async def run() -> None:
        bench = Bench()
        bench.csms.answer["BootNotification"] = Cut()
        bench.session.dial(DIAL)
        await asyncio.sleep(1)
        bench.session.send(BOOT)
        await asyncio.sleep(1)
        assert len(bench.of(LinkClosed)) == 1
        bench.session.dial(DIAL)
        await asyncio.sleep(1)
        assert len(bench.of(LinkOpened)) == 2

    run_virtual(run())


def test_pongs_come_by_the_clock_and_a_black_hole_is_found_by_them() -> None:
    async def run() -> None:
        bench = Bench()
        bench.session.dial(DIAL)
        await asyncio.sleep(150)
        assert len(bench.of(LinkHeard)) == 2
        await bench.network.swallow()
        bench.session.send(BOOT)
        await asyncio.sleep(100)
        assert bench.csms.calls == []
        assert len(bench.of(LinkHeard)) == 2
        assert bench.events[-1][0] == 200.0
        assert "no pong" in bench.of(LinkClosed)[0].reason
        bench.session.dial(DIAL)
        await asyncio.sleep(60)
        assert "no answer within 30 s" in bench.of(LinkClosed)[1].reason

    run_virtual(run())


def test_the_same_run_gives_the_same_trace_twice() -> None:
    async def run() -> list[Any]:
        bench = Bench(latency_s=0.1)
        bench.csms.answer["BootNotification"] = Delayed(0.3)
        bench.session.dial(DIAL)
        await asyncio.sleep(1)
        bench.session.send(BOOT)
        await asyncio.sleep(100)
        await bench.network.drop()
        await asyncio.sleep(1)
        return [*bench.events, *bench.csms.trace]

    first, second = run_virtual(run()), run_virtual(run())
    assert first == second
    assert len(first) > 4
