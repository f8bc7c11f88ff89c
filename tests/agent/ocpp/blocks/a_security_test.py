"""Block A: a start is a security event."""

import json
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from agent.core.effects import Enqueue, LogSecurity
from agent.core.events import (
    CertificateFacts,
    ClockSet,
    FrameReceived,
    Now,
    SecurityNoted,
    Started,
    StopCause,
    Tick,
)
from agent.ocpp.blocks import a_security
from agent.ocpp.blocks.a_security import certificate, noted
from agent.ocpp.device_model import Change, VariablesSet
from agent.ocpp.messages import close_stamps, validate_request
from agent.ocpp.security import SecurityMemory
from agent.ocpp.station_certificate import KEY, Identity, Kept, StationCertificate
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


def moved(view: Any, kind: type, offset_s: float) -> list[str]:
    """Types noted when the time turns out to be by so much another one than at the start."""
    now = msgspec.structs.replace(NOW, utc_offset_s=NOW.utc_offset_s + offset_s)
    event = kind(1e9, 0.0) if kind is ClockSet else kind()
    return [noted_.type for noted_ in noted.clock_moved(event, view, now).events]


@pytest.mark.parametrize("kind", [ClockSet, Tick])
def test_a_step_of_the_clock_is_noted_whoever_made_it(kind: type) -> None:
    """By the CSMS, which is an event of its own; by NTP or by hand, which the next tick sees."""
    view: Any = SimpleNamespace(
        security=SecurityMemory(), variables=SimpleNamespace(value=lambda *_: "20")
    )
    noted.started(Started(StopCause.REBOOT, "PowerUp"), view, NOW)
    assert moved(view, kind, 0.5) == []
    assert moved(view, kind, 19.0) == []
    assert moved(view, kind, 60.0) == ["SettingSystemTime"]
    assert moved(view, kind, 60.0) == [], "once"
    assert moved(view, kind, -60.0) == ["SettingSystemTime"]


def changed(*keys: str) -> VariablesSet:
    return VariablesSet(tuple(Change(key, "16-secret-letters") for key in keys))


def test_what_decides_who_is_trusted_is_noted_without_its_value() -> None:
    """A01.FR.11, FR.12."""
    found = noted.variables_set(
        changed(
            "var/SecurityCtrlr/BasicAuthPassword",
            "var/OCPPCommCtrlr/HeartbeatInterval",
            "var/SecurityCtrlr/AllowCSMSTLSWildcards",
            "var/OCPPCommCtrlr/NetworkConfigurationPriority",
        ),
        SimpleNamespace(),  # type: ignore[arg-type]
        NOW,
    )
    (event,) = found.events
    assert event == SecurityNoted(
        "ReconfigurationOfSecurityParameters",
        "SecurityCtrlr/BasicAuthPassword, SecurityCtrlr/AllowCSMSTLSWildcards,"
        " OCPPCommCtrlr/NetworkConfigurationPriority changed",
    )
    ordinary = changed("var/OCPPCommCtrlr/HeartbeatInterval")
    assert not noted.variables_set(ordinary, SimpleNamespace(), NOW).events  # type: ignore[arg-type]


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


def test_a_link_that_shows_no_certificate_proves_none() -> None:
    """A02.FR.10: the new one was shown in vain, then a slot of a lower profile answered."""
    facts = CertificateFacts("f", "1", "CP", "Bench", 0.0, 4e9, False, {})
    own = StationCertificate({KEY: msgspec.json.encode(Kept(Identity("a", "old", facts))).decode()})
    own.install(Identity("b", "new", facts))
    assert (own.to_show(0) or own.all[1]).chain == "new"
    slots = [SimpleNamespace(security_profile=profile) for profile in (3, 2)]
    connection = SimpleNamespace(slots=slots, slot=1)
    view: Any = SimpleNamespace(station_certificate=own, connection=connection)
    assert certificate.heard(FrameReceived("[]"), view, NOW).effects == ()
    assert own.count == 2
    connection.slot = 0
    assert certificate.heard(FrameReceived("[]"), view, NOW).effects
    assert own.count == 1
