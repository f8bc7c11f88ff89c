"""Frames as a harmful CSMS could send them: drawn from the standard's schemas, then spoiled.

The schemas are those of the `ocpp` package, not the agent's own validators.
"""

import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import ocpp.v201
from hypothesis import strategies as st
from msgspec import Struct

from agent.ocpp.messages import CSMS_ACTIONS, STATION_ACTIONS

SCHEMAS = Path(ocpp.v201.__file__).parent / "schemas"
MOST_ITEMS = 3
MOST_SPOILS = 3
TRANSACTION = "<transaction>"
"""Stands for the id of a transaction that runs, if one does."""


class Thrown(Struct, frozen=True):
    """A frame of the CSMS; with `trigger`, the payload by which it answers that CALL of ours."""

    text: str
    trigger: str = ""
    answer: Any = None


HOSTILE_TEXTS = (
    "",
    " ",
    "\x00",
    "\x1b[2J",
    "../../../etc/passwd",
    "file:///etc/passwd",
    "ws://x@y:99999999/\r\nHost: z",
    "http://[::1",
    "-1",
    "1e400",
    "9" * 400,
    "true",
    "null",
    "%s%n%x",
    "'; DROP TABLE state; --",
    "ÄÖ\u202e\ufeff\U0001f50c",
    "\ud800",
    "9999-12-31T23:59:59.999999999Z",
    "0000-00-00T00:00:00Z",
    "2026-02-30T25:61:61+99:99",
    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
    "x" * 6_000,
)
HOSTILE_NUMBERS = (
    *(0, -1, 1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 10**30),
    *(0.0, -0.0, 0.1, 1e-300, 1e300, -1e300, 5e-324, 17.0),
)
RAW = ("1e999", "-1e999", "NaN", "Infinity", "9" * 5_000, "1" + "0" * 400 + ".5", "01", "0x1")
"""Numbers that are none, or that no machine holds; written in the place of a number."""

NAMES = {
    "evseId": st.sampled_from([0, 1, 2, 3, -1]),
    "connectorId": st.sampled_from([0, 1, 2]),
    "transactionId": st.sampled_from([TRANSACTION, "none"]),
    "attributeValue": st.sampled_from(
        ["0", "1", "-1", "60", "86400", "true", "false", "", "A,W", "1,2,3", "x" * 40, "1e9", "NaN"]
    ),
    "ocppCsmsUrl": st.sampled_from(
        ["ws://csms.invalid/a", "wss://csms.invalid/b", "file:///etc/passwd", "ws://", "http://a"]
    ),
    "remoteLocation": st.sampled_from(["file:///tmp/x", "ftp://h/x", "http://h/x", "sftp://h"]),
    "location": st.sampled_from(["file:///etc/passwd", "http://h/x", "ftp://h/x", "gopher://h"]),
    "configurationSlot": st.integers(-1, 6),
    "interval": st.sampled_from([-1, 0, 1, 300, 10**9]),
    "limit": st.sampled_from([0, 6.0, 16.0, 32.0, 1e6, -5, 1e300, 0.05]),
    "duration": st.sampled_from([-1, 0, 1, 3600, 86_400, 10**9]),
    "id": st.sampled_from([0, 1, 2, 31, -1, 2**31]),
    "stackLevel": st.integers(-1, 12),
}
"""Values by the name of their field, so that many frames get past the first check."""

COMPONENTS = (
    *("OCPPCommCtrlr", "SecurityCtrlr", "SmartChargingCtrlr", "TxCtrlr", "AuthCtrlr", "EVSE"),
    *("SampledDataCtrlr", "AlignedDataCtrlr", "DeviceDataCtrlr", "ClockCtrlr", "NoSuchCtrlr"),
)
VARIABLES = (
    *("HeartbeatInterval", "BasicAuthPassword", "Identity", "NetworkConfigurationPriority"),
    *("TxUpdatedInterval", "Interval", "Enabled", "MessageAttempts", "OfflineThreshold"),
    *("ItemsPerMessage", "OrganizationName", "TimeSource", "TimeZone", "StopTxOnInvalidId"),
    *("TxStartPoint", "TxStopPoint", "AvailabilityState", "Power", "NoSuchVariable"),
)


# --- what follows the schema --------------------------------------------------------------------


@cache
def of_schema(action: str, kind: str) -> "st.SearchStrategy[Any]":
    """Payloads that follow the schema; `kind` is Request or Response."""
    text = (SCHEMAS / f"{action}{kind}.json").read_text(encoding="utf-8-sig")
    schema = json.loads(text)
    return _values(schema, schema.get("definitions", {}), "")


def _values(node: dict[str, Any], known: dict[str, Any], name: str) -> "st.SearchStrategy[Any]":
    if "$ref" in node:
        node = known[node["$ref"].rpartition("/")[2]]
    if "enum" in node:
        return st.sampled_from(node["enum"])
    if "type" not in node:
        return st.sampled_from([None, 7, "text", {"a": [1, 2]}]).map(deepcopy)
    if node["type"] == "object":
        return _objects(node, known, name)
    if node["type"] == "array":
        fewest = node.get("minItems", 0)
        most = min(node.get("maxItems", MOST_ITEMS), max(MOST_ITEMS, fewest))
        return st.lists(_values(node["items"], known, name), min_size=fewest, max_size=most)
    if name in NAMES:
        return NAMES[name]
    if node["type"] == "string":
        return _texts(node)
    return {
        "integer": st.integers(-5, 1_000) | st.sampled_from([0, 1, 2**31 - 1]),
        "number": st.floats(-1e3, 1e6, width=32) | st.sampled_from([0.0, 6.0, 16.0]),
        "boolean": st.booleans(),
    }[node["type"]]


def _objects(node: dict[str, Any], known: dict[str, Any], name: str) -> "st.SearchStrategy[Any]":
    fields = node.get("properties", {})
    must = set(node.get("required", ()))
    made = {field: _values(inside, known, field) for field, inside in fields.items()}
    if name == "component":
        made["name"] = st.sampled_from(COMPONENTS)
    if name == "variable":
        made["name"] = st.sampled_from(VARIABLES)
    return st.fixed_dictionaries(
        {field: made[field] for field in fields if field in must},
        optional={field: made[field] for field in fields if field not in must},
    )


def _texts(node: dict[str, Any]) -> "st.SearchStrategy[str]":
    if node.get("format") == "date-time":
        times = ["2026-09-21T14:13:20Z", "2026-09-21T16:13:20.5+02:00", "2030-01-01T00:00:00Z"]
        return st.sampled_from(times)
    longest = node.get("maxLength", 50)
    return st.text(max_size=min(longest, 40)) | st.just("x" * longest)


# --- what does not ------------------------------------------------------------------------------


def _deep(levels: int) -> Any:
    value: Any = 1
    for number in range(levels):
        value = [value] if number % 2 else {"a": value}
    return value


_HOSTILE = st.one_of(
    st.sampled_from(HOSTILE_TEXTS),
    st.sampled_from(HOSTILE_NUMBERS),
    st.sampled_from([None, True, False, [], {}, [[]], [None], {"": 0}]),
    st.sampled_from([20, 60, 70, 300]).map(_deep),
    st.just(["x"] * 2_000),
    st.just({f"k{n}": n for n in range(500)}),
).map(deepcopy)


def _spots(node: Any) -> list[tuple[Any, Any]]:
    """(container, key or index) of every value inside."""
    if isinstance(node, dict):
        found: list[tuple[Any, Any]] = [(node, key) for key in node]
    elif isinstance(node, list):
        found = [(node, index) for index in range(len(node))]
    else:
        return []
    return found + [spot for _, value in list(_items(node)) for spot in _spots(value)]


def _items(node: Any) -> Any:
    return node.items() if isinstance(node, dict) else enumerate(node)


@st.composite
def _spoiled(draw: st.DrawFn, payload: Any) -> Any:
    """The payload with up to MOST_SPOILS places changed, left out, doubled or added."""
    payload = deepcopy(payload)
    for _ in range(draw(st.integers(0, MOST_SPOILS))):
        spots = _spots(payload)
        if not spots:
            return draw(_HOSTILE)
        holder, key = draw(st.sampled_from(spots))
        match draw(st.sampled_from(["change", "change", "leave out", "add", "double"])):
            case "change":
                holder[key] = draw(_HOSTILE)
            case "leave out":
                del holder[key]
            case "add" if isinstance(holder, dict):
                holder[draw(st.sampled_from(["evil", "customData", "", "status"]))] = draw(_HOSTILE)
            case _ if isinstance(holder, list):
                holder += [deepcopy(holder[key]) for _ in range(draw(st.sampled_from([1, 30])))]
            case _:
                holder[key] = [holder[key]]
    return payload


@st.composite
def _broken(draw: st.DrawFn, text: str) -> str:
    """The frame with its text cut, pasted or overwritten somewhere."""
    at = draw(st.integers(0, len(text)))
    match draw(st.sampled_from(["cut", "paste", "number", "nest", "double"])):
        case "cut":
            return text[:at]
        case "paste":
            pasted = draw(st.sampled_from(['"', "\\", "{", "]", "\x00", ",", "é"]))
            return text[:at] + pasted + text[at:]
        case "number":
            return text.replace(":1", ":" + draw(st.sampled_from(RAW)), 1)
        case "nest":
            return text[:at] + draw(st.sampled_from(["[", '{"a":'])) * 3_000 + text[at:]
        case _:
            return text.replace("{", '{"customData":{"vendorId":"a"},"customData":{},', 1)


# --- frames -------------------------------------------------------------------------------------

_TYPES = st.sampled_from([2] * 30 + [3, 4, 0, 1, 5, 6, -2, 2.0, "2", None, True, [2]])
_ACTIONS = st.sampled_from(sorted(CSMS_ACTIONS))
_STRANGE_ACTIONS: st.SearchStrategy[Any] = st.sampled_from(
    [*sorted(STATION_ACTIONS), "MakeCoffee", "reset", "__class__", "", 7, None, {}]
)
_STRANGE_IDS: st.SearchStrategy[Any] = st.sampled_from(
    ["", "-1", "x" * 36, "x" * 37, 7, None, {}, "\ud800", '"', "é" * 36]
)
TRIGGERS = (
    *("Heartbeat", "StatusNotification", "TransactionEvent", "MeterValues", "Authorize"),
    "BootNotification",
)


@st.composite
def calls(draw: st.DrawFn) -> Thrown:
    """A CALL, or what pretends to be one; mostly of a known action."""
    action: Any = draw(_ACTIONS)
    payload = draw(_spoiled(draw(of_schema(action, "Request"))))
    is_strange = draw(st.integers(0, 9)) == 7
    message_id: Any = draw(_STRANGE_IDS) if is_strange else draw(st.uuids(version=4)).hex
    if draw(st.integers(0, 19)) == 7:
        action = draw(_STRANGE_ACTIONS)
    frame = [draw(_TYPES), message_id, action, payload]
    if draw(st.integers(0, 29)) == 7:
        frame = frame[: draw(st.integers(0, 3))]
    text = json.dumps(frame, ensure_ascii=draw(st.booleans()))
    return Thrown(draw(_broken(text)) if draw(st.integers(0, 9)) == 7 else text)


@st.composite
def answers(draw: st.DrawFn) -> Thrown:
    """A CALL of ours is provoked, and this is what the CSMS says to it."""
    action = draw(st.sampled_from(TRIGGERS))
    return Thrown("", action, draw(_spoiled(draw(of_schema(action, "Response")))))


def thrown() -> "st.SearchStrategy[Thrown]":
    """Nine CALLs for one answer."""
    return st.integers(0, 9).flatmap(lambda n: answers() if n == 7 else calls())
