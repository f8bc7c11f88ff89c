"""OCPP messages as JSON: schema checks with their error codes, times, and compact text."""

import json
import math
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from importlib import import_module
from typing import Any

from agent.ocpp.calls import CallError, Payload
from agent.ocpp.schema_error import SchemaError


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


STATION_ACTIONS = _names(
    """Authorize BootNotification ClearedChargingLimit DataTransfer FirmwareStatusNotification
    Get15118EVCertificate GetCertificateStatus Heartbeat LogStatusNotification MeterValues
    NotifyChargingLimit NotifyCustomerInformation NotifyDisplayMessages NotifyEVChargingNeeds
    NotifyEVChargingSchedule NotifyEvent NotifyMonitoringReport NotifyReport
    PublishFirmwareStatusNotification ReportChargingProfiles ReservationStatusUpdate
    SecurityEventNotification SignCertificate StatusNotification TransactionEvent"""
)
"""Actions that a charging station calls."""

CSMS_ACTIONS = _names(
    """CancelReservation CertificateSigned ChangeAvailability ClearCache ClearChargingProfile
    ClearDisplayMessage ClearVariableMonitoring CostUpdated CustomerInformation DataTransfer
    DeleteCertificate GetBaseReport GetChargingProfiles GetCompositeSchedule GetDisplayMessages
    GetInstalledCertificateIds GetLocalListVersion GetLog GetMonitoringReport GetReport
    GetTransactionStatus GetVariables InstallCertificate PublishFirmware RequestStartTransaction
    RequestStopTransaction ReserveNow Reset SendLocalList SetChargingProfile SetDisplayMessage
    SetMonitoringBase SetMonitoringLevel SetNetworkProfile SetVariableMonitoring SetVariables
    TriggerMessage UnlockConnector UnpublishFirmware UpdateFirmware"""
)
"""Actions that the CSMS calls."""

KNOWN_ACTIONS = STATION_ACTIONS | CSMS_ACTIONS

TIME_FIELDS = _names(
    """cacheExpiryDateTime currentTime departureTime endDateTime expiryDateTime generatedAt
    installDateTime latestTimestamp oldestTimestamp retrieveDateTime scheduleStart startDateTime
    startSchedule timeBase timestamp validFrom validTo"""
)
"""Every field of a dateTime in any message."""

FOREIGN = frozenset({"customData", "data"})
"""Fields whose inside belongs to a vendor and follows no rule of ours."""

ERROR_CODES = {
    "required": "OccurrenceConstraintViolation",
    "minItems": "OccurrenceConstraintViolation",
    "maxItems": "OccurrenceConstraintViolation",
    "type": "TypeConstraintViolation",
    "additionalProperties": "FormatViolation",
}
"""JSON schema keyword -> error code of OCPP-J 4.3; any other is a PropertyConstraintViolation."""

EPOCH = datetime(1970, 1, 1)
OWN_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]{1,3})?Z")
TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}):([0-9]{2})(\.[0-9]+)?"
    r"(?:[Zz]|([+-])([0-9]{2}):?([0-9]{2}))?"
)
OPEN_STAMP = re.compile(r'(?<!\\)"timestamp"(\s*:\s*)"@(-?[0-9]+\.[0-9]{3})"')


# --- schema -----------------------------------------------------------------------------------


@cache
def _validator(action: str, kind: str) -> Callable[[Payload, list[str] | None], object]:
    try:
        module = import_module(f"agent.ocpp.schemas.{action}{kind}")
    except ModuleNotFoundError as error:
        raise RuntimeError(
            f"the validator {error.name} is missing: run `python hatch_build.py` or reinstall"
        ) from error
    validate: Callable[[Payload, list[str] | None], object] = module.validate
    return validate


def _validate(action: str, kind: str, payload: Payload, noted: list[str] | None) -> None:
    if action not in KNOWN_ACTIONS:
        raise CallError("NotImplemented", "this action is not part of OCPP 2.0.1")
    try:
        _validator(action, kind)(payload, noted)
    except SchemaError as error:
        code = ERROR_CODES.get(error.rule, "PropertyConstraintViolation")
        raise CallError(code, str(error).removeprefix("data").lstrip(" .")) from None
    sender = STATION_ACTIONS if kind == "Request" else CSMS_ACTIONS
    if action in sender:
        _check_own(payload)


def validate_request(action: str, payload: Payload) -> None:
    """Raise CallError unless the payload of a CALL follows its schema.

    NotImplemented when no version of OCPP 2.0.1 knows the action. A request of our own must also
    carry its times as the standard wants them (R17), so no open stamps.
    """
    _validate(action, "Request", payload, None)


def validate_response(action: str, payload: Payload) -> tuple[str, ...]:
    """Raise CallError unless the payload of a CALLRESULT can be used; returns what to log.

    A response of the CSMS may carry fields of a later OCPP: they are noted and left alone.
    Members that are null are removed in place, as if they had been left out (OCPP-J 4.1.5).
    A response of our own is checked as strictly as a request.
    """
    if action in CSMS_ACTIONS and action not in STATION_ACTIONS:
        _validate(action, "Response", payload, None)
        return ()
    noted = [f"{path} was null" for path in _drop_nulls(payload, "")]
    _validate(action, "Response", payload, noted)
    return tuple(noted)


def _drop_nulls(node: Any, path: str) -> list[str]:
    dropped = []
    if isinstance(node, dict):
        for key in [key for key, value in node.items() if value is None]:
            del node[key]
            dropped.append(f"{path}.{key}".lstrip("."))
        for key, value in node.items():
            if key not in FOREIGN:
                dropped += _drop_nulls(value, f"{path}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            dropped += _drop_nulls(value, f"{path}[{index}]")
    return dropped


def _check_own(node: Any) -> None:
    """R17: what we send is UTC with Z and at most three digits of a fraction."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in TIME_FIELDS and isinstance(value, str) and not OWN_TIME.fullmatch(value):
                raise CallError("PropertyConstraintViolation", f"{key} must be RFC 3339 in UTC")
            if key not in FOREIGN:
                _check_own(value)
    elif isinstance(node, list):
        for value in node:
            _check_own(value)


# --- times ------------------------------------------------------------------------------------


def parse_time(text: str) -> float:
    """UTC seconds since 1970 of an RFC 3339 time; without a zone it is UTC. Raises ValueError."""
    match = TIME.fullmatch(text)
    if match is None:
        raise ValueError("not a date and time as RFC 3339 writes it")
    date, minute, second, fraction, sign, zone_h, zone_min = match.groups()
    leap = second == "60"
    at = datetime.fromisoformat(f"{date}T{minute}:{'59' if leap else second}")
    since = at - EPOCH + timedelta(seconds=1 if leap else 0)
    if sign:
        offset = timedelta(hours=int(zone_h), minutes=int(zone_min))
        since += -offset if sign == "+" else offset
    return since.total_seconds() + float(fraction or 0)


def format_time(utc_s: float) -> str:
    """RFC 3339 in UTC with milliseconds (R17) of seconds since 1970. Raises ValueError."""
    if not math.isfinite(utc_s):
        raise ValueError("a time must be a finite number of seconds")
    try:
        at = EPOCH + timedelta(milliseconds=round(utc_s * 1000))
    except OverflowError as error:
        raise ValueError(f"{utc_s} s is no time of the years 1 to 9999") from error
    return at.isoformat(timespec="milliseconds") + "Z"


def open_stamp(at_s: float) -> str:
    """A loop time to stand in a body until UTC is known. Raises ValueError."""
    if not math.isfinite(at_s):
        raise ValueError("a time must be a finite number of seconds")
    return f"@{at_s:.3f}"


def close_stamps(body_json_text: str, to_utc: Callable[[float], float]) -> str:
    """Replace the open stamp of every "timestamp" in a body; all other bytes stay as they are."""
    if '"@' not in body_json_text:
        return body_json_text

    def close(match: re.Match[str]) -> str:
        return f'"timestamp"{match[1]}"{format_time(to_utc(float(match[2])))}"'

    return OPEN_STAMP.sub(close, body_json_text)


# --- text -------------------------------------------------------------------------------------


def dump(payload: Payload) -> str:
    """Compact JSON. Raises ValueError for NaN, infinity, null and half surrogates (R11)."""
    text = json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text.encode()
    if "null" in text and (path := _find_null(payload, "")):
        raise ValueError(f"{path} is null: a field without a value must be left out")
    return text


def _find_null(node: Any, path: str) -> str:
    """Path of the first null that is not inside a vendor's data; empty when there is none."""
    if node is None:
        return path
    inside: list[tuple[str, Any]] = []
    if isinstance(node, dict):
        inside = [
            (f"{path}.{key}".lstrip("."), value)
            for key, value in node.items()
            if value is None or key not in FOREIGN
        ]
    elif isinstance(node, list | tuple):
        inside = [(f"{path}[{index}]", value) for index, value in enumerate(node)]
    return next((found for sub, value in inside if (found := _find_null(value, sub))), "")
