"""Variables set and asked by the CSMS (B05, B06)."""

from agent.core.events import Now
from agent.ocpp.block import Answer, CallError, Payload
from agent.ocpp.blocks.b_provisioning.declared import BYTES_PER_MESSAGE, ITEMS_PER_MESSAGE
from agent.ocpp.device_model import Change, Verdict
from agent.ocpp.messages import dump
from agent.ocpp.view import View


def check_size(payload: Payload, items: list[Payload]) -> None:
    """B06.FR.16 and FR.17, B08.FR.17 and FR.18: what the limits of messages say is kept to."""
    if len(items) > ITEMS_PER_MESSAGE:
        raise CallError(
            "OccurrenceConstraintViolation", f"at most {ITEMS_PER_MESSAGE} items in one message"
        )
    if len(dump(payload).encode()) > BYTES_PER_MESSAGE:
        raise CallError("FormatViolation", f"at most {BYTES_PER_MESSAGE} bytes in one message")


def _result(item: Payload, status: str, reason: str) -> Payload:
    """What both answers have in common; the pair is echoed as asked (B05.FR.01 to 03, FR.12)."""
    result: Payload = {
        "attributeType": item.get("attributeType", "Actual"),
        "attributeStatus": status,
        "component": item["component"],
        "variable": item["variable"],
    }
    if reason:
        result["attributeStatusInfo"] = {"reasonCode": reason}
    return result


def set_variables(payload: Payload, view: View, now: Now) -> Answer:
    """B05: one result per item; those that fail do not hold up the others."""
    items = payload["setVariableData"]
    check_size(payload, items)
    changes: list[Change] = []
    results = []
    for item in items:
        verdict = _judge(item, view)
        if verdict.change is not None:
            changes.append(verdict.change)
        results.append(_result(item, verdict.status, verdict.reason))
    effects, events = view.variables.consequences(changes)
    return Answer({"setVariableResult": results}, events=events, effects=effects)


def _judge(item: Payload, view: View) -> Verdict:
    verdict = view.variables.judge(
        item["component"],
        item["variable"],
        item.get("attributeType", "Actual"),
        item["attributeValue"],
    )
    reason = view.variables.objection(verdict.change, view) if verdict.change is not None else ""
    return Verdict("Rejected", reason) if reason else verdict


def get_variables(payload: Payload, view: View, now: Now) -> Answer:
    """B06."""
    items = payload["getVariableData"]
    check_size(payload, items)
    results = []
    for item in items:
        attribute = item.get("attributeType", "Actual")
        status, value = view.variables.get(
            item["component"], item["variable"], attribute, view, now
        )
        result = _result(item, status, "WriteOnly" if status == "Rejected" else "")
        if value is not None:
            result["attributeValue"] = value
        results.append(result)
    return Answer({"getVariableResult": results})
