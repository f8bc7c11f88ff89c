"""Security events (A04): all go into the security log, the critical ones to the CSMS, too."""

from agent.core.effects import Enqueue, LogSecurity
from agent.core.events import (
    ClockSet,
    LinkClosed,
    LinkOpened,
    Now,
    OutboxHead,
    SecurityNoted,
    Started,
    Tick,
)
from agent.ocpp.block import Consequences
from agent.ocpp.device_model import VariablesSet
from agent.ocpp.entry import PREFIX
from agent.ocpp.messages import dump, open_stamp
from agent.ocpp.network import PRIORITY_KEY, NetworkProfileSet
from agent.ocpp.security import CRITICAL
from agent.ocpp.view import View

UNPLANNED = frozenset({"PowerUp", "Unknown"})
NEARLY_FULL = 0.9
"""Share of the outbox."""
TECH_INFO = 255
"""Characters of techInfo."""
SAME_AGAIN_S = 60.0
"""A trifle that repeats itself is not written sooner: it must not push the rest out of the log."""

OF_SECURITY = (f"{PREFIX}SecurityCtrlr/", PRIORITY_KEY)
"""How the state keys of variables begin that decide who is trusted."""
STEP_S = 1.0
"""The least that TimeAdjustmentReportingThreshold may say; clocks breathe by less."""

TRIFLES = frozenset({"InvalidMessages"})
"""What anybody who can send a frame can cause as often as he likes."""


def started(event: Started, view: View, now: Now) -> Consequences:
    """A04.FR.01: a start is a critical event."""
    view.security.utc_offset_s = now.utc_offset_s
    kind = "StartupOfTheDevice" if event.boot_reason in UNPLANNED else "ResetOrReboot"
    return Consequences(events=(SecurityNoted(kind),))


def noted(event: SecurityNoted, view: View, now: Now) -> Consequences:
    written_s = view.security.written_s.get(event.type, float("-inf"))
    if now.mono_s - written_s < SAME_AGAIN_S and event.type in TRIFLES:
        return Consequences()
    left_out = view.security.admits(event.type, now.mono_s)
    if left_out is None:
        return Consequences()
    view.security.written_s[event.type] = now.mono_s
    info = f"{left_out} before it were left out; {event.info}" if left_out else event.info
    line = LogSecurity(event.type, now.utc_s(), info)
    if event.type not in CRITICAL:
        return Consequences(effects=(line,))
    body = {"type": event.type, "timestamp": open_stamp(now.at_s)}
    if info:
        body["techInfo"] = info[:TECH_INFO]
    row = Enqueue(now.new_id(), "SecurityEventNotification", dump(body), True, "Critical")
    return Consequences(effects=(row, line))


def link_closed(event: LinkClosed, view: View, now: Now) -> Consequences:
    """A00.FR.310, FR.316, FR.323: once for each outage, however often it is dialled meanwhile."""
    kind = event.security_event
    if not kind or kind in view.security.of_outage:
        return Consequences()
    view.security.of_outage.add(kind)
    return Consequences(events=(SecurityNoted(kind, event.reason),))


def outbox_seen(event: OutboxHead, view: View, now: Now) -> Consequences:
    """MemoryExhaustion: told once, and again after it had room."""
    full = view.facts.queue_rows * NEARLY_FULL
    if event.waiting < full / 2:
        view.security.is_full = False
    if view.security.is_full or full == 0 or event.waiting < full:
        return Consequences()
    view.security.is_full = True
    words = f"{event.waiting} messages wait for the CSMS, {view.facts.queue_rows} find room"
    return Consequences(events=(SecurityNoted("MemoryExhaustion", words),))


def variables_set(event: VariablesSet, view: View, now: Now) -> Consequences:
    """ReconfigurationOfSecurityParameters, A01.FR.11; the new values are not told (A01.FR.12)."""
    names = [c.key.removeprefix(PREFIX) for c in event.changes if c.key.startswith(OF_SECURITY)]
    return _reconfigured(f"{', '.join(names)} changed") if names else Consequences()


def profile_set(event: NetworkProfileSet, view: View, now: Now) -> Consequences:
    profile = event.profile
    return _reconfigured(
        f"network slot {event.number}: security profile {profile.security_profile}"
    )


def _reconfigured(words: str) -> Consequences:
    return Consequences((SecurityNoted("ReconfigurationOfSecurityParameters", words),))


def link_opened(event: LinkOpened, view: View, now: Now) -> Consequences:
    view.security.of_outage.clear()
    return Consequences()


def clock_moved(event: ClockSet | Tick, view: View, now: Now) -> Consequences:
    """SettingSystemTime, by the CSMS, by NTP or by hand: the loop's clock is as it was, what it
    means in UTC changed."""
    before_s = view.security.utc_offset_s
    if before_s is not None and abs(now.utc_offset_s - before_s) < STEP_S:
        return Consequences()
    view.security.utc_offset_s = now.utc_offset_s
    threshold_s = float(view.variables.value("ClockCtrlr", "TimeAdjustmentReportingThreshold"))
    if before_s is None or abs(now.utc_offset_s - before_s) <= threshold_s:
        return Consequences()
    words = f"the time was wrong by {now.utc_offset_s - before_s:.0f} s"
    return Consequences(events=(SecurityNoted("SettingSystemTime", words),))
