"""Block A: a start is a security event."""

import json
from typing import Any

import pytest

from agent.core.effects import Enqueue
from agent.core.events import Now, Started, StopCause
from agent.ocpp.blocks import a_security
from agent.ocpp.messages import close_stamps, validate_request
from drivers.contract import Permit

NOW = Now(100.0, 1e9, True, "b", Permit(0), lambda: 0.5, lambda: "id")
NO_VIEW: Any = None


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
    (effect,) = a_security.ON_EVENT[Started](started, NO_VIEW, NOW).effects
    assert isinstance(effect, Enqueue)
    assert effect.action == "SecurityEventNotification"
    assert effect.event_type not in ("Started", "Updated", "Ended"), "never thinned out"
    body = json.loads(close_stamps(effect.body, NOW.utc_s))
    validate_request("SecurityEventNotification", body)
    assert body["type"] == kind
