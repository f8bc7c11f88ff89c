"""Limits of a local energy manager as the CSMS sees them (K11 to K13)."""

from collections.abc import Mapping
from math import floor

from msgspec import Struct

from agent.core.events import Now
from agent.core.local_limit import is_significant
from agent.ocpp.calls import OutgoingCall, Payload
from agent.ocpp.charging.schedule import Profile, parse
from agent.ocpp.messages import format_time

SOURCE = "EMS"
"""ChargingLimitSourceEnumType of all of them, also of what holds while the manager is silent."""
PURPOSE = "ChargingStationExternalConstraints"
UNSURE = -1.0
"""Told, but it may not have arrived."""


class External(Struct, frozen=True):
    limit_a: float
    """A per phase; whole tenths, as a schedule has them."""
    since_s: float
    """Loop time."""


class ExternalLimits:
    """What holds, by EVSE (0: the station), and what the CSMS knows of it. One message about a
    place at a time: a manager that changes its mind often is told as often as the CSMS answers."""

    def __init__(self) -> None:
        self._limits: dict[int, External] = {}
        self._told: dict[int, float] = {}
        self._asked: set[int] = set()
        """Places a message about which has no answer yet."""

    def see(self, limits: Mapping[int, float], now: Now) -> None:
        """Takes over what holds now."""
        before, self._limits = self._limits, {}
        for evse_id, limit_a in limits.items():
            new = External(floor(limit_a * 10 + 1e-6) / 10, now.mono_s)
            old = before.get(evse_id, new)
            self._limits[evse_id] = old if old.limit_a == new.limit_a else new

    def limit_a(self, evse_id: int) -> float | None:
        """A per phase; None: no limit. Taken for lasting: it is said again and again."""
        external = self._limits.get(evse_id)
        return None if external is None else external.limit_a

    def owns(self, profile_id: int) -> bool:
        """A profile of this id stands here."""
        return -1 - profile_id in self._limits

    def profiles(self, phases: Mapping[int, int], now: Now) -> tuple[Profile, ...]:
        """K11.FR.06: with negative ids, which no CSMS is likely to use. `phases` by EVSE (0: the
        station)."""
        return tuple(
            parse(_profile(evse_id, self._schedule(evse_id, phases, now)), evse_id)
            for evse_id in sorted(self._limits)
        )

    def _schedule(self, evse_id: int, phases: Mapping[int, int], now: Now) -> Payload:
        external = self._limits[evse_id]
        period = {
            "startPeriod": 0,
            "limit": external.limit_a,
            "numberPhases": phases[evse_id],
        }
        return {
            "id": 1,
            "startSchedule": format_time(now.utc_s(external.since_s)),
            "chargingRateUnit": "A",
            "chargingSchedulePeriod": [period],
        }

    @property
    def is_used(self) -> bool:
        """There is a local limit, or the CSMS may think so."""
        return bool(self._limits or self._told)

    # --- telling ----------------------------------------------------------------------------------

    def calls(
        self, percent: float, phases: Mapping[int, int] | None, now: Now
    ) -> list[OutgoingCall]:
        """What the CSMS does not know yet and is worth a message (K11.FR.02, K12.FR.02, K13.FR.02).

        `phases`: with schedules (K11.FR.03); None: without."""
        calls: list[OutgoingCall] = []
        for evse_id in sorted({*self._limits, *self._told} - self._asked):
            place = {"evseId": evse_id} if evse_id else {}
            if evse_id not in self._limits:
                del self._told[evse_id]
                calls.append(
                    OutgoingCall("ClearedChargingLimit", {"chargingLimitSource": SOURCE} | place)
                )
            elif self._is_news(evse_id, percent):
                self._told[evse_id] = self._limits[evse_id].limit_a
                limit: Payload = {"chargingLimit": {"chargingLimitSource": SOURCE}} | place
                if phases is not None:
                    limit["chargingSchedule"] = [self._schedule(evse_id, phases, now)]
                calls.append(OutgoingCall("NotifyChargingLimit", limit))
            else:
                continue
            self._asked.add(evse_id)
        return calls

    def _is_news(self, evse_id: int, percent: float) -> bool:
        told_a = self._told.get(evse_id, UNSURE)
        return told_a == UNSURE or is_significant(told_a, self._limits[evse_id].limit_a, percent)

    def answered(self, evse_id: int, *, arrived: bool) -> None:
        """What was not answered is told again with the next change or the next link."""
        self._asked.discard(evse_id)
        if not arrived:
            self._told[evse_id] = UNSURE


def _profile(evse_id: int, schedule: Payload) -> Payload:
    return {
        "id": -1 - evse_id,
        "stackLevel": 0,
        "chargingProfilePurpose": PURPOSE,
        "chargingProfileKind": "Absolute",
        "chargingSchedule": [schedule],
    }
