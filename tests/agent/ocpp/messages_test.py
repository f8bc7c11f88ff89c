import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hatch_build
from agent.ocpp import messages
from agent.ocpp.block import CallError

SCHEMAS = Path(str(find_spec("ocpp").origin)).parent / "v201" / "schemas"  # type: ignore[union-attr]
NOW = "2026-11-22T10:00:00.123Z"
SECRET = "s3cret"


def event(**changes: Any) -> dict[str, Any]:
    """A TransactionEvent of ours with some members changed; None removes one."""
    body: dict[str, Any] = {
        "eventType": "Updated",
        "timestamp": NOW,
        "triggerReason": "MeterValuePeriodic",
        "seqNo": 3,
        "transactionInfo": {"transactionId": "t1"},
    }
    body.update(changes)
    return {key: value for key, value in body.items() if value is not None}


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("Reset", {}, "OccurrenceConstraintViolation"),
    ("Reset", {"type": "Sometimes"}, "PropertyConstraintViolation"),
    ("Reset", {"type": 5}, "TypeConstraintViolation"),
    ("Reset", {"type": None}, "TypeConstraintViolation"),
    ("Reset", {"type": "OnIdle", SECRET: 1}, "FormatViolation"),
    ("Reset", {"type": "OnIdle", "evseId": True}, "TypeConstraintViolation"),
    ("Reset", {"type": "OnIdle", "evseId": 1.5}, "TypeConstraintViolation"),
    ("GetVariables", {"getVariableData": []}, "OccurrenceConstraintViolation"),
    ("GetVariables", {"getVariableData": {}}, "TypeConstraintViolation"),
    (
        "GetVariables",
        {"getVariableData": [{"component": {"name": "x" * 51}, "variable": {"name": "y"}}]},
        "PropertyConstraintViolation",
    ),
    (
        "ReserveNow",
        {"id": 1, "expiryDateTime": "tomorrow", "idToken": {"idToken": "a", "type": "Central"}},
        "PropertyConstraintViolation",
    ),
    (
        "ReserveNow",
        {"id": 1, "expiryDateTime": "2026-02-30T00:00:00Z", "idToken": {}},
        "PropertyConstraintViolation",
    ),
    ("SetMonitoringLevel", {"severity": 1, "customData": {}}, "OccurrenceConstraintViolation"),
    ("TransactionEvent", event(timestamp="2026-11-22T10:00:00"), "PropertyConstraintViolation"),
    (
        "TransactionEvent",
        event(timestamp="2026-11-22T10:00:00+01:00"),
        "PropertyConstraintViolation",
    ),
    (
        "TransactionEvent",
        event(timestamp="2026-11-22T10:00:00.1234Z"),
        "PropertyConstraintViolation",
    ),
    ("TransactionEvent", event(timestamp="@12.000"), "PropertyConstraintViolation"),
    ("Nonsense", {}, "NotImplemented"),
    ("../../block", {}, "NotImplemented"),
]


@pytest.mark.parametrize(("action", "payload", "code"), REFUSED)
def test_a_request_against_its_schema_is_refused_with_the_code_of_the_standard(
    action: str, payload: dict[str, Any], code: str
) -> None:
    with pytest.raises(CallError) as caught:
        messages.validate_request(action, payload)
    assert caught.value.code == code


def test_more_items_than_allowed_are_an_occurrence_error() -> None:
    chain = {"hashAlgorithm": "SHA256", "issuerNameHash": "a", "issuerKeyHash": "b"}
    item = {**chain, "serialNumber": "1", "responderURL": "http://x"}
    token = {"idToken": "a", "type": "eMAID"}
    with pytest.raises(CallError) as caught:
        messages.validate_request(
            "Authorize", {"idToken": token, "iso15118CertificateHashData": [item] * 5}
        )
    assert caught.value.code == "OccurrenceConstraintViolation"


def test_a_refusal_says_where_but_not_what() -> None:
    with pytest.raises(CallError) as caught:
        messages.validate_request(
            "SetVariables",
            {
                "setVariableData": [
                    {
                        "attributeValue": SECRET * 1000,
                        "component": {"name": "SecurityCtrlr"},
                        "variable": {"name": "BasicAuthPassword"},
                    }
                ]
            },
        )
    assert "setVariableData[0].attributeValue" in caught.value.description
    assert SECRET not in str(caught.value)


ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    ("Reset", {"type": "OnIdle", "evseId": 1.0}),
    ("Reset", {"type": "OnIdle", "customData": {"vendorId": "v", "any": [None, {"x": 1}]}}),
    ("ClearCache", {}),
    ("DataTransfer", {"vendorId": "v", "data": {"timestamp": "whenever", "n": None}}),
    ("TransactionEvent", event()),
]


@pytest.mark.parametrize(("action", "payload"), ACCEPTED)
def test_a_good_request_passes_unchanged(action: str, payload: dict[str, Any]) -> None:
    before = json.dumps(payload)
    messages.validate_request(action, payload)
    assert json.dumps(payload) == before


@pytest.mark.parametrize("at", ["2026-11-22T10:00:00", "2026-11-22T10:00:00.123456+01:00"])
def test_times_of_the_csms_may_lack_a_zone_or_have_an_offset(at: str) -> None:
    messages.validate_response(
        "BootNotification", {"currentTime": at, "interval": 300, "status": "Accepted"}
    )


def test_unknown_fields_of_an_answer_are_noted_and_kept() -> None:
    payload = {"idTokenInfo": {"status": "Accepted", "tariff": {"x": 1}}, "future": 1}
    noted = messages.validate_response("Authorize", payload)
    assert any("tariff" in line for line in noted)
    assert any("future" in line for line in noted)
    assert payload["idTokenInfo"]["tariff"] == {"x": 1}  # type: ignore[index]


def test_nulls_in_an_answer_count_as_left_out() -> None:
    payload = {
        "idTokenInfo": {"status": "Accepted", "groupIdToken": None, "evseId": None},
        "certificateStatus": None,
        "customData": {"vendorId": "v", "mine": None},
    }
    noted = messages.validate_response("Authorize", payload)
    assert payload == {
        "idTokenInfo": {"status": "Accepted"},
        "customData": {"vendorId": "v", "mine": None},
    }
    assert "idTokenInfo.groupIdToken was null" in noted
    assert len(noted) == 3


def test_an_answer_without_a_required_field_cannot_be_used() -> None:
    with pytest.raises(CallError) as caught:
        messages.validate_response("Authorize", {"idTokenInfo": {"status": None}})
    assert caught.value.code == "OccurrenceConstraintViolation"


def test_an_answer_of_ours_may_not_carry_unknown_fields() -> None:
    with pytest.raises(CallError) as caught:
        messages.validate_response("Reset", {"status": "Accepted", "future": 1})
    assert caught.value.code == "FormatViolation"


# --- what was generated -----------------------------------------------------------------------


def test_every_schema_has_a_direction_and_a_validator() -> None:
    names = {path.stem for path in SCHEMAS.glob("*.json")}
    assert {name.removesuffix("Request").removesuffix("Response") for name in names} == set(
        messages.KNOWN_ACTIONS
    )
    both = messages.STATION_ACTIONS & messages.CSMS_ACTIONS
    assert both == {"DataTransfer"}
    for action in messages.KNOWN_ACTIONS:
        for kind in ("Request", "Response"):
            messages._validator(action, kind)


def test_all_datetime_fields_of_the_schemas_are_known() -> None:
    found = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                if isinstance(value, dict) and value.get("format") == "date-time":
                    found.add(key)
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    for path in SCHEMAS.glob("*.json"):
        walk(json.loads(path.read_text(encoding="utf-8")))
    assert found == messages.TIME_FIELDS


def test_the_board_needs_neither_ocpp_nor_a_schema_library() -> None:
    script = """
import sys
for name in ("fastjsonschema", "ocpp", "jsonschema", "hatchling"):
    sys.modules[name] = None
from agent.ocpp import messages
for action in messages.KNOWN_ACTIONS:
    for kind in ("Request", "Response"):
        messages._validator(action, kind)
messages.validate_request("Reset", {"type": "OnIdle"})
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_the_build_hook_writes_once_and_then_only_when_something_changed(tmp_path: Path) -> None:
    assert hatch_build.generate(tmp_path) == 128
    target = tmp_path / hatch_build.TARGET
    assert hatch_build.generate(tmp_path) == 0
    (target / "__init__.py").write_text("old")
    (target / "Removed.py").write_text("")
    assert hatch_build.generate(tmp_path) == 128
    assert not (target / "Removed.py").exists()


# --- times ------------------------------------------------------------------------------------

TIMES = [
    ("1970-01-01T00:00:00Z", 0.0),
    ("2026-11-22T10:00:00.5Z", 1795341600.5),
    ("2026-11-22T10:00:00", 1795341600.0),
    ("2026-11-22t10:00:00z", 1795341600.0),
    ("2026-11-22 11:30:00+01:30", 1795341600.0),
    ("2026-11-22T05:00:00-0500", 1795341600.0),
    ("2016-12-31T23:59:60Z", 1483228800.0),
    ("2026-11-22T10:00:00.123456789Z", 1795341600.123456789),
    ("1969-12-31T23:59:59Z", -1.0),
    ("0001-01-01T00:00:00+23:59", -62135683140.0),
]


@pytest.mark.parametrize(("text", "utc_s"), TIMES)
def test_times_are_read_as_utc(text: str, utc_s: float) -> None:
    assert messages.parse_time(text) == pytest.approx(utc_s, abs=1e-6)


@pytest.mark.parametrize(
    "text", ["", "now", "2026-11-22", "2026-13-01T00:00:00Z", "2026-11-22T10:00", NOW + "x"]
)
def test_what_is_no_time_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"RFC 3339|month"):
        messages.parse_time(text)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.from_regex(hatch_build.DATE_TIME))
def test_every_time_that_passes_the_schema_can_be_read(text: str) -> None:
    messages.parse_time(text)


def test_times_of_ours_have_milliseconds_and_z() -> None:
    assert messages.format_time(1795341600.1234) == NOW
    assert messages.format_time(1795341600.0) == "2026-11-22T10:00:00.000Z"
    assert messages.format_time(1795341599.9999) == "2026-11-22T10:00:00.000Z"
    assert messages.format_time(-62135596800.0) == "0001-01-01T00:00:00.000Z"


@pytest.mark.parametrize("utc_s", [float("nan"), float("inf"), 1e18, -1e11])
def test_a_time_out_of_range_is_a_value_error(utc_s: float) -> None:
    with pytest.raises(ValueError, match=r"finite|years"):
        messages.format_time(utc_s)


@given(st.integers(-62135596800_000, 253402300799_999))
def test_a_time_of_ours_reads_back(milliseconds: int) -> None:
    text = messages.format_time(milliseconds / 1000)
    assert messages.OWN_TIME.fullmatch(text)
    assert messages.parse_time(text) == pytest.approx(milliseconds / 1000, abs=0.0005)


def test_only_open_timestamps_are_closed() -> None:
    stamp = messages.open_stamp(12.3456)
    assert stamp == "@12.346"
    body = event(
        timestamp=stamp,
        meterValue=[{"timestamp": "@-1.5000"}, {"timestamp": messages.open_stamp(-1.5)}],
        idToken={"idToken": "@12.346", "type": "Local"},
        customData={
            "vendorId": "v",
            "note": '"timestamp":"@1.000"',
            'odd"timestamp': "@1.000",
            "when": "timestamp",
        },
    )
    closed = json.loads(messages.close_stamps(messages.dump(body), lambda at_s: at_s + 1795341600))
    assert closed["timestamp"] == "2026-11-22T10:00:12.346Z"
    assert closed["meterValue"][1]["timestamp"] == "2026-11-22T09:59:58.500Z"
    assert closed["meterValue"][0]["timestamp"] == "@-1.5000"
    assert closed["customData"] == body["customData"]
    assert closed["idToken"] == body["idToken"]


def test_a_closed_body_stays_byte_for_byte() -> None:
    text = messages.dump(event(customData={"vendorId": "ü", "n": 1.10}))
    assert messages.close_stamps(text, lambda at_s: at_s) == text


# --- text -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "word"),
    [
        ({"a": float("nan")}, "JSON"),
        ({"a": [float("inf")]}, "JSON"),
        ({"a": None}, "a is null"),
        ({"a": [{"b": None}]}, "a\\[0\\].b is null"),
        ({"data": None}, "data is null"),
        ({"a": "\ud800"}, "surrogates"),
    ],
)
def test_what_may_not_leave_is_refused(payload: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        messages.dump(payload)


def test_text_is_compact_and_vendor_data_may_hold_null() -> None:
    payload = {"a": "null", "customData": {"vendorId": "ü", "x": None}}
    assert messages.dump(payload) == '{"a":"null","customData":{"vendorId":"ü","x":null}}'
