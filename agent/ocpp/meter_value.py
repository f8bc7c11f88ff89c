"""Meter readings on the wire: MeterValueType with the measurands that are configured (J)."""

from collections.abc import Callable, Iterator

from agent.core.effects import MeterSample
from agent.ocpp.block import Payload
from agent.ocpp.messages import open_stamp
from drivers.contract import MeterReading

ENERGY = "Energy.Active.Import.Register"
PHASES = ("L1", "L2", "L3")


def meter_value(sample: MeterSample, measurands: frozenset[str]) -> Payload | None:
    """One MeterValueType, its time an open stamp; None when nothing of it is wanted or known."""
    values = [
        value | ({"context": sample.context} if sample.context != "Sample.Periodic" else {})
        for name, source in MEASURANDS.items()
        if name in measurands
        for value in source(sample.reading)
    ]
    if not values:
        return None
    return {"timestamp": open_stamp(sample.reading.at_s), "sampledValue": values}


def _energy(reading: MeterReading) -> Iterator[Payload]:
    """The default measurand in its default unit: neither is repeated (J01.FR.14)."""
    yield {"value": round(reading.energy_wh, 3)}


def _total_or_phases(
    measurand: str, unit: str, total: Callable[[MeterReading], float | None] | None,
    phases: Callable[[MeterReading], tuple[float, ...]],
) -> Callable[[MeterReading], Iterator[Payload]]:
    def values(reading: MeterReading) -> Iterator[Payload]:
        common: Payload = {"measurand": measurand, "unitOfMeasure": {"unit": unit}}
        whole = total(reading) if total is not None else None
        if whole is not None:
            yield {"value": round(whole, 3), **common}
            return
        for phase, value in zip(PHASES, phases(reading), strict=False):
            yield {"value": round(value, 3), "phase": phase, **common}

    return values


def _voltage(reading: MeterReading) -> Iterator[Payload]:
    """Phase to neutral (J02.FR.16)."""
    for phase, value in zip(PHASES, reading.voltage_v, strict=False):
        yield {
            "value": round(value, 3),
            "phase": f"{phase}-N",
            "measurand": "Voltage",
            "unitOfMeasure": {"unit": "V"},
        }


def _frequency(reading: MeterReading) -> Iterator[Payload]:
    if reading.frequency_hz is not None:
        yield {
            "value": round(reading.frequency_hz, 3),
            "measurand": "Frequency",
            "unitOfMeasure": {"unit": "Hz"},
        }


MEASURANDS: dict[str, Callable[[MeterReading], Iterator[Payload]]] = {
    ENERGY: _energy,
    "Power.Active.Import": _total_or_phases(
        "Power.Active.Import", "W", lambda r: r.power_w, lambda r: r.power_phase_w
    ),
    "Current.Import": _total_or_phases("Current.Import", "A", None, lambda r: r.current_a),
    "Voltage": _voltage,
    "Frequency": _frequency,
}
"""Measurand -> its sampled values from one reading; the values lists of block J come from here."""
