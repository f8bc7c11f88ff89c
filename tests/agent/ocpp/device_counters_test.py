"""Counters of devices as variables of the station."""

import asyncio
from types import SimpleNamespace
from typing import Any

from agent.ocpp.device_counters import COUNTED, counter_variables
from agent.ocpp.device_model import FULL, DeviceModel
from drivers.contract import Counters, Device
from hil.sim import SimBench
from hil.virtual_time import run_virtual

NOW: Any = None


def test_each_device_is_a_component_with_its_counters() -> None:
    model = DeviceModel(counter_variables(["meter1", "pilot1"]), [(1, (1,))], {})
    known = {"meter1": Counters(requests=9, timeouts=2, unusable=1, exceptions=4, opens=3)}
    view = SimpleNamespace(counters=known.get)
    told = {
        (row["component"]["instance"], row["variable"]["name"]): row["variableAttribute"][0]
        for row in model.inventory(FULL, view, NOW)
    }
    assert len(told) == 2 * len(COUNTED)
    found = {name: told["meter1", name]["value"] for name in COUNTED}
    assert found == {
        "Requests": "9",
        "Timeouts": "2",
        "UnusableAnswers": "1",
        "Exceptions": "4",
        "Reconnects": "2",
    }
    assert all(row["mutability"] == "ReadOnly" and not row["persistent"] for row in told.values())
    assert "value" not in told["pilot1", "Timeouts"]


def test_a_counter_never_leaves_the_range_of_an_integer() -> None:
    model = DeviceModel(counter_variables(["m"]), [(1, (1,))], {})
    view = SimpleNamespace(counters=lambda name: Counters(requests=2**31 + 5))
    component, variable = {"name": "Device", "instance": "m"}, {"name": "Requests"}
    assert model.get(component, variable, "Actual", view, NOW) == ("Accepted", "5")
    assert model.check(component, variable, "Actual", "0") == "Rejected"


def test_what_a_device_counted_itself_is_a_variable_for_each_fault() -> None:
    trips = [("p", "rcd"), ("p", "ground")]
    model = DeviceModel(counter_variables([], trips), [(1, (1,))], {})
    view = SimpleNamespace(counters=lambda name: Counters(trips={"rcd": 3, "ground": None}))
    told = {
        row["variable"]["instance"]: row["variableAttribute"][0].get("value")
        for row in model.inventory(FULL, view, NOW)
    }
    assert told == {"rcd": "3", "ground": None}


class Station(SimBench):
    """Its meter counts, as those behind a real line do."""

    def __init__(self) -> None:
        super().__init__(evse_count=1)
        self.counted = Counters(requests=90, timeouts=7, unusable=1, exceptions=4, opens=3)
        below = self.board.build

        def build(name: str, options: Any = None) -> Device:
            device = below(name, options)
            if name == "meter1":
                device.counters = self.counted  # type: ignore[attr-defined]
            return device

        self.board.build = build  # type: ignore[method-assign]

    async def got(self, variable: str) -> dict[str, Any]:
        """GetVariables of a counter of the meter."""
        component = {"name": "Device", "instance": "meter1"}
        asked = [{"component": component, "variable": {"name": variable}}]
        answer = await self.csms.call("GetVariables", {"getVariableData": asked})
        return dict(answer["getVariableResult"][0])


def test_a_csms_reads_them_in_a_report_and_one_by_one() -> None:
    async def scene() -> dict[str, dict[str, Any]]:
        async with Station() as station:
            csms = station.csms
            await csms.wait_for("StatusNotification")
            request = {"requestId": 1, "reportBase": "FullInventory"}
            assert await csms.call("GetBaseReport", request) == {"status": "Accepted"}
            await asyncio.sleep(60)
            parts = csms.of("NotifyReport")
            rows = [row for part in parts for row in part["reportData"]]
            station.counted.timeouts += 1
            timeouts = await station.got("Timeouts")
            assert (timeouts["attributeStatus"], timeouts["attributeValue"]) == ("Accepted", "8")
            csms.check()
            return {
                row["variable"]["name"]: row
                for row in rows
                if row["component"] == {"name": "Device", "instance": "meter1"}
            }

    told = run_virtual(scene())
    assert {name: row["variableAttribute"][0]["value"] for name, row in told.items()} == {
        "Requests": "90",
        "Timeouts": "7",
        "UnusableAnswers": "1",
        "Exceptions": "4",
        "Reconnects": "2",
    }
    assert all(row["variableAttribute"][0]["mutability"] == "ReadOnly" for row in told.values())
    assert all(row["variableCharacteristics"]["dataType"] == "integer" for row in told.values())
