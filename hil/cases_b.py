"""What the conformance cases of block B share."""

from datetime import datetime
from typing import Any

from hil.conformance import Octt

Payload = dict[str, Any]
COMM = {"name": "OCPPCommCtrlr"}
THRESHOLD = {"component": COMM, "variable": {"name": "OfflineThreshold"}}
LISTS = ("OptionList", "SequenceList", "MemberList")
REQUEST_ID = 1234


def at_s(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def clean(info: Payload | None) -> bool:
    """A statusInfo is absent or says that nothing is wrong."""
    return info is None or info["reasonCode"] == "NoError"


async def get_variables(octt: Octt, *items: Payload) -> list[Payload]:
    answer = await octt.call("GetVariables", {"getVariableData": list(items)})
    return list(answer["getVariableResult"])


async def set_variables(octt: Octt, *items: Payload) -> list[Payload]:
    answer = await octt.call("SetVariables", {"setVariableData": list(items)})
    return list(answer["setVariableResult"])


async def statuses(octt: Octt) -> dict[tuple[int, int], str]:
    """One StatusNotification of each connector, whatever their order."""
    found: dict[tuple[int, int], str] = {}
    for evse in octt.bench.settings.evses:
        for connector in evse.connectors:
            payload = await octt.csms.wait_for("StatusNotification", timeout_s=120)
            place = (payload["evseId"], payload["connectorId"])
            assert place not in found, payload
            assert (evse.id, connector.id) != (0, 0)
            found[place] = payload["connectorStatus"]
    return found


async def all_available(octt: Octt) -> None:
    assert set((await statuses(octt)).values()) == {"Available"}


async def reported(octt: Octt, request_id: int = REQUEST_ID) -> list[Payload]:
    """The rows of one report, its parts checked."""
    rows: list[Payload] = []
    seq_no, more = 0, True
    while more:
        part = await octt.expect("NotifyReport")
        assert part["requestId"] == request_id
        assert abs(at_s(part["generatedAt"]) - octt.bench.utc_s()) < 60.0
        assert part["seqNo"] == seq_no
        seq_no, more = seq_no + 1, part.get("tbc", False)
        rows += part["reportData"]
    for row in rows:
        check_row(row)
    await octt.expect_none("NotifyReport")
    return rows


def check_row(row: Payload) -> None:
    """What every report owes (B07, B08, TC_B_53)."""
    characteristics = row["variableCharacteristics"]
    (attribute,) = row["variableAttribute"]
    is_list = characteristics["dataType"] in LISTS
    if is_list:
        assert characteristics["valuesList"], row
    if attribute.get("mutability") == "WriteOnly":
        assert "value" not in attribute
        return
    is_power = (row["component"]["name"], row["variable"]["name"]) == ("EVSE", "Power")
    assert is_power or "value" in attribute, row
    if is_list and attribute["value"]:
        assert set(attribute["value"].split(",")) <= set(characteristics["valuesList"].split(","))


async def base_report(octt: Octt, report_base: str) -> list[Payload]:
    answer = await octt.call("GetBaseReport", {"requestId": REQUEST_ID, "reportBase": report_base})
    assert answer["status"] == "Accepted"
    assert clean(answer.get("statusInfo"))
    return await reported(octt)
