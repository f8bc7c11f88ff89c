"""Part 6, block P: data transfer, and data of vendors in any message."""

from typing import Any

import pytest

from hil.cases import play
from hil.conformance import Octt

VENDOR = "org.openchargealliance.octt"
CUSTOM: dict[str, Any] = {"vendorId": VENDOR, "level": 5, "more": {"deep": [None, 1.5, "x"]}}
OFFLINE_THRESHOLD = {
    "component": {"name": "OCPPCommCtrlr", "customData": CUSTOM},
    "variable": {"name": "OfflineThreshold", "customData": CUSTOM},
    "attributeType": "Actual",
    "customData": CUSTOM,
}


@pytest.mark.parametrize("data", [None, "text", 7, [1, {"a": None}], {"any": {"thing": True}}])
def test_TC_P_01_CS(data: Any) -> None:
    async def scene(octt: Octt) -> None:
        request = {"vendorId": VENDOR, "messageId": "unused"}
        extra = {} if data is None else {"data": data}
        answer = await octt.call("DataTransfer", request | extra)
        assert answer["status"] == "UnknownVendorId"

    play(scene)


def test_TC_P_03_CS() -> None:
    async def scene(octt: Octt) -> None:
        item = OFFLINE_THRESHOLD | {"attributeValue": "200"}
        request = {"setVariableData": [item], "customData": CUSTOM}
        (result,) = (await octt.call("SetVariables", request))["setVariableResult"]
        assert result["attributeStatus"] == "Accepted"
        request = {"getVariableData": [OFFLINE_THRESHOLD], "customData": CUSTOM}
        (result,) = (await octt.call("GetVariables", request))["getVariableResult"]
        assert result["attributeStatus"] == "Accepted"
        assert result.get("attributeType", "Actual") == "Actual"
        assert result["attributeValue"] == "200"

    play(scene)


def test_TC_P_04_CS() -> None:
    async def scene(octt: Octt) -> None:
        period = {"startPeriod": 0, "limit": 6.0, "numberPhases": 3, "customData": CUSTOM}
        schedule = {
            "id": 1,
            "duration": 300,
            "chargingRateUnit": "A",
            "chargingSchedulePeriod": [period],
            "startSchedule": "2026-09-21T00:00:00Z",
        }
        profile = {
            "id": 1,
            "stackLevel": 0,
            "chargingProfilePurpose": "TxDefaultProfile",
            "chargingProfileKind": "Absolute",
            "chargingSchedule": [schedule],
            "customData": CUSTOM,
        }
        await octt.accepted("SetChargingProfile", {"evseId": 1, "chargingProfile": profile})

    play(scene)
