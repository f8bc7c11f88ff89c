"""What a failed attempt or a broken link means to the technician, and to the list of security
events."""

import socket
import ssl
from typing import TYPE_CHECKING

from agent.core.effects import Dial
from agent.csms.tls import security_event

if TYPE_CHECKING:
    from websockets.exceptions import ConnectionClosed, InvalidStatus

MAX_BYTES = 1_048_576
"""Above this the socket is closed (1009); from 256 KiB on `rpc` answers with a CALLERROR."""
PONG_TIMEOUT_S = 20.0

STATUS_WORDS = {
    401: "the CSMS refused the password (HTTP 401); compare csms.password and station.identity "
    "with what the CSMS has",
    403: "the CSMS forbids this station (HTTP 403); have it released there",
    404: "the CSMS does not know this address or station (HTTP 404); compare csms.url and "
    "station.identity with what the CSMS has; one that wants a slash at the end gets it by "
    "csms.url: .../{identity}/",
    426: "the CSMS wants another kind of connection (HTTP 426); check that csms.url is its OCPP "
    "endpoint",
    429: "the CSMS is dialled too often (HTTP 429); wait, the next attempts come slower",
}

CLOSE_WORDS = {
    1000: "the CSMS closed the link normally",
    1001: "the CSMS is going away, perhaps for maintenance",
    1002: "the CSMS found an error in the websocket protocol",
    1007: "a frame was not UTF-8",
    1008: "the CSMS closed the link by its policy; ask its operator why",
    1009: f"a frame was larger than allowed (ours to receive: {MAX_BYTES} bytes)",
    1011: "the CSMS has an internal error",
    1012: "the CSMS restarts",
    1013: "the CSMS is overloaded",
}


def dialling_words(error: Exception, dial: Dial) -> str | None:
    """What a failed attempt means and what to do; None when it is no trouble of the network."""
    from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus

    match error:
        case TimeoutError():
            return (
                f"no answer within {dial.open_timeout_s:g} s; check network, firewall and port, "
                "and that the CSMS runs"
            )
        case socket.gaierror():
            return "the host name cannot be resolved; check csms.url and the DNS of the network"
        case ssl.SSLCertVerificationError():
            return (
                f"the CSMS's certificate is not trusted ({error.verify_message}); install its "
                "root certificate, check its host name, and check the clock of this board"
            )
        case ssl.SSLError() if security_event(error) == "FailedToAuthenticateAtCsms":
            return (
                f"the CSMS does not accept this station's certificate ({error.reason}); have a new "
                "one signed by the CSMS, or name its certificate_file in charger.yaml"
            )
        case ssl.SSLError():
            return (
                f"TLS failed ({error.reason or 'no reason given'}); check that the port speaks "
                "TLS 1.2 or newer with ECDHE and AES-GCM"
            )
        case ConnectionRefusedError():
            return "nothing listens there; check host and port in csms.url, and that the CSMS runs"
        case ConnectionError() | InvalidMessage() | EOFError() if dial.security_profile == 3:
            return (
                "the other side cut the connection in or right after the TLS handshake: perhaps it "
                "does not accept this station's certificate; compare its name and its signer with "
                "what the CSMS expects, and the port in csms.url"
            )
        case ConnectionError():
            return (
                "the other side cut the connection at once; check the port, and ws:// against "
                "wss:// in csms.url"
            )
        case InvalidStatus():
            return _status_words(error)
        case InvalidMessage() | EOFError():
            return (
                "the other side does not speak HTTP; check the port, and ws:// against wss:// in "
                "csms.url"
            )
        case InvalidHandshake():
            return f"the websocket handshake failed ({error}); check that csms.url is right"
        case OSError():
            trouble = error.strerror or str(error) or "the network failed"
            return f"{trouble}; check cable, modem and the route to the CSMS"
    return None


def _status_words(error: "InvalidStatus") -> str:
    status = error.response.status_code
    if 300 <= status < 400:
        target = error.response.headers.get("Location", "an unnamed address")
        return (
            f"the CSMS redirects to {target[:300]} (HTTP {status}); if that is right, set it as "
            "csms.url"
        )
    if 200 <= status < 300:
        return (
            f"a web page answers instead of the CSMS (HTTP {status}), perhaps the login page of "
            "this network; release the charger there, or correct csms.url"
        )
    if status >= 500:
        return f"the CSMS or its proxy is broken or down (HTTP {status}); ask its operator"
    default = f"the CSMS refused the connection (HTTP {status}); ask its operator"
    return STATUS_WORDS.get(status, default)


def closing_words(error: "ConnectionClosed") -> str:
    """Why an open link ended."""
    if error.rcvd is not None and not (error.sent is not None and error.rcvd_then_sent is False):
        code, reason = error.rcvd.code, error.rcvd.reason
        words = CLOSE_WORDS.get(code, "the CSMS closed the link")
        said = f", saying {reason[:123]!r}" if reason else ""
        return f"{words} (code {code}{said}); dialling again"
    if error.sent is not None and "ping" in error.sent.reason:
        return f"no pong within {PONG_TIMEOUT_S:g} s: the network is gone; dialling again"
    if error.sent is not None:
        words = CLOSE_WORDS.get(error.sent.code, "this side closed the link")
        words = "this side closed the link" if error.sent.code in (1000, 1001) else words
        return f"{words} (code {error.sent.code}, sent by this side); dialling again"
    return "the connection broke without a goodbye; check the network if this repeats"


def trouble_of(error: Exception) -> str:
    """Name of a failed attempt in the standard's list of security events, or ""."""
    from websockets.exceptions import InvalidStatus

    if isinstance(error, InvalidStatus):
        return "FailedToAuthenticateAtCsms" if error.response.status_code in (401, 403) else ""
    return security_event(error)
