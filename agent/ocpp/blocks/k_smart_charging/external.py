"""K11 to K13: what a local energy manager allows is told to the CSMS."""

from agent.core.events import CsmsReached, Now
from agent.core.local_limit import LocalLimitsChanged
from agent.ocpp.block import Consequences, Payload
from agent.ocpp.view import View


def phases_of(view: View) -> dict[int, int]:
    """By EVSE; 0: the station, with those of its widest EVSE."""
    found = {evse_id: view.facts.phases(evse_id) for evse_id in view.station.evse_ids}
    return {**found, 0: max(found.values())}


def limits_changed(event: LocalLimitsChanged, view: View, now: Now) -> Consequences:
    """K11.FR.02, K12.FR.02, K13.FR.02; while offline the CSMS hears of it at the next link."""
    view.profiles.external.see(event.limits, now)
    return _told(view, now)


def reached(event: CsmsReached, view: View, now: Now) -> Consequences:
    """What changed while it was away."""
    return _told(view, now)


def answered(request: Payload, response: Payload | None, view: View, now: Now) -> Consequences:
    """What changed meanwhile follows. A CSMS that refused is not asked again for the same."""
    view.profiles.external.answered(request.get("evseId", 0), arrived=response is not None)
    return _told(view, now) if response is not None else Consequences()


def _told(view: View, now: Now) -> Consequences:
    external = view.profiles.external
    if not external.is_used or not view.connection.online:
        return Consequences()
    read = view.variables.value
    percent = float(read("SmartChargingCtrlr", "LimitChangeSignificance"))
    with_schedules = read("SmartChargingCtrlr", "NotifyChargingLimitWithSchedules") == "true"
    phases = phases_of(view) if with_schedules else None
    return Consequences(effects=tuple(external.calls(percent, phases, now)))
