"""What a CSMS can find wrong with a station's frames: schemas of the `ocpp` package, and more."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import ocpp.messages
from ocpp.exceptions import OCPPError

ocpp.messages.ASYNC_VALIDATION = False

ERROR_CODES = frozenset(
    {
        "FormatViolation",
        "GenericError",
        "InternalError",
        "MessageTypeNotSupported",
        "NotImplemented",
        "NotSupported",
        "OccurrenceConstraintViolation",
        "PropertyConstraintViolation",
        "ProtocolError",
        "RpcFrameworkError",
        "SecurityError",
        "TypeConstraintViolation",
    }
)
"""OCPP-J 4.3."""

OWN_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z", re.ASCII)
VENDOR_FIELDS = frozenset({"customData", "data"})


def read_json(text: str) -> tuple[Any, list[str]]:
    """The frame, and what is wrong with it as JSON (RFC 8259); None when it cannot be read."""
    problems: list[str] = []

    def constant(name: str) -> float:
        problems.append(f"{name} is not JSON")
        return 0.0

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            problems.append("an object names a field twice")
        return dict(pairs)

    try:
        frame = json.loads(text, parse_constant=constant, object_pairs_hook=members)
        text.encode()
    except (ValueError, RecursionError) as error:
        return None, [f"unreadable: {error}"]
    return frame, problems


def payload_problems(message: "ocpp.messages.Call | ocpp.messages.CallResult") -> list[str]:
    """What is wrong with a payload: against its schema, and against the rules beside it."""
    if not isinstance(message.payload, dict):
        return ["the payload is not an object"]
    problems = []
    try:
        ocpp.messages._validate_payload(message, "2.0.1")
    except OCPPError as error:
        cause = error.details.get("cause", "") if isinstance(error.details, dict) else ""
        problems.append(f"{error.code}: {str(cause)[:300]}")
    return problems + list(_value_problems(message.payload, ""))


def _value_problems(node: Any, path: str) -> Iterator[str]:
    """Nulls, empty lists and objects (OCPP-J 4.1.5), and times (Part 2, 3.1)."""
    if node is None:
        yield f"{path} is null"
    elif isinstance(node, list | dict) and not node and path:
        yield f"{path} is empty and should be left out"
    elif isinstance(node, dict):
        for key, value in node.items():
            where = f"{path}.{key}".lstrip(".")
            if key in time_fields() and not (isinstance(value, str) and OWN_TIME.fullmatch(value)):
                yield f"{where} is {value!r}, not RFC 3339 in UTC with Z and at most 3 digits"
            elif value is None or key not in VENDOR_FIELDS:
                yield from _value_problems(value, where)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _value_problems(value, f"{path}[{index}]")


@cache
def time_fields() -> frozenset[str]:
    """Names of all fields that some schema of OCPP 2.0.1 declares a dateTime."""
    found = set()
    for path in (Path(ocpp.messages.__file__).parent / "v201" / "schemas").glob("*.json"):
        schema = json.loads(path.read_text(encoding="utf-8-sig"))
        for part in [schema, *schema.get("definitions", {}).values()]:
            for name, rule in part.get("properties", {}).items():
                if rule.get("format") == "date-time":
                    found.add(name)
    return frozenset(found)


def call_error_problems(frame: list[Any]) -> list[str]:
    """OCPP-J 4.2.3: five elements, a code of the table, at most 255 characters, an object."""
    if len(frame) != 5:
        return ["a CALLERROR must have 5 elements"]
    problems = []
    if frame[2] not in ERROR_CODES:
        problems.append(f"{frame[2]!r} is no error code of OCPP 2.0.1")
    if not isinstance(frame[3], str) or len(frame[3]) > 255:
        problems.append("the error description must be a string of at most 255 characters")
    if not isinstance(frame[4], dict):
        problems.append("the error details must be an object")
    return problems


class TransactionBook:
    """TransactionEvents by transaction, and what is wrong with their sequence (Part 2, 3.13 E)."""

    def __init__(self) -> None:
        self.events: dict[str, list[dict[str, Any]]] = {}

    def enter(self, payload: dict[str, Any], gaps_allowed: bool = False) -> list[str]:
        """Add an event that was not sent before; returns what is wrong with its place."""
        info = payload.get("transactionInfo")
        transaction_id = info.get("transactionId") if isinstance(info, dict) else None
        if not isinstance(transaction_id, str):
            return ["a TransactionEvent without a transactionId"]
        earlier = self.events.setdefault(transaction_id, [])
        problems = self._sequence_problems(payload, earlier, gaps_allowed)
        earlier.append(payload)
        return [f"transaction {transaction_id}: {problem}" for problem in problems]

    @staticmethod
    def _sequence_problems(
        payload: dict[str, Any], earlier: list[dict[str, Any]], gaps_allowed: bool
    ) -> list[str]:
        problems = []
        seq_no, kind = payload.get("seqNo"), payload.get("eventType")
        last = earlier[-1].get("seqNo") if earlier else -1
        if not isinstance(seq_no, int) or not isinstance(last, int):
            return ["seqNo is not a number"]
        if seq_no != last + 1 and not (gaps_allowed and seq_no > last):
            problems.append(f"seqNo {seq_no} follows {last}")
        if (kind == "Started") != (not earlier):
            problems.append(f"{kind} as event number {len(earlier) + 1}")
        if earlier and earlier[-1].get("eventType") == "Ended":
            problems.append(f"{kind} after Ended")
        return problems
