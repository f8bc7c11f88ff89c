"""The charging profiles a station holds, and the limits that follow from them now."""

from collections.abc import Mapping
from math import floor, inf

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from agent.core.effects import Log, Save
from agent.core.events import (
    ClockSet,
    CurrentLimited,
    Now,
    Started,
    Tick,
    TransactionEnded,
    TransactionStarted,
)
from agent.ocpp.calls import Payload
from agent.ocpp.charging.external import ExternalLimits
from agent.ocpp.charging.schedule import Limit, Profile, leading, parse

KEY = "profile/"
"""The store's keys are this and the profile's id."""
STATION_MAX = "ChargingStationMaxProfile"
CLOCK_NOISE_S = 0.01
"""Two readings of loop time and UTC do not agree better; an edge is found early by no more."""
EDGE_SLACK_S = 0.001
"""An edge is acted on this much late: a timer that fires a little early finds it passed."""

Outcome = tuple[list[object], list[object]]
"""(events, effects)"""


class ProfileSet(Struct, frozen=True):
    """SetChargingProfile was accepted (K01); the profile has passed the rules."""

    evse_id: int
    profile: Payload


class StartProfileSet(Struct, frozen=True):
    """RequestStartTransaction was accepted with a profile (K05) for the transaction it leads to."""

    evse_id: int
    remote_start_id: int
    profile: Payload


class StartsLapsed(Struct, frozen=True):
    """What was requested there was refused, or nobody came: its profile is for nobody else."""

    evse_ids: tuple[int, ...]


class ReadyToDeliver(Struct, frozen=True):
    """The driver is authorised and the EV connected: Relative schedules begin (K01.FR.42).

    `remote_start_id`: of the requested start that brought the driver."""

    evse_id: int
    at_s: float
    remote_start_id: int | None = None


class ProfilesCleared(Struct, frozen=True):
    """ClearChargingProfile was accepted (K10)."""

    profile_ids: tuple[int, ...]


class Running(Struct, frozen=True):
    """A transaction that may have profiles; `at_s` is the loop time that Relative ones begin at,
    None while the driver or the EV is missing."""

    transaction_id: str
    at_s: float | None = None


class _Saved(Struct, rename="camel"):
    evse_id: int
    charging_profile: Payload


class ChargingProfiles:
    """All profiles by id. As many as the rules let in; those of a start request one per EVSE."""

    def __init__(
        self, evse_ids: tuple[int, ...], voltage_v: float, saved: Mapping[str, str] | None = None
    ) -> None:
        """`voltage_v` is the nominal voltage of a phase (K01.FR.50), `saved` the state table;
        what it holds is taken up with the event Started.
        """
        self._evse_ids = evse_ids
        self._voltage_v = voltage_v
        self._saved = {key: text for key, text in (saved or {}).items() if key.startswith(KEY)}
        self._profiles: dict[int, Profile] = {}
        self._expected: dict[int, tuple[int, Profile]] = {}
        self._running: dict[int, Running] = {}
        self._told: dict[int, float | None] = {}
        self._stacks: dict[tuple[str, tuple[int, ...]], tuple[Profile, ...]] = {}
        """What `_stack` found, until a profile comes or goes."""
        self._due: tuple[float, float | None] | None = None
        """(UTC offset, loop time of the next edge by it), until something happens."""
        self._looked_s = self._looked_utc_s = 0.0
        """Loop time and UTC, as it was taken to be, for which the limits were told."""
        self.external = ExternalLimits()
        """The core keeps them by itself; here is what the CSMS is told of them."""

    @property
    def installed(self) -> tuple[Profile, ...]:
        """Those that a CSMS set."""
        return tuple(self._profiles.values())

    @property
    def expected(self) -> dict[int, int]:
        """EVSE -> remoteStartId of a requested start whose profile waits for its transaction."""
        return {evse_id: start_id for evse_id, (start_id, _) in self._expected.items()}

    @property
    def not_ready(self) -> list[int]:
        """EVSEs with a transaction that has not been ready to deliver yet."""
        return [evse_id for evse_id, running in self._running.items() if running.at_s is None]

    def handle(self, event: object, now: Now) -> Outcome:
        """CurrentLimited for each EVSE whose limit changed, and what is to be kept."""
        effects: list[object] = []
        match event:
            case ProfileSet():
                effects = self._install(parse(event.profile, event.evse_id))
            case ProfilesCleared():
                effects = self._remove(event.profile_ids)
            case StartProfileSet():
                effects = self._expect(event)
            case StartsLapsed(evse_ids):
                for evse_id in evse_ids:
                    self._expected.pop(evse_id, None)
            case ReadyToDeliver():
                effects = self._is_ready(event)
            case TransactionStarted():
                effects = self._begin(event)
            case TransactionEnded():
                effects = self._end(event)
            case Started():
                effects = self._restore()
            case Tick() | ClockSet():
                pass
            case _:
                return [], []
        self._due, self._looked_s, self._looked_utc_s = None, now.mono_s, now.utc_s()
        return self._changes(now), effects

    def deadline(self, now: Now) -> float | None:
        """Loop time of the next edge of any schedule."""
        if not (self._profiles or self._expected):
            return None
        due = self._due
        if due is None or abs(due[0] - now.utc_offset_s) > CLOCK_NOISE_S:
            due = self._due = now.utc_offset_s, self._next_due_s(now)
        return due[1]

    def _next_due_s(self, now: Now) -> float | None:
        """Of what the limits do not show yet: an edge that was passed since, be it that other facts
        came first or that the clock was set over it, either way, is due at once."""
        at_s, looked_s = self._looked_utc_s, self._looked_s
        if now.utc_s(looked_s) < at_s - CLOCK_NOISE_S:
            at_s = now.utc_s(looked_s)
        edge_s = min(
            (
                self.next_edge(evse_id, at_s, self.anchor_s(evse_id, now))
                for evse_id in self._places
            ),
            default=inf,
        )
        if edge_s <= self._looked_utc_s:
            return looked_s
        return None if edge_s == inf else edge_s - now.utc_offset_s + EDGE_SLACK_S

    # --- what applies -----------------------------------------------------------------------------

    @property
    def _places(self) -> tuple[int, ...]:
        return (0, *self._evse_ids)

    def anchor_s(self, evse_id: int, now: Now) -> float | None:
        """UTC second at which Relative schedules of the EVSE's transaction begin."""
        running = self._running.get(evse_id)
        if running is None or running.at_s is None:
            return None
        return float(floor(now.utc_s(running.at_s)))

    def limit(self, evse_id: int, at_s: float, anchor_s: float | None) -> Limit | None:
        """Merged limit of an EVSE, or of the whole station for 0; None: none (SC.01, K02.FR.08)."""
        station = leading(self._stack(STATION_MAX, 0), at_s, anchor_s, self._voltage_v)
        if evse_id == 0:
            return station
        own = leading(self._tx_profiles(evse_id), at_s, anchor_s, self._voltage_v)
        if own is None or evse_id not in self._running:
            default = leading(self._defaults(evse_id), at_s, anchor_s, self._voltage_v)
            own = default if own is None else own.lower(default)
        return station if own is None else own.lower(station)

    def next_edge(self, evse_id: int, at_s: float, anchor_s: float | None) -> float:
        """UTC second after `at_s` at which the limit of an EVSE may change; infinite when never."""
        profiles = self.of(evse_id)
        return min([profile.next_edge(at_s, anchor_s) for profile in profiles], default=inf)

    def of(self, evse_id: int) -> tuple[Profile, ...]:
        """All that the limit of an EVSE, or of the whole station for 0, may follow from."""
        station = self._stack(STATION_MAX, 0)
        if evse_id == 0:
            return station
        return (*station, *self._tx_profiles(evse_id), *self._defaults(evse_id))

    def _stack(self, purpose: str, *evse_ids: int) -> tuple[Profile, ...]:
        """Installed profiles of a purpose at these places, the highest stack level first."""
        found = self._stacks.get((purpose, evse_ids))
        if found is None:
            all_of_it = [p for p in self._profiles.values() if p.purpose == purpose]
            mine = [profile for profile in all_of_it if profile.evse_id in evse_ids]
            found = tuple(sorted(mine, key=lambda profile: -profile.stack_level))
            self._stacks[purpose, evse_ids] = found
        return found

    def _defaults(self, evse_id: int) -> tuple[Profile, ...]:
        """TxDefaultProfiles of the station act on every EVSE (K01.FR.14)."""
        return self._stack("TxDefaultProfile", 0, evse_id)

    def _tx_profiles(self, evse_id: int) -> list[Profile]:
        """Those of the running transaction, or the one a requested start will bring."""
        running = self._running.get(evse_id)
        if running is not None:
            profiles = self._stack("TxProfile", evse_id)
            return [p for p in profiles if p.transaction_id == running.transaction_id]
        return [self._expected[evse_id][1]] if evse_id in self._expected else []

    def _changes(self, now: Now) -> list[object]:
        events: list[object] = []
        for evse_id in self._places:
            limit = self.limit(evse_id, now.utc_s(), self.anchor_s(evse_id, now))
            limit_a = None if limit is None else limit.current_a
            if limit_a != self._told.get(evse_id):
                self._told[evse_id] = limit_a
                events.append(CurrentLimited(evse_id, limit_a))
        return events

    # --- what is held -----------------------------------------------------------------------------

    def _restore(self) -> list[object]:
        """Takes up what was saved before a restart (K01.FR.27).

        A TxProfile goes unless its transaction runs (K02.FR.05); what cannot be read or belongs
        to an EVSE that is no longer there goes, and the journal says so.
        """
        alive = {running.transaction_id for running in self._running.values()}
        effects: list[object] = []
        for key, text in self._saved.items():
            try:
                entry = msgspec.json.decode(text, type=_Saved)
                profile = parse(entry.charging_profile, entry.evse_id)
            except (msgspec.MsgspecError, ValueError, KeyError, IndexError, TypeError) as error:
                effects += _dropped(key, f"it cannot be read ({error})")
                continue
            if profile.evse_id not in self._places:
                effects += _dropped(key, f"there is no EVSE {profile.evse_id}")
            elif profile.purpose == "TxProfile" and profile.transaction_id not in alive:
                effects.append(Save(key, None))
            else:
                self._profiles[profile.profile_id] = profile
        self._saved = {}
        self._stacks.clear()
        return effects

    def _install(self, profile: Profile) -> list[object]:
        """Adds a profile, or replaces the one of its id (K01.FR.05)."""
        self._profiles[profile.profile_id] = profile
        self._stacks.clear()
        saved = _Saved(profile.evse_id, profile.payload)
        return [Save(f"{KEY}{profile.profile_id}", msgspec.json.encode(saved).decode())]

    def _remove(self, profile_ids: tuple[int, ...]) -> list[object]:
        gone = [i for i in profile_ids if self._profiles.pop(i, None) is not None]
        self._stacks.clear()
        return [Save(f"{KEY}{profile_id}", None) for profile_id in gone]

    def _expect(self, event: StartProfileSet) -> list[object]:
        running = self._running.get(event.evse_id)
        if running is not None and running.at_s is not None:
            return self._bind(event.profile, event.evse_id, running.transaction_id)
        if event.evse_id in self._evse_ids:
            profile = parse(event.profile, event.evse_id)
            self._expected[event.evse_id] = event.remote_start_id, profile
        return []

    def _begin(self, event: TransactionStarted) -> list[object]:
        """The start request's profile is for its own transaction only (F01.FR.10)."""
        self._running[event.evse_id] = Running(event.transaction_id)
        return self._bind_expected(event.evse_id, event.remote_start_id)

    def _is_ready(self, event: ReadyToDeliver) -> list[object]:
        """A start may have been requested for a transaction that ran already."""
        evse_id = event.evse_id
        self._running[evse_id] = replace(self._running[evse_id], at_s=event.at_s)
        return self._bind_expected(evse_id, event.remote_start_id)

    def _bind_expected(self, evse_id: int, remote_start_id: int | None) -> list[object]:
        expected_id, profile = self._expected.get(evse_id, (None, None))
        if profile is None or expected_id != remote_start_id:
            return []  # it may be judged still; when nobody awaits it any more it lapses
        del self._expected[evse_id]
        return self._bind(profile.payload, evse_id, self._running[evse_id].transaction_id)

    def _bind(self, payload: Payload, evse_id: int, transaction_id: str) -> list[object]:
        return self._install(parse({**payload, "transactionId": transaction_id}, evse_id))

    def _end(self, event: TransactionEnded) -> list[object]:
        """TxProfiles end with their transaction (K02.FR.05)."""
        running = self._running.get(event.evse_id)
        if running is not None and running.transaction_id == event.transaction_id:
            del self._running[event.evse_id]
        profiles = self._profiles.values()
        return self._remove(
            tuple(
                p.profile_id
                for p in profiles
                if p.purpose == "TxProfile" and p.transaction_id == event.transaction_id
            )
        )


def _dropped(key: str, why: str) -> list[object]:
    text = f"charging profile {key} was dropped: {why}; have the CSMS set it again"
    return [Save(key, None), Log(4, text)]
