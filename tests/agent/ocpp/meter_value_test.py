"""Readings on the wire."""

import json
from typing import Any

import pytest

from agent.core.effects import MeterSample
from agent.ocpp.messages import close_stamps, dump, validate_request
from agent.ocpp.meter_value import ENERGY, MEASURANDS, meter_value
from drivers.contract import MeterReading

FULL = MeterReading(
    at_s=12.5,
    energy_wh=1234.56789,
    power_w=11_040.0,
    power_phase_w=(3680.0, 3680.0, 3680.0),
    current_a=(16.0, 16.1, 15.9),
    voltage_v=(230.0, 231.0, 229.0),
    frequency_hz=50.01,
)
ALL = frozenset(MEASURANDS)


def values(reading: MeterReading, *measurands: str, context: str = "Sample.Periodic") -> Any:
    made = meter_value(MeterSample(context, reading), frozenset(measurands))
    return made["sampledValue"] if made is not None else None


def test_a_full_reading_follows_the_schema_of_an_event() -> None:
    made = meter_value(MeterSample("Transaction.Begin", FULL), ALL)
    event = {
        "eventType": "Started",
        "timestamp": "2026-01-01T00:00:00Z",
        "triggerReason": "Authorized",
        "seqNo": 0,
        "transactionInfo": {"transactionId": "t"},
        "meterValue": [made],
    }
    validate_request("TransactionEvent", json.loads(close_stamps(dump(event), lambda at_s: at_s)))
    assert made is not None
    assert made["timestamp"] == "@12.500"


def test_energy_is_in_the_default_measurand_and_unit_which_are_not_repeated() -> None:
    assert values(FULL, ENERGY) == [{"value": 1234.568, "context": "Sample.Periodic"}]


@pytest.mark.parametrize("context", ["Transaction.Begin", "Sample.Periodic", "Trigger"])
def test_the_context_is_always_told(context: str) -> None:
    assert values(FULL, ENERGY, context=context) == [{"value": 1234.568, "context": context}]


def test_power_is_the_sum_where_the_meter_gives_one_else_by_phase() -> None:
    (total,) = values(FULL, "Power.Active.Import")
    assert (total["value"], "phase" in total) == (11_040.0, False)
    by_phase = MeterReading(1.0, 1.0, power_phase_w=(1.0, 2.0, 3.0))
    assert [v["phase"] for v in values(by_phase, "Power.Active.Import")] == ["L1", "L2", "L3"]


def test_voltage_is_phase_to_neutral_and_current_by_phase() -> None:
    assert [v["phase"] for v in values(FULL, "Voltage")] == ["L1-N", "L2-N", "L3-N"]
    assert [(v["phase"], v["value"]) for v in values(FULL, "Current.Import")] == [
        ("L1", 16.0),
        ("L2", 16.1),
        ("L3", 15.9),
    ]


def test_a_single_phase_meter_tells_one_phase() -> None:
    one = MeterReading(1.0, 1.0, current_a=(10.0,), voltage_v=(230.0,))
    assert [v["phase"] for v in values(one, "Current.Import", "Voltage")] == ["L1", "L1-N"]


@pytest.mark.parametrize("measurands", [(), ("Frequency",), ("Voltage", "Current.Import")])
def test_what_is_not_wanted_or_not_known_is_left_out_whole(measurands: tuple[str, ...]) -> None:
    assert values(MeterReading(1.0, 1.0), *measurands) is None
