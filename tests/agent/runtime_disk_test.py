"""A disk that refuses, is slow or hangs: power is off, and nothing is told before it lasts."""

import asyncio

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import IdToken
from agent.runtime import DISK_PROBE
from drivers.contract import MeterReading, Signing
from tests.agent.runtime_bench import ALLOW, SAVE, SEND, Bench, bench


def test_while_the_disk_refuses_power_is_off_and_nothing_is_told() -> None:
    async def scene(b: Bench) -> None:
        b.faults = 3
        b.station.plan["e"] = [SAVE, ALLOW, SEND]
        b.runtime.post("e")
        await asyncio.sleep(2.5)
        assert b.log == ["commit", "fault", "stop all"] * 3
        assert b.runtime.disk_fault is not None
        moves = b.runtime.moves
        assert moves >= 3, "the watchdog sees that the loop tries"
        await asyncio.sleep(10)
        assert "send x" in b.log
        assert b.runtime.disk_fault is None

    bench(scene)


def test_an_order_older_than_a_disk_fault_is_decided_anew() -> None:
    async def scene(b: Bench) -> None:
        b.faults = 1
        b.station.plan["e"] = [SAVE, ALLOW]
        b.runtime.post("e")
        await asyncio.sleep(10)
        assert not any(line.startswith("allow") for line in b.log)
        assert len(b.refusals()) == 1

    bench(scene)


def test_after_a_slow_commit_nothing_is_energised_until_a_fast_one() -> None:
    async def scene(b: Bench) -> None:
        b.delay_s = 3.0
        b.station.plan |= {"e": [SAVE, ALLOW, SEND], "again": [ALLOW]}
        b.runtime.post("e")
        await asyncio.sleep(3.5)
        assert b.log[:2] == ["commit", "send x"]
        assert "stop all" not in b.log
        assert b.runtime.disk_fault is not None
        b.delay_s = 0.0
        await asyncio.sleep(20)
        b.runtime.post("again")
        await asyncio.sleep(1)
        assert b.log[-1] == "allow 16"
        assert DISK_PROBE in dict(b.batches[1].save)
        assert len(b.batches) <= 4

    bench(scene)


def test_a_commit_that_hangs_stops_power() -> None:
    async def scene(b: Bench) -> None:
        b.delay_s = 60.0
        b.station.plan["e"] = [SAVE, SEND]
        b.runtime.post("e")
        await asyncio.sleep(12)
        assert b.log == ["commit", "stop all"]
        await asyncio.sleep(60)
        assert b.log[2] == "send x"

    bench(scene)


def test_a_question_to_the_store_that_hangs_stops_power_too() -> None:
    """The core hears nothing while it waits, whatever it waits for."""

    async def scene(b: Bench) -> None:
        b.read_delay_s = 30.0
        b.station.plan["e"] = [ef.LookUp(IdToken("C", "ISO14443"))]
        b.runtime.post("e")
        await asyncio.sleep(9)
        assert b.log == ["look up c"]
        await asyncio.sleep(2)
        assert b.log == ["look up c", "stop all"]
        assert b.runtime.disk_fault == "the disk does not answer; check or replace the card"
        await asyncio.sleep(30)
        b.runtime.post("more")
        await asyncio.sleep(1)
        assert b.runtime.disk_fault is None

    bench(scene)


def test_a_signed_reading_is_not_pushed_out_by_the_plain_ones_after_it() -> None:
    async def scene(b: Bench) -> None:
        b.faults = 50
        b.station.plan["e"] = [SAVE]
        b.runtime.post("e")
        await asyncio.sleep(0.5)
        b.runtime.post(ev.MeterRead(1, MeterReading(0.0, 1.0, signing=Signing.END)))
        for number in range(10):
            b.runtime.post(ev.MeterRead(1, MeterReading(1.0 + number, 1.0, signing=Signing.LATER)))
            await asyncio.sleep(1)
        b.faults = 0
        await asyncio.sleep(2)
        reads = [e.reading.signing for e in b.station.seen if isinstance(e, ev.MeterRead)]
        assert Signing.END in reads
        assert len(reads) <= 4

    bench(scene)


def test_readings_do_not_pile_up_while_nothing_can_be_stored() -> None:
    async def scene(b: Bench) -> None:
        b.faults = 50
        b.station.plan["e"] = [SAVE]
        b.runtime.post("e")
        for number in range(30):
            for evse_id in (1, 2):
                b.runtime.post(ev.MeterRead(evse_id, MeterReading(float(number), 1.0)))
            b.runtime.post(f"card {number}")
            await asyncio.sleep(1)
        b.faults = 0
        await asyncio.sleep(2)
        reads = [event for event in b.station.seen if isinstance(event, ev.MeterRead)]
        assert [(read.evse_id, read.reading.at_s) for read in reads[-2:]] == [(1, 29.0), (2, 29.0)]
        assert len(reads) <= 6
        cards = [event for event in b.station.seen if str(event).startswith("card")]
        assert cards == [f"card {number}" for number in range(30)]

    bench(scene)
