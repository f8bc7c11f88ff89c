"""Counters of devices as variables of the station."""

from types import SimpleNamespace
from typing import Any

from agent.ocpp.device_counters import COUNTED, counter_variables
from agent.ocpp.device_model import FULL, DeviceModel
from drivers.contract import Counters

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
