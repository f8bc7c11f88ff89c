"""Block A: a start is a security event."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from agent.core.effects import Enqueue, LogSecurity
from agent.core.events import Now, SecurityNoted, Started, StopCause
from agent.ocpp.blocks import a_security
from agent.ocpp.blocks.a_security import noted
from agent.ocpp.messages import close_stamps, validate_request
from agent.ocpp.security import SecurityMemory
from drivers.contract import Permit

NOW = Now(100.0, 1e9, True, "b", Permit(0), lambda: 0.5, lambda: "id")


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("PowerUp", "StartupOfTheDevice"),
        ("Unknown", "StartupOfTheDevice"),
        ("Watchdog", "ResetOrReboot"),
        ("ApplicationReset", "ResetOrReboot"),
        ("RemoteReset", "ResetOrReboot"),
    ],
)
def test_a_start_is_queued_as_a_critical_event(reason: str, kind: str) -> None:
    started = Started(StopCause.REBOOT, reason)
    view: Any = SimpleNamespace(security=SecurityMemory())
    (event,) = noted.started(started, view, NOW).events
    effect, line = a_security.ON_EVENT[SecurityNoted](event, view, NOW).effects
    assert line == LogSecurity(kind, NOW.utc_s())
    assert isinstance(effect, Enqueue)
    assert effect.action == "SecurityEventNotification"
    assert effect.event_type not in ("Started", "Updated", "Ended"), "never thinned out"
    body = json.loads(close_stamps(effect.body, NOW.utc_s))
    validate_request("SecurityEventNotification", body)
    assert body["type"] == kind
