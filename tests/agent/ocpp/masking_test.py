"""What of a payload people may read."""

import json
from typing import Any

import pytest

from agent.ocpp.masking import REQUEST, RESPONSE, shown_payload

CARD = "04A1B2C3D4E5F6"
TOKEN = {"idToken": CARD, "type": "ISO14443"}
SHOWN = {"idToken": "04A1...", "type": "ISO14443"}
CODE = {"idToken": "773311", "type": "KeyCode"}


def hide(text: str) -> str:
    return text.replace("hunter2", "***")


def shown(action: str, kind: str, payload: dict[str, Any]) -> Any:
    told, wrong = shown_payload(action, kind, payload, hide)
    assert wrong == ""
    return told


@pytest.mark.parametrize(
    ("action", "kind", "payload", "told"),
    [
        ("Heartbeat", RESPONSE, {"currentTime": "2026-01-01T00:00:00Z"}, None),
        ("Authorize", REQUEST, {"idToken": TOKEN}, {"idToken": SHOWN}),
        (
            "Authorize",
            REQUEST,
            {"idToken": CODE | {"additionalInfo": [{"additionalIdToken": "1234", "type": "PIN"}]}},
            {
                "idToken": {
                    "idToken": "...",
                    "type": "KeyCode",
                    "additionalInfo": [{"additionalIdToken": "***", "type": "PIN"}],
                }
            },
        ),
        (
            "Authorize",
            RESPONSE,
            {"idTokenInfo": {"status": "Accepted", "groupIdToken": TOKEN}},
            {"idTokenInfo": {"status": "Accepted", "groupIdToken": SHOWN}},
        ),
        (
            "CustomerInformation",
            REQUEST,
            {"requestId": 1, "report": True, "clear": False, "customerIdentifier": "Jane Doe"},
            {"requestId": 1, "report": True, "clear": False, "customerIdentifier": "***"},
        ),
        (
            "NotifyCustomerInformation",
            REQUEST,
            {"data": "Jane", "seqNo": 0, "requestId": 1, "generatedAt": "2026-01-01T00:00:00Z"},
            {"data": "***", "seqNo": 0, "requestId": 1, "generatedAt": "2026-01-01T00:00:00Z"},
        ),
        (
            "DataTransfer",
            REQUEST,
            {"vendorId": "x", "messageId": "m", "data": {"pin": "1234", "n": 1, "on": True}},
            {"vendorId": "x", "messageId": "m", "data": {"pin": "***", "n": "***", "on": True}},
        ),
        (
            "Heartbeat",
            REQUEST,
            {"customData": {"vendorId": "x", "pin": "1234"}},
            {"customData": {"vendorId": "x", "...": "***"}},
        ),
        (
            "InstallCertificate",
            REQUEST,
            {
                "certificateType": "CSMSRootCertificate",
                "certificate": "-----BEGIN " + "PRIVATE KEY-----",
            },
            {"certificateType": "CSMSRootCertificate", "certificate": "***"},
        ),
        (
            "Reset",
            RESPONSE,
            {"status": "Rejected", "statusInfo": {"reasonCode": "X", "additionalInfo": "hunter2!"}},
            {"status": "Rejected", "statusInfo": {"reasonCode": "X", "additionalInfo": "***!"}},
        ),
    ],
)
def test_what_is_shown_of_a_payload(
    action: str, kind: str, payload: dict[str, Any], told: dict[str, Any] | None
) -> None:
    assert shown(action, kind, payload) == (payload if told is None else told)


def test_the_value_of_a_secret_variable_is_shown_in_no_message() -> None:
    for name, secret in (("BasicAuthPassword", True), ("MasterPassGroupId", True), ("X", False)):
        named = {"component": {"name": "SecurityCtrlr"}, "variable": {"name": name}}
        told = [
            shown(
                "SetVariables",
                REQUEST,
                {"setVariableData": [{**named, "attributeValue": "hello world"}]},
            ),
            shown(
                "GetVariables",
                RESPONSE,
                {
                    "getVariableResult": [
                        {**named, "attributeStatus": "Accepted", "attributeValue": "hello world"}
                    ]
                },
            ),
            shown(
                "NotifyReport",
                REQUEST,
                {
                    "requestId": 1,
                    "seqNo": 0,
                    "generatedAt": "2026-01-01T00:00:00Z",
                    "reportData": [{**named, "variableAttribute": [{"value": "hello world"}]}],
                },
            ),
        ]
        assert [("hello world" in json.dumps(one)) is not secret for one in told] == [True] * 3
        assert all(name in json.dumps(one) for one in told)


def test_logins_of_a_network_profile_are_not_shown() -> None:
    profile = {
        "configurationSlot": 1,
        "connectionData": {
            "ocppVersion": "OCPP20",
            "ocppTransport": "JSON",
            "ocppCsmsUrl": "wss://a.example/x",
            "messageTimeout": 30,
            "securityProfile": 1,
            "ocppInterface": "Wired0",
            "vpn": {
                "server": "vpn.example",
                "user": "uuu",
                "password": "ppp",
                "key": "kkk",
                "type": "IPSec",
            },
            "apn": {
                "apn": "internet",
                "apnUserName": "nnn",
                "apnPassword": "www",
                "simPin": 98765,
                "apnAuthentication": "CHAP",
            },
        },
    }
    told = json.dumps(shown("SetNetworkProfile", REQUEST, profile))
    assert [s for s in ("uuu", "ppp", "kkk", "nnn", "www", "98765") if s in told] == []
    assert "wss://a.example/x" in told
    assert "vpn.example" in told


def test_a_signed_value_is_told_by_its_length() -> None:
    signed = {
        "signedMeterData": "QUJD" * 10,
        "signingMethod": "ECDSA",
        "encodingMethod": "OCMF",
        "publicKey": "",
    }
    sampled = {"value": 1.5, "signedMeterValue": signed}
    value = {"timestamp": "2026-01-01T00:00:00Z", "sampledValue": [sampled]}
    told = shown("MeterValues", REQUEST, {"evseId": 1, "meterValue": [value]})
    (told_sample,) = told["meterValue"][0]["sampledValue"]
    assert told_sample["signedMeterValue"]["signedMeterData"] == "(40 characters)"
    assert told_sample["value"] == 1.5


@pytest.mark.parametrize(
    ("action", "kind", "payload", "told", "why"),
    [
        ("Reset", REQUEST, {"evil": "secret", "a b": 7}, {"evil": "***", "***": "***"}, "type"),
        ("Reset", REQUEST, {"type": "Sometime"}, {"type": "***"}, "type"),
        ("Nonsense", REQUEST, {"x": ["secret", True, None]}, {"x": ["***", True, None]}, "no"),
        (None, RESPONSE, {"status": "Accepted"}, {"status": "***"}, "not seen"),
        (
            "Heartbeat",
            RESPONSE,
            {"currentTime": "2026-01-01T00:00:00Z", "password": "s"},
            {"currentTime": "***", "password": "***"},
            "password",
        ),
    ],
)
def test_what_follows_no_schema_is_shown_without_its_values(
    action: str | None, kind: str, payload: dict[str, Any], told: dict[str, Any], why: str
) -> None:
    shown_one, wrong = shown_payload(action, kind, payload, hide)
    assert shown_one == told
    assert why in wrong
