"""Meter readings on the wire: MeterValueType with the measurands that are configured (J)."""

from collections.abc import Callable, Iterator

from agent.core.effects import MeterSample, Record
from agent.core.main_meter import STATION
from agent.ocpp.block import Payload
from agent.ocpp.messages import open_stamp
from agent.ocpp.view import View
from drivers.contract import MeterReading

ENERGY = "Energy.Active.Import.Register"
EXPORT = "Energy.Active.Export.Register"
PHASES = ("L1", "L2", "L3")


def wanted(view: View, event_type: str, context: str) -> frozenset[str]:
    """Measurands that are configured for a value of this context in this event; "": no event."""
    component, name = "SampledDataCtrlr", f"Tx{event_type}Measurands"
    if context == "Sample.Clock" or not event_type:
        component = "AlignedDataCtrlr"
        name = "TxEndedMeasurands" if event_type == "Ended" else "Measurands"
    elif context == "Transaction.Begin":
        name = "TxStartedMeasurands"
    if view.variables.value(component, "Enabled") == "false":
        return frozenset()
    return frozenset(view.variables.value(component, name).split(","))


def asked_readings(view: View, evse_id: int | None) -> dict[int, MeterReading | None]:
    """The last reading of an EVSE, of the main meter (0), or of all that there are (None)."""
    station = view.station
    found = {one: evse.metering.last for one, evse in station.evses.items()}
    main = station.main_meter
    if main is not None and (evse_id == STATION or main.reading is not None):
        found[STATION] = main.reading
    return {one: reading for one, reading in found.items() if evse_id in (None, one)}


def tell_all(view: View, record: Record) -> list[Payload]:
    """The values of a TransactionEvent as they are configured. A public key that is told once in a
    transaction stands with the begin value, or where that is not signed, first in the end."""
    event_type = record.event_type
    begins = record.is_begin_signed and _is_signed(view, "Started", "Transaction.Begin")
    begins = begins and ENERGY in wanted(view, "Started", "Transaction.Begin")
    values: list[Payload] = []
    is_due = event_type == "Ended" and not begins
    for sample in record.samples:
        once = is_due or (begins and sample.context == "Transaction.Begin")
        value = tell(view, event_type, sample, once=once)
        if value is not None:
            values.append(value)
            is_due = is_due and not any("signedMeterValue" in v for v in value["sampledValue"])
    return values


def tell(view: View, event_type: str, sample: MeterSample, *, once: bool = False) -> Payload | None:
    """A value as it is configured for a TransactionEvent, or for MeterValues (""); `once`: a key
    that is told once is told here."""
    key = None
    if sample.reading.signature is not None and _is_signed(view, event_type, sample.context):
        when = _signing(view, "OCPPCommCtrlr", "PublicKeyWithSignedMeterValue")
        tells = when == "EveryMeterValue" or (when == "OncePerTransaction" and once)
        key = sample.reading.signature.public_key if tells else ""
    return meter_value(sample, wanted(view, event_type, sample.context), key=key)


def _is_signed(view: View, event_type: str, context: str) -> bool:
    clock = context == "Sample.Clock" or not event_type
    component = "AlignedDataCtrlr" if clock else "SampledDataCtrlr"
    return _signing(view, component, "SignReadings") == "true"


def _signing(view: View, component: str, name: str) -> str:
    """A variable that only stations with a signing meter declare; "" elsewhere."""
    try:
        return view.variables.value(component, name)
    except KeyError:
        return ""


def meter_value(
    sample: MeterSample, measurands: frozenset[str], *, key: str | None = None
) -> Payload | None:
    """One MeterValueType, its time an open stamp; None when nothing of it is wanted or known.

    `key`: with the meter's signature and this public key (J01.FR.21, J02.FR.21).
    """
    values = [
        value | {"context": sample.context}
        for name, source in MEASURANDS.items()
        if name in measurands
        for value in source(sample.reading)
    ]
    if values and key is not None and ENERGY in measurands:
        values[0] |= {"signedMeterValue": _signed(sample.reading, key)}
    if not values:
        return None
    return {"timestamp": open_stamp(sample.reading.at_s), "sampledValue": values}


def _signed(reading: MeterReading, key: str) -> Payload:
    """SignedMeterValueType; the meter's data as it came."""
    signature = reading.signature
    assert signature is not None
    return {
        "signedMeterData": signature.data,
        "signingMethod": signature.signing_method,
        "encodingMethod": signature.encoding_method,
        "publicKey": key,
    }


def _energy(reading: MeterReading) -> Iterator[Payload]:
    """The default measurand in its default unit: neither is repeated (J01.FR.14)."""
    yield {"value": round(reading.energy_wh, 3)}


def _total_or_phases(
    measurand: str,
    unit: str,
    total: Callable[[MeterReading], float | None] | None,
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


def _export(reading: MeterReading) -> Iterator[Payload]:
    if reading.export_wh is not None:
        yield {"value": round(reading.export_wh, 3), "measurand": EXPORT}


def _power_export(reading: MeterReading) -> Iterator[Payload]:
    """What flows back now; 0 while the EV takes."""
    if reading.power_w is not None:
        yield {
            "value": round(max(0.0, -reading.power_w), 3),
            "measurand": "Power.Active.Export",
            "unitOfMeasure": {"unit": "W"},
        }


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
    EXPORT: _export,
    "Power.Active.Export": _power_export,
}
"""Measurand -> its sampled values from one reading; the values lists of block J come from here."""
EXPORTS = (EXPORT, "Power.Active.Export")
"""Those that only a station with a meter of both directions takes, and none sends unasked."""
