"""What the CSMS asked for (F06) and the core has to tell or to have measured first."""

from collections.abc import Collection

from agent.core.events import MessageTriggered, Now
from agent.core.evse import Evse
from agent.core.granting import Granting
from agent.core.main_meter import STATION, MainMeter
from agent.core.policy import Policy


def tell_asked(
    event: MessageTriggered,
    evses: Collection[Evse],
    granting: Granting,
    main_meter: MainMeter | None,
    policy: Policy,
    now: Now,
) -> list[object]:
    """How transactions stand (F06.FR.07), and values that a meter has to sign first (F06.FR.06,
    J01.FR.21); what others measured is told by whoever owns the message."""
    asked = [evse for evse in evses if event.evse_id in (0, evse.evse_id)]
    if event.message == "TransactionEvent":
        told = granting.tell_now(now) if event.evse_id == 0 else []
        return told + [effect for evse in asked for effect in evse.tell_now(now, policy)]
    if event.message != "MeterValues" or not policy.aligned_signed:
        return []
    is_station = event.is_named and event.evse_id == STATION
    effects = [effect for evse in asked if not is_station for effect in evse.sign_values(now)]
    if main_meter is not None and event.evse_id == STATION:
        effects += main_meter.sign_values(now)
    return effects
