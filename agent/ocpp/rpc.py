"""Frames of OCPP-J (Part 4, chapter 4): text to values and back."""

import json
import math
import re
from typing import Any

from msgspec import Struct

from agent.ocpp.calls import Payload
from agent.ocpp.messages import dump

MAX_BYTES = 262_144
MAX_DEPTH = 64
MAX_ID = 36
NO_ID = "-1"
"""Message id of an answer to a frame whose own id cannot be read (4.2.3)."""

LONGEST_START = 500
"""Room for type and id, each character of it written as two escapes."""

BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)
"""A bracket, or a string: one that never closes runs to the end, so that a scan stays linear."""
FRAME_START = re.compile(
    r"\s*\[\s*(-?[0-9]{1,9})\s*"
    r'(?:,\s*("(?:[^"\\\x00-\x1f]|\\u[0-9a-fA-F]{4}|\\["\\/bfnrt]){1,72}")\s*[,\]])?'
)
"""Type and id of a frame whose rest cannot be parsed."""


PLAIN_YES = re.compile(r'\[ ?3, ?"([ !#-\[\]-~]{1,36})", ?\{ ?\} ?\]')
"""A CALLRESULT that says nothing more, the answer to most events: needs no parser."""


class Call(Struct, frozen=True):
    message_id: str
    action: str
    payload: Payload


class CallResult(Struct, frozen=True):
    message_id: str
    payload: Payload


class CallErrorFrame(Struct, frozen=True):
    """The peer refused our CALL; or, with the id "-1", some frame it could not read."""

    message_id: str
    code: str
    description: str
    details: Payload


class Malformed(Struct, frozen=True):
    """A frame that means nothing: `reply` is the CALLERROR to send, `reason` is for the log.

    `answers`: id of the CALL of ours that the frame was meant to answer; nothing better will come.
    `is_result`: it was no refusal, so the CALL has arrived.
    """

    reply: str | None
    reason: str
    answers: str | None = None
    is_result: bool = False


Frame = Call | CallResult | CallErrorFrame | Malformed


class _Refused(ValueError):
    """JSON that no OCPP message contains."""


# --- in ---------------------------------------------------------------------------------------


def parse(text: str, max_bytes: int = MAX_BYTES) -> Frame:
    """What a text frame says. Never raises."""
    plain = PLAIN_YES.fullmatch(text)
    if plain is not None:
        return CallResult(plain[1], {})
    if len(text) > max_bytes or len(text.encode("utf-8", "surrogatepass")) > max_bytes:
        return _unreadable(text, f"the frame is longer than {max_bytes} bytes")
    if _too_deep(text):
        return _unreadable(text, f"the frame is nested deeper than {MAX_DEPTH} levels")
    try:
        frame = _DECODER.decode(text)
        if "\\u" in text or not text.isascii():
            json.dumps(frame, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return _unreadable(text, "the frame holds half a surrogate pair")
    except _Refused as error:
        return _unreadable(text, str(error))
    except (ValueError, RecursionError):
        return _unreadable(text, "the frame is not valid JSON")
    if not isinstance(frame, list):
        return _refuse(NO_ID, "RpcFrameworkError", "a frame must be a JSON array")
    if not frame or type(frame[0]) is not int:
        return _refuse(_id_of(frame), "RpcFrameworkError", "the message type must be an integer")
    return _typed(frame)


def _typed(frame: list[Any]) -> Frame:
    match frame[0]:
        case 2:
            return _call(frame)
        case 3:
            return _call_result(frame)
        case 4:
            return _call_error(frame)
    text = "only the message types 2, 3 and 4 are supported"
    return _refuse(_id_of(frame), "MessageTypeNotSupported", text)


def _call(frame: list[Any]) -> Call | Malformed:
    message_id = _id_of(frame)
    if message_id == NO_ID:
        text = "the message id must be a string of 1 to 36 characters"
        return _refuse(NO_ID, "RpcFrameworkError", text)
    if len(frame) != 4:
        return _refuse(message_id, "RpcFrameworkError", "a CALL must have 4 elements")
    action, payload = frame[2], frame[3]
    if not isinstance(action, str):
        return _refuse(message_id, "RpcFrameworkError", "the action must be a string")
    if payload is not None and not isinstance(payload, dict):
        return _refuse(message_id, "FormatViolation", "the payload must be a JSON object")
    # 4.1.5 lets an empty payload be written as null
    return Call(message_id, action, payload or {})


def _call_result(frame: list[Any]) -> CallResult | Malformed:
    message_id = _id_of(frame)
    if message_id == NO_ID:
        return Malformed(None, "a CALLRESULT without a usable message id")
    if len(frame) != 3 or not (frame[2] is None or isinstance(frame[2], dict)):
        return Malformed(None, "a CALLRESULT must be [3, id, object]", message_id, True)
    return CallResult(message_id, frame[2] or {})


def _call_error(frame: list[Any]) -> CallErrorFrame | Malformed:
    """Lenient after the id: a refusal in bad form still is a refusal."""
    if len(frame) < 2 or not _is_id(frame[1]):
        return Malformed(None, "a CALLERROR without a usable message id")
    code, description, details = (*frame[2:5], None, None, None)[:3]
    return CallErrorFrame(
        frame[1],
        code[:50] if isinstance(code, str) and code else "GenericError",
        description[:255] if isinstance(description, str) else "",
        details if isinstance(details, dict) else {},
    )


def _is_id(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= MAX_ID


def _id_of(frame: list[Any]) -> str:
    """The message id, or "-1" where there is none to answer to."""
    return frame[1] if len(frame) > 1 and _is_id(frame[1]) else NO_ID


def _refuse(message_id: str, code: str, description: str) -> Malformed:
    return Malformed(error(message_id, code, description), description)


def _unreadable(text: str, reason: str) -> Malformed:
    """Answer to a frame that did not parse, by what its first characters tell."""
    start = FRAME_START.match(text[:LONGEST_START])
    message_type, written_id = start.groups() if start else (None, None)
    message_id = json.loads(written_id) if written_id else None
    message_id = message_id if _is_id(message_id) else None
    if message_type in ("3", "4"):
        return Malformed(None, reason, message_id, message_type == "3")
    if message_type == "2" and message_id and _is_text(message_id):
        return _refuse(message_id, "FormatViolation", reason)
    return _refuse(NO_ID, "RpcFrameworkError", reason)


def _is_text(value: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in value)


def _too_deep(text: str) -> bool:
    """Counts brackets before the parser recurses into them."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    depth = 0
    for match in BRACKET.finditer(text):
        if match[0] in ("[", "{"):
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif match[0] in ("]", "}"):
            depth -= 1
    return False


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Refused("an object names a field twice")
    return members


def _integer(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= (value := int(digits)) < 2**63:
        raise _Refused("a number is out of range")
    return value


def _float(digits: str) -> float:
    if not math.isfinite(value := float(digits)):
        raise _Refused("a number is out of range")
    return value


def _constant(name: str) -> float:
    raise _Refused(f"{name} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_float, parse_constant=_constant
)


# --- out --------------------------------------------------------------------------------------

_ascii = json.encoder.encode_basestring_ascii


def call(message_id: str, action: str, payload: Payload) -> str:
    """A CALL. Raises ValueError for a payload that is no clean JSON."""
    return call_text(message_id, action, dump(payload))


def call_text(message_id: str, action: str, body_json: str) -> str:
    """A CALL around a payload that already is JSON text."""
    return f"[2,{_ascii(message_id)},{_ascii(action)},{body_json}]"


def result(message_id: str, payload: Payload) -> str:
    """A CALLRESULT. Raises ValueError for a payload that is no clean JSON."""
    return f"[3,{_quote(message_id)},{dump(payload)}]"


def error(message_id: str, code: str, description: str = "") -> str:
    """A CALLERROR without details; the description is cut to 255 characters (4.2.3)."""
    return f"[4,{_quote(message_id)},{_quote(code)},{_quote(description[:255])},{{}}]"


def _quote(text: str) -> str:
    return json.dumps(text.encode("utf-8", "replace").decode(), ensure_ascii=False)
