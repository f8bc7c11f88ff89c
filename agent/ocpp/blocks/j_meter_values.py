"""Block J: meter values. How a reading looks on the wire is `ocpp.meter_value`."""

from agent.core.effects import Metered, MeterSample
from agent.core.events import MessageTriggered, Now
from agent.ocpp.block import (
    Consequences,
    Incoming,
    OnEvent,
    OnResponse,
    Outgoing,
    OutgoingCall,
)
from agent.ocpp.device_model import Variable
from agent.ocpp.messages import format_time
from agent.ocpp.meter_value import ENERGY, EXPORTS, MEASURANDS, asked_readings, tell
from agent.ocpp.view import View
from drivers.contract import Signing

ALL = ",".join(name for name in MEASURANDS if name not in EXPORTS)
NEEDS = tuple((name, "export_meter") for name in EXPORTS)


def _triggered(event: MessageTriggered, view: View, now: Now) -> Consequences:
    """F06.FR.06: the last reading of each EVSE that is meant, with the aligned measurands; what a
    meter has to sign first comes from the core (`core.asked_values`)."""
    if event.message != "MeterValues":
        return Consequences()
    signed = view.station.policy.aligned_signed
    readings = asked_readings(view, event.evse_id if event.is_named else None)
    calls = [
        _metered(Metered(evse_id, MeterSample("Trigger", reading)), view, now)
        for evse_id, reading in readings.items()
        if reading is not None and not (signed and reading.signing is not Signing.NONE)
    ]
    return Consequences(effects=tuple(call for call in calls if call is not None))


def _metered(effect: Metered, view: View, now: Now) -> OutgoingCall | None:
    """J01.FR.14: a value of an EVSE outside of transactions (0: of the main meter), by the clock or
    because it is asked for."""
    value = tell(view, "", effect.sample)
    if value is None:
        return None
    value["timestamp"] = format_time(now.utc_s(effect.sample.reading.at_s))
    return OutgoingCall("MeterValues", {"evseId": effect.evse_id, "meterValue": [value]})


def _measurands(component: str, name: str, default: str) -> Variable:
    return Variable(
        component,
        name,
        data_type="MemberList",
        values=tuple(MEASURANDS),
        value_needs=NEEDS,
        may_be_empty=True,
        default=default,
    )


def _interval(component: str, name: str, default: str, policy: str) -> Variable:
    return Variable(
        component,
        name,
        data_type="integer",
        unit="s",
        min_limit=0,
        default=default,
        policy=policy,
    )


def _switch(
    component: str, name: str, default: str, *, policy: str | None = None, needs: str = ""
) -> Variable:
    return Variable(
        component, name, data_type="boolean", default=default, policy=policy, needs=needs
    )


def _available(component: str) -> Variable:
    return Variable(
        component,
        "Available",
        data_type="boolean",
        mutability="ReadOnly",
        read=lambda view: "true",
    )


def _main_fault(view: View) -> str | None:
    main_meter = view.station.main_meter
    return main_meter.fault if main_meter is not None else None


def _main_power_w(view: View) -> str | None:
    main_meter = view.station.main_meter
    reading = main_meter.reading if main_meter is not None else None
    return None if reading is None or reading.power_w is None else f"{reading.power_w:.0f}"


INCOMING: Incoming = {}
OUTGOING: Outgoing = {Metered: _metered}
ON_RESPONSE: OnResponse = {}
ON_EVENT: OnEvent = {MessageTriggered: _triggered}

SAMPLED, ALIGNED = "SampledDataCtrlr", "AlignedDataCtrlr"

VARIABLES: tuple[Variable, ...] = (
    _available(SAMPLED),
    _switch(SAMPLED, "Enabled", "true", policy="sampled_enabled"),
    _switch(SAMPLED, "SignReadings", "false", policy="sampled_signed", needs="signing_meter"),
    _measurands(SAMPLED, "TxStartedMeasurands", ENERGY),
    _measurands(SAMPLED, "TxUpdatedMeasurands", ALL),
    _measurands(SAMPLED, "TxEndedMeasurands", ENERGY),
    _interval(SAMPLED, "TxUpdatedInterval", "60", "tx_updated_interval_s"),
    _interval(SAMPLED, "TxEndedInterval", "0", "tx_ended_interval_s"),
    _available(ALIGNED),
    _switch(ALIGNED, "Enabled", "true", policy="aligned_enabled"),
    _switch(ALIGNED, "SendDuringIdle", "false", policy="aligned_only_idle"),
    Variable(
        ALIGNED,
        "SendDuringIdle",
        data_type="boolean",
        level="evse",
        default="false",
        policy="aligned_only_idle_evses",
    ),
    _switch(ALIGNED, "SignReadings", "false", policy="aligned_signed", needs="signing_meter"),
    _measurands(ALIGNED, "Measurands", ALL),
    _measurands(ALIGNED, "TxEndedMeasurands", ENERGY),
    _interval(ALIGNED, "Interval", "0", "aligned_interval_s"),
    _interval(ALIGNED, "TxEndedInterval", "0", "aligned_tx_ended_interval_s"),
    Variable(
        "ElectricalFeed",
        "Problem",
        data_type="boolean",
        mutability="ReadOnly",
        read=lambda view: "false" if _main_fault(view) is None else "true",
        needs="main_meter",
    ),
    Variable(
        "ElectricalFeed",
        "Power",
        data_type="decimal",
        unit="W",
        mutability="ReadOnly",
        read=_main_power_w,
        needs="main_meter",
    ),
    Variable(
        "OCPPCommCtrlr",
        "PublicKeyWithSignedMeterValue",
        data_type="OptionList",
        values=("Never", "OncePerTransaction", "EveryMeterValue"),
        default="OncePerTransaction",
        needs="signing_meter",
    ),
)
