"""What a technician sees at one glance."""

import asyncio

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
