"""Block A: a start is a security event."""

import json
from types import SimpleNamespace
from typing import Any

import msgspec
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


@pytest.mark.parametrize("kind", ["InvalidFirmwareSigningCertificate", "ReconfigurationOfX"])
def test_a_flood_of_one_kind_is_counted_and_not_kept(kind: str) -> None:
    """A CSMS can cause most of them; each critical one waits on the disk for its answer."""
    view: Any = SimpleNamespace(security=SecurityMemory())
    told = []
    for second in range(3 * 3600):
        later = msgspec.structs.replace(NOW, mono_s=NOW.mono_s + second)
        told += noted.noted(SecurityNoted(kind, "why"), view, later).effects
    lines = [effect for effect in told if isinstance(effect, LogSecurity)]
    assert len(lines) == 20 + 3 * 6 - 1
    assert [line.info for line in lines[:20]] == ["why"] * 20
    assert lines[-1].info == "599 before it were left out; why"
    assert noted.noted(SecurityNoted("Another"), view, NOW).effects, "each kind has its own room"
