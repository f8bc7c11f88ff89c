"""What a diagnostics bundle says of the queue: what waits, since when, what was refused."""

import asyncio
import json
import sqlite3

import msgspec
import pytest

from agent.queue_summary import MOST_SET_ASIDE, queue_summary
from agent.settings import Settings
from agent.store.rows import StoreFault
from hil.parts.csms import Refused
from hil.scenarios.day import begin
from hil.sim import SimBench
from hil.virtual_time import run_virtual

CARD = "04A1B2C3"


async def summary(bench: SimBench) -> dict[str, object]:
    agent = bench.agent
    return await queue_summary(agent.store, agent.view.connection, agent.runtime.now())


def test_what_waits_is_told_with_its_age_also_after_a_power_cut() -> None:
    async def scene() -> None:
        async with SimBench() as bench:
            await bench.csms.wait_for("StatusNotification")
            await asyncio.sleep(60)
            assert (await summary(bench))["oldest_waiting"] is None
            await begin(bench, 1, CARD)
            await asyncio.sleep(5)
            await bench.network.drop()
            await asyncio.sleep(600)
            await bench.power_cut()
            await asyncio.sleep(100)
            await bench.start()
            await asyncio.sleep(5)
            told = await summary(bench)
            oldest = told["oldest_waiting"]
            assert isinstance(oldest, dict)
            assert (oldest["action"], oldest["event_type"]) == ("TransactionEvent", "Updated")
            assert 600 <= oldest["age_s"] <= 720
            assert told["waiting"] == bench.agent.store.counts().waiting
            assert CARD not in json.dumps(told)

    run_virtual(scene())


def impatient(settings: Settings) -> Settings:
    return msgspec.structs.replace(settings, queue_rows=100)


def test_what_was_refused_is_told_with_its_reason_and_no_card() -> None:
    async def scene() -> None:
        variables = {"OCPPCommCtrlr.MessageAttempts[TransactionEvent]": "1"}
        async with SimBench(change=impatient, variables=variables) as bench:
            await bench.csms.wait_for("StatusNotification")
            bench.csms.answer["TransactionEvent"] = Refused("GenericError", f"no {CARD} here")
            await begin(bench, 1, CARD)
            await asyncio.sleep(3600)
            told = await summary(bench)
            rows = told["oldest_set_aside"]
            assert isinstance(rows, list)
            assert 1 < len(rows) <= MOST_SET_ASIDE
            assert rows[0]["event_type"] == "Started"
            assert "GenericError" in rows[0]["reason"]
            assert rows[0]["attempts"] == 1
            assert CARD not in json.dumps(told)

    run_virtual(scene())


def test_a_store_that_cannot_be_read_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise StoreFault("the disk is gone") from sqlite3.OperationalError()

    async def scene() -> None:
        async with SimBench() as bench:
            await bench.csms.wait_for("StatusNotification")
            await asyncio.sleep(60)
            with monkeypatch.context() as gone:
                gone.setattr(bench.agent.store, "waiting_rows", broken)
                told = await summary(bench)
            assert told["problem"] == "the disk is gone"
            assert told["waiting"] == 0

    run_virtual(scene())
