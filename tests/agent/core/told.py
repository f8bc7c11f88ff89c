"""What tests of the core look for in effects and records."""

from agent.core import effects as ef
from agent.core.events import IdToken

GROUP = IdToken("FAMILY", "Central")
APP = IdToken("APP", "Central")
CARD = IdToken("CARD", "ISO14443")
BEGIN_TO_CHARGE = [
    ("Updated", "ChargingStateChanged", "Charging"),
]


def kinds(effects: list[object], kind: type) -> list[object]:
    return [effect for effect in effects if isinstance(effect, kind)]


def texts(effects: list[object]) -> str:
    """What the driver is shown."""
    return " | ".join(effect.text for effect in kinds(effects, ef.Show))


def end_of(p, transaction_id: str | None = None) -> tuple[str, str, str | None, str | None]:
    """Event, trigger, reason and state of the last that was told."""
    last = p.told(transaction_id)[-1]
    return last.event_type, last.trigger_reason, last.stopped_reason, last.charging_state
