"""From what the EVSEs want to orders for the hardware: shares of the supply, limits, locks."""

from collections.abc import Mapping

from agent.core.caps import Caps, Limits
from agent.core.connector import Connector
from agent.core.effects import AllowPower, LockPlug, StopPower, WithdrawCurrent
from agent.core.events import Now
from agent.core.evse import Evse
from agent.core.limits import SETTLE_S, Ceiling, Demand, Pacer, Place, share
from agent.core.local_limit import LocalLimits
from agent.core.policy import Policy
from agent.core.rates import Rates
from agent.core.site import Site
from drivers.contract import PowerPath

WAKE_PAUSE_S = 4.0
"""Longer than the 3 s that an EV may take to notice (IEC 61851-1 A.4)."""


class Orders:
    """Keeps the pace of the offers; what was ordered stands at each connector."""

    def __init__(self, site: Site) -> None:
        self.caps = Caps(site.safety)
        self.local = LocalLimits(site.energy_manager)
        self._rates = Rates()
        self._wake_up_s = site.safety.wake_up_s
        self._supply_a = site.supply_a
        self._sites = {(e.evse_id, c.connector_id): c for e in site.evses for c in e.connectors}
        self._pacer = Pacer({place: c.min_a for place, c in self._sites.items()})

    def ceiling(self, connector: Connector) -> Ceiling:
        site = self._sites[connector.place]
        return Ceiling(site.controller_a, site.connector_a, connector.cable_a, site.min_a)

    def hardware_limit_a(self, evse: Evse | None) -> float:
        """Most that any connector of the EVSE (None: the supply) can offer, A per phase."""
        if evse is None:
            return self._supply_a
        return min(self._supply_a, max(self.ceiling(c).limit_a for c in _all(evse)))

    def deadline(self, evses: Mapping[int, Evse], now: Now) -> float | None:
        times = [self._pacer.deadline(now.mono_s), self.caps.deadline(now)]
        times.append(self.local.deadline(now.mono_s))
        connectors = [connector for evse in evses.values() for connector in _all(evse)]
        times += [c.offer_changed_s + SETTLE_S for c in connectors if c.ordered_a is not None]
        if self._wake_up_s:
            times += [connector.wakes_s(self._wake_up_s) for connector in connectors]
        return min((t for t in times if t is not None and t > now.mono_s), default=None)

    def give(self, evses: Mapping[int, Evse], policy: Policy, now: Now) -> list[object]:
        """Orders for every connector, after telling the EVSEs which of them get nothing."""
        effects: list[object] = []
        for evse in evses.values():
            if evse.transaction is None:
                self.caps.released(evse.evse_id)
        limits = self.local.lower(self.caps.now(now), now.mono_s)
        demands = self._demands(evses, limits, now)
        supply_a = self._supply_a
        if (station_a := limits.get(0)) is not None:
            supply_a = min(supply_a, station_a)
        shares = share(demands, self._supply_a, limits.get(0))
        unconfirmed_a = sum(demand.unconfirmed_a for demand in demands.values())
        most_a = {place: demand.most_a for place, demand in demands.items()}
        spare_a = max(0.0, supply_a - unconfirmed_a)
        held_a = {c.place: _held_a(c, evse) for evse in evses.values() for c in _all(evse)}
        offers = self._pacer.pace(shares, spare_a, now.mono_s, most_a, held_a)
        for evse in evses.values():
            wanting = evse.wants_power()
            if wanting is not None and evse.starved != (shares[wanting.place] == 0.0):
                evse.starved = not evse.starved
                effects += evse.tick(now, policy)
        for evse in evses.values():
            wanting = evse.wants_power()
            for connector in evse.connectors.values():
                effects += _lock(connector, evse, now)
                offer_a = offers[connector.place] if connector is wanting else 0.0
                effects += self._wake(connector, offer_a, now) or _order(connector, offer_a, now)
        return effects + self._told(evses, shares, policy, now)

    def _told(
        self, evses: Mapping[int, Evse], shares: Mapping[Place, float], policy: Policy, now: Now
    ) -> list[object]:
        """What a local energy manager changed."""
        if self.local.manager is None:
            return []
        effects = self.local.news(now)
        if effects:
            self._rates.limits_changed(tuple(evses))
        for evse in evses.values():
            wanting = evse.wants_power()
            rate_a = (wanting.ordered_a or 0.0) if wanting is not None else 0.0
            is_settled = wanting is None or rate_a == shares[wanting.place]
            percent = policy.limit_change_significance
            if self._rates.is_news(evse, rate_a, percent, is_settled=is_settled):
                effects += evse.rate_changed(now, policy)
        return effects

    def _demands(self, evses: Mapping[int, Evse], limits: Limits, now: Now) -> dict[Place, Demand]:
        demands: dict[Place, Demand] = {}
        failsafe_a = self.caps.failsafe_a(now)
        for evse in evses.values():
            wanting = evse.wants_power()
            in_person = evse.grant is not None and evse.grant.in_person
            is_young = self.caps.mains_are_young(evse.evse_id, now)
            waits_a = 0.0 if is_young and not in_person else None
            for connector in evse.connectors.values():
                wants = connector is wanting
                cool_a = self._cool_a(connector)
                demands[connector.place] = Demand(
                    ceiling=self.ceiling(connector),
                    wants_power=wants,
                    is_charging=connector.ordered_a is not None,
                    asked_at_s=connector.plugged_at_s,
                    profile_limit_a=_least(limits.get(evse.evse_id), failsafe_a, cool_a, waits_a),
                    unconfirmed_a=0.0 if wants else _unconfirmed_a(connector, evse),
                )
        return demands

    def _wake(self, connector: Connector, offer_a: float, now: Now) -> list[object]:
        """Once for each plug: the offer goes away for WAKE_PAUSE_S, as older EVs need it."""
        wakes_s = connector.wakes_s(self._wake_up_s) if self._wake_up_s else None
        if wakes_s is None or now.mono_s < wakes_s or offer_a <= 0.0:
            return []
        connector.pause(now.mono_s + WAKE_PAUSE_S, now.mono_s)
        return [StopPower(*connector.place)]

    def _cool_a(self, connector: Connector) -> float:
        """What the temperature of the device allows."""
        most_a = self.ceiling(connector).limit_a
        cool_a = self.caps.derated_a(most_a, connector.temperature_c, connector.is_hot)
        connector.is_hot = cool_a == 0.0
        return cool_a


def _least(*limits_a: float | None) -> float | None:
    return min((limit_a for limit_a in limits_a if limit_a is not None), default=None)


def _all(evse: Evse) -> list[Connector]:
    return list(evse.connectors.values())


def _held_a(connector: Connector, evse: Evse) -> float:
    """What an EV that wants power and is offered none may still draw: nobody else's yet."""
    is_off = connector.ordered_a is None and evse.wants_power() is connector
    return _unconfirmed_a(connector, evse) if is_off else 0.0


def _unconfirmed_a(connector: Connector, evse: Evse) -> float:
    """What may still flow: the path is not seen open, so what the pilot offers or the meter shows
    (unless another connector of the EVSE draws it); before the meter was read, what was offered."""
    if connector.reading.power_path is PowerPath.OPEN:
        return 0.0
    meter = evse.metering.last
    is_its_own = meter is not None and evse.wants_power() in (None, connector)
    measured_a = max(meter.current_a, default=0.0) if meter is not None and is_its_own else 0.0
    if not is_its_own or meter is None or meter.at_s <= connector.offer_changed_s:
        measured_a = max(measured_a, connector.withdrawn_a)
    return max(connector.reading.offered_a or 0.0, measured_a)


def _order(connector: Connector, offer_a: float, now: Now) -> list[object]:
    before_a = connector.ordered_a
    if offer_a <= 0.0:
        connector.order(None, now.mono_s)
        if before_a is None:
            return []
        return [StopPower(*connector.place, emergency=bool(connector.faults))]
    if before_a is not None and offer_a < before_a:
        connector.order(offer_a, now.mono_s)
        return [WithdrawCurrent(*connector.place, offer_a)]
    due_s = connector.hold_until_s if before_a is None else connector.offer_changed_s + SETTLE_S
    if (before_a is None or offer_a > before_a) and now.mono_s >= due_s:
        connector.order(offer_a, now.mono_s)
        return [AllowPower(*connector.place, offer_a, now.permit)]
    return []


def _lock(connector: Connector, evse: Evse, now: Now) -> list[object]:
    """Locked for as long as a session is authorised, released with it (E06.FR.10), even where the
    transaction ends only at unplugging, but not before the power path is seen open."""
    in_session = evse.transaction is not None and evse.grant is not None
    wanted = (in_session and evse.active is connector) or connector.cable_owner is not None
    if wanted == connector.lock_ordered or not (wanted or connector.may_unlock(now.mono_s)):
        return []
    connector.order_lock(wanted)
    return [LockPlug(*connector.place, wanted)]
