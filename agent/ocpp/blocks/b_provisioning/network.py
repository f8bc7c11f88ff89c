"""SetNetworkProfile (B09): fills a slot, used from the next start if the priority says so."""

from urllib.parse import urlsplit

from agent.core.events import Now
from agent.ocpp.block import Answer, Consequences, Payload, refused
from agent.ocpp.network import SLOT_NUMBERS, NetworkProfile, NetworkProfileSet, save_profile
from agent.ocpp.view import View

SCHEMES = {1: "ws", 2: "wss", 3: "wss"}
"""Security profile -> scheme."""
LONGEST_MESSAGE_TIMEOUT_S = 600


def set_network_profile(payload: Payload, view: View, now: Now) -> Answer:
    """Accepted once it is durable; the profile in use cannot be overwritten: it is the way back
    (B09.FR.02, FR.04, FR.05)."""
    number, data = payload["configurationSlot"], payload["connectionData"]
    connection = view.connection
    in_use = connection.slots[connection.slot]
    if number not in SLOT_NUMBERS:
        return refused("InvalidConfSlot", f"slots are {SLOT_NUMBERS[0]} to {SLOT_NUMBERS[-1]}")
    if number == in_use.number:
        return refused("InvalidConfSlot", "this slot is in use now; set another one")
    if data["securityProfile"] < in_use.security_profile:
        return refused("NoSecurityDowngrade")
    if problem := _problem(data):
        return refused("InvalidNetworkConf", problem)
    profile = NetworkProfile(data["ocppCsmsUrl"], data["securityProfile"], data["messageTimeout"])
    return Answer(
        {"status": "Accepted"},
        events=(NetworkProfileSet(number, profile),),
        effects=(save_profile(number, profile),),
    )


def _problem(data: Payload) -> str:
    """Why this station could not connect with that, or ""."""
    if data["ocppVersion"] != "OCPP20" or data["ocppTransport"] != "JSON":
        return "only OCPP20 over JSON is spoken here"
    if "apn" in data or "vpn" in data:
        return "mobile networks and VPNs are set up on the board, not here"
    if data["securityProfile"] not in SCHEMES:
        return "security profile 1, 2 or 3 is possible"
    if not 1 <= data["messageTimeout"] <= LONGEST_MESSAGE_TIMEOUT_S:
        return f"messageTimeout is 1 to {LONGEST_MESSAGE_TIMEOUT_S} s"
    return _url_problem(data["ocppCsmsUrl"], SCHEMES[data["securityProfile"]])


def _url_problem(url: str, scheme: str) -> str:
    wrong = f"ocppCsmsUrl must be {scheme}://host[:port]/path without a user"
    try:
        parts = urlsplit(url)
        is_good = parts.port != 0 and parts.scheme == scheme and bool(parts.hostname)
    except ValueError:
        return wrong
    has_more = "@" in parts.netloc or bool(parts.query) or bool(parts.fragment)
    is_clean = url.isascii() and url.isprintable() and " " not in url
    return "" if is_good and is_clean and not has_more else wrong


def profile_set(event: NetworkProfileSet, view: View, now: Now) -> Consequences:
    view.network.handle(event)
    return Consequences()
