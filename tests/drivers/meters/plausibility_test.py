import pytest

from drivers.contract import MeterReading
from drivers.meters import register_map
from drivers.meters.plausibility import doubt

SDM630 = register_map.find("eastron_sdm630_v2")


def reading(at_s: float, energy_wh: float, step_wh: float = 1.0) -> MeterReading:
    return MeterReading(at_s=at_s, energy_wh=energy_wh, step_wh=step_wh)


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        (None, reading(0, 5e6), ""),
        (None, reading(0, float("inf")), "reads inf"),
        (None, reading(0, -1), "reads -1"),
        (reading(0, 1000), reading(1, 1000), ""),
        (reading(0, 1000), reading(1, 999.9), "fell"),
        # 90 kW for 9 s and the second that the meter may lag: 250 Wh and one step
        (reading(0, 1000), reading(9, 1251), ""),
        (reading(0, 1000), reading(9, 1252), "rose"),
        (reading(0, 1000, 2.0), reading(9, 1252, 2.0), ""),
        (reading(0, 1000), reading(0.01, 1006), ""),
        (reading(0, 1000), reading(0.01, 9_113_000), "rose"),
    ],
)
def test_a_counter_only_rises_and_no_faster_than_the_meter_can_pass(
    before: MeterReading | None, after: MeterReading, complaint: str
) -> None:
    found = doubt(before, after, SDM630)
    assert complaint in found
    assert bool(found) == bool(complaint)
