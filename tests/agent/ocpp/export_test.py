"""What flows back, on the wire: both directions, only from meters that count both (J)."""

from agent.core.effects import MeterSample
from agent.ocpp.blocks.j_meter_values import VARIABLES
from agent.ocpp.meter_value import EXPORTS, meter_value
from agent.ocpp.variable import fitting
from drivers.contract import MeterReading


def told(**values: float) -> list[tuple[str, float]]:
    sample = MeterSample("Sample.Clock", MeterReading(at_s=0, energy_wh=9.0, **values))
    value = meter_value(sample, frozenset(EXPORTS))
    return [] if value is None else [(v["measurand"], v["value"]) for v in value["sampledValue"]]


def test_both_measurands_of_the_other_direction() -> None:
    energy, power = EXPORTS
    assert told(export_wh=12.5, power_w=-700.0) == [(energy, 12.5), (power, 700.0)]
    assert told(power_w=700.0) == [(power, 0.0)]
    assert told() == []


def test_only_a_station_that_counts_both_directions_takes_them_and_none_tells_them_unasked() -> (
    None
):
    for features, expected in ((frozenset(), False), (frozenset({"export_meter"}), True)):
        lists = [v for v in fitting(VARIABLES, features) if v.name.endswith("Measurands")]
        assert len(lists) == 5
        for variable in lists:
            assert set(EXPORTS).issubset(variable.values) is expected
            assert not set(EXPORTS) & set((variable.default or "").split(","))
