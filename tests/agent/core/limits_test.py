"""What each connector may be offered: shares of the supply, and the pace at which they change."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.limits import MIN_OFFER_A, SETTLE_S, Ceiling, Demand, Pacer, share

A, B, C = (1, 1), (2, 1), (3, 1)
HARDWARE = Ceiling(controller_a=32.0, connector_a=32.0)


def wants(**facts: object) -> Demand:
    return Demand(**{"ceiling": HARDWARE, "wants_power": True, **facts})  # type: ignore[arg-type]


TABLE = {
    "one takes all it can carry": ({A: wants()}, 63.0, None, {A: 32.0}),
    "one is held by the supply": ({A: wants()}, 16.0, None, {A: 16.0}),
    "two share evenly": ({A: wants(), B: wants()}, 32.0, None, {A: 16.0, B: 16.0}),
    "what one cannot use goes to the other": (
        {A: wants(profile_limit_a=10.0), B: wants()},
        32.0,
        None,
        {A: 10.0, B: 22.0},
    ),
    "nobody asks, nobody gets": ({A: Demand(ceiling=HARDWARE)}, 63.0, None, {A: 0.0}),
    "the last to ask waits": (
        {A: wants(asked_at_s=9.0), B: wants(asked_at_s=3.0)},
        11.0,
        None,
        {A: 0.0, B: 11.0},
    ),
    "who charges stays before who asked earlier": (
        {A: wants(asked_at_s=1.0), B: wants(asked_at_s=3.0, is_charging=True)},
        11.0,
        None,
        {A: 0.0, B: 11.0},
    ),
    "asked at the same time the lower place is first": (
        {B: wants(), A: wants()},
        8.0,
        None,
        {A: 8.0, B: 0.0},
    ),
    "less than the minimum is none at all": ({A: wants(profile_limit_a=5.9)}, 63.0, None, {A: 0.0}),
    "exactly the minimum is offered": ({A: wants(profile_limit_a=6.0)}, 63.0, None, {A: 6.0}),
    "a profile never lifts the hardware": ({A: wants(profile_limit_a=80.0)}, 99.0, None, {A: 32.0}),
    "the station's profile lowers the sum": (
        {A: wants(), B: wants()},
        63.0,
        20.0,
        {A: 10.0, B: 10.0},
    ),
    "the station's profile never lifts the supply": ({A: wants()}, 10.0, 99.0, {A: 10.0}),
    "a station profile of nothing stops all": ({A: wants(), B: wants()}, 63.0, 0.0, {A: 0, B: 0}),
    "the cable counts": (
        {A: wants(ceiling=Ceiling(controller_a=32.0, connector_a=32.0, cable_a=13.0))},
        63.0,
        None,
        {A: 13.0},
    ),
    "a controller that starts higher waits for as much": (
        {A: wants(ceiling=Ceiling(controller_a=32.0, connector_a=32.0, min_a=10.0)), B: wants()},
        15.0,
        None,
        {A: 15.0, B: 0.0},
    ),
    "a high minimum takes from the level of the others": (
        {A: wants(ceiling=Ceiling(controller_a=32.0, connector_a=32.0, min_a=10.0)), B: wants()},
        17.0,
        None,
        {A: 10.0, B: 7.0},
    ),
    "current that may still flow is not sold twice": (
        {A: Demand(ceiling=HARDWARE, unconfirmed_a=16.0), B: wants()},
        32.0,
        None,
        {A: 0.0, B: 16.0},
    ),
    "thirds are rounded down to a tenth": (
        {A: wants(), B: wants(), C: wants()},
        32.0,
        None,
        {A: 10.6, B: 10.6, C: 10.6},
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_the_supply_is_shared(case: str) -> None:
    demands, supply_a, station_a, expected = TABLE[case]
    assert share(demands, supply_a, station_a) == pytest.approx(expected)


def test_sharing_does_not_depend_on_the_order_of_the_demands() -> None:
    demands = {A: wants(asked_at_s=2.0), B: wants(profile_limit_a=7.0), C: wants(asked_at_s=1.0)}
    turned = dict(reversed(demands.items()))
    for supply_a in (5.0, 6.0, 12.5, 18.0, 40.0, 100.0):
        assert share(demands, supply_a) == share(turned, supply_a)


amps = st.floats(0.0, 130.0, allow_nan=False)
demand_of_one = st.builds(
    Demand,
    ceiling=st.builds(
        Ceiling,
        controller_a=amps,
        connector_a=amps,
        cable_a=st.none() | amps,
        min_a=st.floats(0.0, 16.0),
    ),
    wants_power=st.booleans(),
    is_charging=st.booleans(),
    asked_at_s=st.floats(0.0, 9.0),
    profile_limit_a=st.none() | amps,
    unconfirmed_a=st.just(0.0) | amps,
)
many = st.dictionaries(st.tuples(st.integers(1, 6), st.integers(1, 2)), demand_of_one, max_size=8)


@given(many, amps, st.none() | amps)
def test_no_share_is_above_a_ceiling_and_no_sum_above_the_supply(
    demands: dict[tuple[int, int], Demand], supply_a: float, station_a: float | None
) -> None:
    shares = share(demands, supply_a, station_a)
    held_a = sum(demand.unconfirmed_a for demand in demands.values())
    carried_a = supply_a if station_a is None else min(supply_a, station_a)
    assert shares.keys() == demands.keys()
    assert sum(shares.values()) <= max(0.0, carried_a - held_a) + 1e-5
    for place, offer_a in shares.items():
        demand = demands[place]
        ceilings = [demand.ceiling.limit_a, demand.profile_limit_a]
        assert offer_a == 0 or all(offer_a <= top + 1e-5 for top in ceilings if top is not None)
        assert offer_a == 0 or offer_a >= max(MIN_OFFER_A, demand.ceiling.min_a) - 1e-5
        assert offer_a == 0 or demand.wants_power


@given(many, amps)
def test_nobody_gets_more_than_one_who_could_take_more(
    demands: dict[tuple[int, int], Demand], supply_a: float
) -> None:
    shares = share(demands, supply_a)
    served = {place: offer_a for place, offer_a in shares.items() if offer_a}
    for place, offer_a in served.items():
        demand = demands[place]
        top_a = min(
            demand.ceiling.limit_a,
            float("inf") if demand.profile_limit_a is None else demand.profile_limit_a,
        )
        for other, other_a in served.items():
            least_a = max(MIN_OFFER_A, demands[other].ceiling.min_a)
            if other_a > offer_a + 1e-5 and other_a > least_a + 0.11:
                assert offer_a >= top_a - 0.11


# --- the pace -----------------------------------------------------------------------------------


def test_the_first_offer_does_not_wait() -> None:
    assert Pacer().pace({A: 16.0}, 32.0, 100.0) == {A: 16.0}


def test_an_offer_is_lowered_at_once_and_raised_after_five_seconds() -> None:
    pacer = Pacer()
    pacer.pace({A: 16.0}, 32.0, 0.0)
    assert pacer.pace({A: 8.0}, 32.0, 1.0) == {A: 8.0}
    assert pacer.pace({A: 7.0}, 32.0, 1.5) == {A: 7.0}
    assert pacer.pace({A: 20.0}, 32.0, 6.4) == {A: 7.0}
    assert pacer.deadline(6.4) == 6.5
    assert pacer.pace({A: 20.0}, 32.0, 6.5) == {A: 20.0}
    assert pacer.deadline(6.5) is None


def test_a_share_that_makes_room_for_others_waits_until_the_ev_has_followed() -> None:
    most_a = {A: 32.0, B: 32.0}
    pacer = Pacer()
    pacer.pace({A: 20.0}, 40.0, 0.0, most_a)
    assert pacer.pace({A: 16.0}, 40.0, 1.0, most_a) == {A: 20.0}
    assert pacer.deadline(1.0) == 5.0
    assert pacer.pace({A: 16.0}, 40.0, 5.0, most_a) == {A: 16.0}
    assert pacer.pace({A: 12.0}, 15.0, 6.0, most_a) == {A: 12.0}, "the supply does not carry it"
    assert pacer.pace({A: 8.0}, 15.0, 7.0, {A: 9.0}) == {A: 8.0}, "nor does its cable"


def test_nobody_is_raised_into_what_is_held() -> None:
    pacer = Pacer()
    pacer.pace({A: 16.0}, 32.0, 0.0)
    pacer.pace({A: 0.0}, 32.0, 10.0)
    assert pacer.pace({A: 0.0, B: 32.0}, 32.0, 16.0, None, {A: 16.0}) == {A: 0.0, B: 16.0}
    assert pacer.pace({A: 0.0, B: 32.0}, 32.0, 22.0) == {A: 0.0, B: 32.0}


def test_one_is_raised_only_when_the_other_has_let_go() -> None:
    pacer = Pacer()
    pacer.pace({A: 32.0}, 32.0, 0.0)
    assert pacer.pace({A: 16.0, B: 16.0}, 32.0, 60.0) == {A: 16.0, B: 0.0}
    assert pacer.deadline(60.0) == 65.0
    assert pacer.pace({A: 16.0, B: 16.0}, 32.0, 64.9) == {A: 16.0, B: 0.0}
    assert pacer.pace({A: 16.0, B: 16.0}, 32.0, 65.0) == {A: 16.0, B: 16.0}


def test_what_the_supply_has_to_spare_is_given_meanwhile() -> None:
    pacer = Pacer()
    pacer.pace({A: 32.0}, 40.0, 0.0)
    assert pacer.pace({A: 20.0, B: 20.0}, 40.0, 60.0) == {A: 20.0, B: 8.0}
    assert pacer.pace({A: 20.0, B: 20.0}, 40.0, 65.0) == {A: 20.0, B: 20.0}


def test_less_than_the_minimum_is_not_given_meanwhile() -> None:
    pacer = Pacer(least_a={B: 10.0})
    pacer.pace({A: 32.0}, 40.0, 0.0)
    assert pacer.pace({A: 20.0, B: 20.0}, 40.0, 60.0) == {A: 20.0, B: 0.0}


def test_a_place_without_a_share_is_offered_nothing() -> None:
    pacer = Pacer()
    pacer.pace({A: 16.0}, 32.0, 0.0)
    assert pacer.pace({}, 32.0, 1.0) == {A: 0.0}


steps = st.lists(
    st.tuples(
        st.floats(0.0, 7.0),
        st.lists(st.integers(0, 320), min_size=3, max_size=3),
    ),
    max_size=25,
)


def fitted(parts: list[int], supply_a: float) -> dict[tuple[int, int], float]:
    """Targets that share() could have made of these numbers: tenths, none under 6 A."""
    total = max(1.0, sum(parts) / 10 / supply_a)
    tenths = [int(part / total) for part in parts]
    return {
        place: part / 10 if part >= 60 else 0.0
        for place, part in zip((A, B, C), tenths, strict=True)
    }


@given(steps)
def test_what_evs_may_still_draw_never_exceeds_the_supply(
    moves: list[tuple[float, list[int]]],
) -> None:
    pacer, now_s, supply_a = Pacer(), 0.0, 32.0
    turns: list[tuple[float, dict[tuple[int, int], float]]] = []
    for wait_s, parts in moves:
        now_s += wait_s
        shares = fitted(parts, supply_a)
        offers = pacer.pace(shares, supply_a, now_s)
        assert all(offers[place] <= shares[place] for place in offers)
        # An offer stands until the next turn; replaced less than 5 s ago it still counts.
        standing = [offer for (_, offer), (end_s, _) in pairwise(turns) if end_s + SETTLE_S > now_s]
        standing += [turns[-1][1]] if turns else []
        turns.append((now_s, offers))
        drawn_a = sum(max(offer[place] for offer in [*standing, offers]) for place in offers)
        assert drawn_a <= supply_a + 1e-6


@given(steps)
def test_an_offer_is_never_raised_within_five_seconds_of_its_last_change(
    moves: list[tuple[float, list[int]]],
) -> None:
    pacer, now_s = Pacer(), 0.0
    last = dict.fromkeys((A, B, C), 0.0)
    changed_at_s = dict.fromkeys((A, B, C), float("-inf"))
    for wait_s, parts in moves:
        now_s += wait_s
        for place, offer_a in pacer.pace(fitted(parts, 32.0), 32.0, now_s).items():
            assert offer_a <= last[place] or now_s - changed_at_s[place] >= SETTLE_S - 1e-9
            if offer_a != last[place]:
                last[place], changed_at_s[place] = offer_a, now_s


@given(steps)
def test_every_offer_reaches_its_share_when_the_deadlines_are_kept(
    moves: list[tuple[float, list[int]]],
) -> None:
    pacer, now_s, supply_a = Pacer(), 0.0, 32.0
    shares: dict[tuple[int, int], float] = {}
    for wait_s, parts in moves:
        now_s += wait_s
        shares = fitted(parts, supply_a)
        pacer.pace(shares, supply_a, now_s)
    for _ in range(12):
        at_s = pacer.deadline(now_s)
        if at_s is None:
            break
        assert at_s > now_s
        now_s = at_s
        pacer.pace(shares, supply_a, now_s)
    assert pacer.pace(shares, supply_a, now_s) == shares
