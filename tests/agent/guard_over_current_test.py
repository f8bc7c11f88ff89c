"""The guard's judgement of what an EV takes: more than is offered, for how long, and since when."""

import pytest

from agent.guard import OVER_CURRENT_S
from tests.agent.guard_scene import HERE, Scene


@pytest.mark.parametrize(("current_a", "stops"), [(18.1, False), (18.2, True), (60.0, True)])
def test_over_current_counts_from_offer_plus_half_an_ampere_plus_a_tenth(current_a, stops) -> None:
    scene = Scene().allowed(16.0)
    for _ in range(int(OVER_CURRENT_S) + 3):
        scene.wait(1, meter=False)
        scene.meter(current_a)
    assert scene.causes == (["over_current: more flows than is offered"] if stops else [])


def test_a_short_excess_is_forgotten() -> None:
    scene = Scene().allowed(16.0)
    for _ in range(5):
        for current_a in (25.0,) * 8 + (16.0,):
            scene.wait(1, meter=False)
            scene.meter(current_a)
    assert scene.stops == []


def test_an_ev_has_time_to_follow_a_lower_limit() -> None:
    scene = Scene().allowed(32.0)
    scene.guard.withdraw(HERE, 6.0)
    for second in range(30):
        scene.wait(1, meter=False)
        scene.meter(32.0 if second < 6 else 6.0)
    assert scene.stops == []
    assert scene.orders == ["allow 6"]


def test_silence_of_a_slow_meter_is_not_an_over_current() -> None:
    """One reading just after the limit was lowered says nothing about 10 s later."""
    scene = Scene(meter_interval_s=10.0).allowed(32.0)
    scene.guard.withdraw(HERE, 6.0)
    scene.meter(32.0)
    scene.wait(12, meter=False)
    assert scene.stops == []
    scene.meter(32.0)
    assert scene.causes == ["over_current: more flows than is offered"]


def test_raises_forgive_no_over_current() -> None:
    """A limit that moves every few seconds would otherwise begin the count anew each time."""
    scene = Scene().allowed(6.0)
    for second in range(20):
        scene.wait(1, meter=False)
        scene.meter(32.0)
        if scene.stops:
            break
        if second % 5 == 4:
            assert scene.guard.allow(HERE, 6.0 + second / 10, scene.guard.permit) is None
    assert scene.causes == ["over_current: more flows than is offered"]
    assert second <= OVER_CURRENT_S + 1


def test_a_raise_that_explains_the_current_ends_the_count() -> None:
    scene = Scene().allowed(6.0)
    for second in range(30):
        if second == 8:
            assert scene.guard.allow(HERE, 16.0, scene.guard.permit) is None
        scene.wait(1, meter=False)
        scene.meter(16.0)
    assert scene.stops == []


def test_an_ev_that_follows_a_ramp_four_seconds_behind_is_left_alone() -> None:
    scene = Scene().allowed(32.0)
    offers = [32.0] * 4
    for _ in range(26):
        offers.append(offers[-1] - 1.0)
        scene.guard.withdraw(HERE, offers[-1])
        scene.wait(1, meter=False)
        scene.meter(offers[-4])
    assert scene.stops == []
    for _ in range(15):
        scene.guard.withdraw(HERE, offers[-1])
        scene.wait(1, meter=False)
        scene.meter(16.0)
    assert scene.causes[0] == "over_current: more flows than is offered", "it stays behind"


def test_a_charge_after_a_stop_is_not_judged_by_the_one_before() -> None:
    scene = Scene().allowed(6.0)
    for _ in range(9):
        scene.wait(1, meter=False)
        scene.meter(16.0)
    scene.guard.stop(HERE, emergency=False)
    scene.pilot("B", "open")
    assert scene.guard.allow(HERE, 6.0, scene.guard.permit) is None
    for _ in range(9):
        scene.wait(1, meter=False)
        scene.meter(16.0)
    assert scene.stops == []
