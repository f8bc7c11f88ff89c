"""Security events as rows of the outbox (A04); critical ones are durable."""

from agent.core.effects import Enqueue
from agent.core.events import Now
from agent.ocpp.calls import Payload
from agent.ocpp.messages import dump, open_stamp


def security_event(kind: str, now: Now, tech_info: str = "", *, offline: bool = True) -> Enqueue:
    """A critical event of now; `tech_info` holds at most 255 characters and no secret."""
    payload: Payload = {"type": kind, "timestamp": open_stamp(now.mono_s)}
    if tech_info:
        payload["techInfo"] = tech_info[:255]
    return Enqueue(now.new_id(), "SecurityEventNotification", dump(payload), offline, "Critical")
