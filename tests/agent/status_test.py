"""What a technician sees at one glance."""

import asyncio
import logging

import msgspec
import pytest

from agent.devices import DeviceSeen
from agent.log import LastErrors, last_errors
from agent.status import report
from agent.status_table import table
from drivers.contract import Counters
from hil.scenarios.day import begin
from hil.sim import SimBench
from hil.virtual_time import run_virtual

CARD = "04A1B2C3"


def test_the_status_follows_link_boot_queue_and_charge() -> None:
    async def scene() -> None:
        async with SimBench(evse_count=2) as bench:
            first = bench.agent.status()
            assert (first["link"], first["boot"]) == ("down", "not yet")
            await bench.csms.wait_for("StatusNotification")
            await begin(bench, 1, CARD)
            await asyncio.sleep(120)
            status = bench.agent.status()
            assert (status["link"], status["boot"], status["queue"]) == ("online", "Accepted", 0)
            charging, idle = status["connectors"]
            assert (charging["status"], idle["status"]) == ("Occupied", "Available")
            assert charging["power_path"] == "closed"
            assert charging["current_a"] == 16.0
            assert charging["power_kw"] > 10
            assert charging["transaction_id"] in bench.csms.transactions
            assert "transaction_id" not in idle
            assert CARD not in str(status)
            await bench.network.drop()
            await asyncio.sleep(300)
            status = bench.agent.status()
            assert status["link"] in ("down", "dialling")
            assert status["queue"] >= 4
            assert "disk" not in status

    run_virtual(scene())


def test_a_transaction_that_waits_for_a_cable_is_shown_by_its_id() -> None:
    """It has no EVSE yet, so it stands in no row."""

    async def scene() -> None:
        start = {"TxCtrlr.TxStartPoint": "Authorized"}
        async with SimBench(evse_count=2, variables=start) as bench:
            await bench.csms.wait_for("StatusNotification")
            assert "waiting_for_a_cable" not in bench.agent.status()
            bench.swipe(CARD)
            await bench.until(lambda: bool(bench.csms.transactions))
            status = bench.agent.status()
            assert status["waiting_for_a_cable"] == list(bench.csms.transactions)
            assert f"waiting for a cable: {status['waiting_for_a_cable'][0]}" in table(status)
            bench.plug_in(1)
            await asyncio.sleep(5)
            status = bench.agent.status()
            assert "waiting_for_a_cable" not in status
            assert status["connectors"][0]["transaction_id"] in bench.csms.transactions

    run_virtual(scene())


def test_a_report_has_what_a_remote_engineer_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions, last errors, each device's counters whole, the queue; no card."""
    counters = Counters(requests=9, timeouts=2, slowest_s=0.4)
    device = DeviceSeen(name="meter1", roles=("meter",), driver="modbus_meter", counters=counters)
    queue = {"waiting": 3}

    async def scene() -> None:
        async with SimBench() as bench:
            await bench.csms.wait_for("StatusNotification")
            await begin(bench, 1, CARD)
            agent = bench.agent
            logging.getLogger("x").addHandler(last_errors)
            logging.getLogger("x").error("the meter is lost")
            logging.getLogger("x").removeHandler(last_errors)
            told = report(
                agent.status(), agent.settings, agent.store.saved, agent.view, [device], queue
            )
            assert told["device_counters"]["meter1"]["counted"] == msgspec.to_builtins(counters)
            assert told["queue"] == queue
            assert told["last_errors"][-1]["text"] == "the meter is lost"
            assert set(told["versions"]) == {"agent", "firmware", "python", "board"}
            assert told["status"]["connectors"]
            own = await agent._report()
            assert set(own) == set(told)
            assert set(own["device_counters"]) == set(agent.settings.devices)
            assert own["queue"]["database_bytes"] > 4096
            assert CARD not in str(own)

    monkeypatch.setattr(last_errors, "_kept", LastErrors()._kept)
    run_virtual(scene())
