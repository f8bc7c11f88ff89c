"""Contactor and lock by tables: what closes, what opens and when, what is broken."""

from itertools import pairwise

import pytest

from drivers.contract import PilotState, PowerPath
from drivers.gpio.closing import (
    CLOSES_AFTER_S,
    TEST_WITHIN_S,
    UNDER_LOAD_S,
    Bounds,
    Closing,
    View,
    Wish,
)
from drivers.gpio.lock_motor import TRIES, LockMotor

START_S = 100.0


class Rig:
    """A contactor whose auxiliary contacts follow the coils `lag_s` later, unless stuck."""

    def __init__(self, count: int = 1, *, tests: bool = False, opens_s: float = 0.5) -> None:
        self.now_s = START_S
        self.closing = Closing(count, Bounds(opens_within_s=opens_s, tests=tests), self.now_s)
        self.state, self.healthy, self.offered_a = "B", True, 16.0
        self.aux = [False] * count
        self.stuck: dict[int, bool] = {}
        self.rcd = self.dc_fault = False
        self.monitor_works = True
        self.switched: list[tuple[float, tuple[bool, ...]]] = []

    def step(self) -> None:
        for _ in range(6):  # until nothing follows from anything any more
            before = self.closing.coils, self.closing.test, tuple(self.aux)
            view = View(
                PilotState(self.state),
                self.healthy,
                tuple(self.aux),
                self.offered_a,
                self.rcd,
                self.dc_fault or (self.closing.test and self.monitor_works),
            )
            self.closing.step(view, self.now_s)
            if self.closing.coils != before[0]:
                self.switched.append((self.now_s, self.closing.coils))
            self.aux = [self.stuck.get(i, coil) for i, coil in enumerate(self.closing.coils)]
            if before == (self.closing.coils, self.closing.test, tuple(self.aux)):
                return

    def see(self, **seen: object) -> "Rig":
        for key, value in seen.items():
            setattr(self, key, value)
        self.step()
        return self

    def order(self, wish: str) -> "Rig":
        self.closing.order(Wish(wish), self.now_s)
        self.step()
        return self

    def wait(self, seconds: float) -> "Rig":
        """Time passes, stepped at the deadlines only: what they leave out does not happen."""
        end_s = self.now_s + seconds
        while (at_s := self.closing.deadline(self.now_s)) is not None and at_s <= end_s:
            self.now_s = at_s
            self.step()
        self.now_s = end_s
        return self

    def charging(self) -> "Rig":
        self.order("allow").see(state="C").wait(2.0)
        assert all(self.closing.coils)
        return self

    @property
    def is_on(self) -> bool:
        return any(self.closing.coils)


def test_it_closes_within_3_s_of_c_and_not_at_once() -> None:
    rig = Rig().order("allow").see(state="C")
    rig.wait(CLOSES_AFTER_S - 0.01)
    assert not rig.is_on
    rig.wait(0.02)
    assert rig.is_on
    assert rig.switched[0][0] - START_S <= 3.0
    assert rig.closing.power_path is PowerPath.CLOSED


def test_a_wake_up_pulse_of_the_ev_closes_nothing() -> None:
    rig = Rig().order("allow")
    for _ in range(5):
        rig.see(state="C").wait(0.4).see(state="B").wait(0.4)
    assert rig.switched == []


NOT_CLOSED = {
    "not allowed": lambda r: r.see(state="C"),
    "stopped before": lambda r: r.order("allow").order("stop").see(state="C"),
    "cut before": lambda r: r.order("allow").order("cut").see(state="C"),
    "no EV": lambda r: r.order("allow").see(state="A"),
    "EV does not ask": lambda r: r.order("allow").see(state="B"),
    "ventilation": lambda r: r.order("allow").see(state="D"),
    "short circuit": lambda r: r.order("allow").see(state="E"),
    "controller fault": lambda r: r.order("allow").see(state="F"),
    "unknown": lambda r: r.order("allow").see(state="unknown"),
    "controller unwell": lambda r: r.order("allow").see(state="C", healthy=False),
    "nothing offered": lambda r: r.order("allow").see(state="C", offered_a=0.0),
    "rcd": lambda r: r.order("allow").see(state="C", rcd=True),
    "dc fault": lambda r: r.order("allow").see(state="C", dc_fault=True),
    "welded": lambda r: r.see(stuck={0: True}).order("allow").see(state="C"),
}


@pytest.mark.parametrize("case", NOT_CLOSED)
def test_it_does_not_close(case: str) -> None:
    rig = Rig()
    rig.step()
    NOT_CLOSED[case](rig)
    rig.wait(30.0)
    assert rig.switched == [], case


OPENS_AT_ONCE = {
    "EV lets go": lambda r: r.see(state="B"),
    "EV gone": lambda r: r.see(state="A"),
    "ventilation": lambda r: r.see(state="D"),
    "short circuit": lambda r: r.see(state="E"),
    "F": lambda r: r.see(state="F"),
    "controller lost": lambda r: r.see(state="unknown", healthy=False),
    "controller unwell": lambda r: r.see(healthy=False),
    "emergency": lambda r: r.order("cut"),
    "rcd": lambda r: r.see(rcd=True),
    "dc fault": lambda r: r.see(dc_fault=True),
    "stop, EV reacts": lambda r: r.order("stop").see(state="B"),
}


@pytest.mark.parametrize("case", OPENS_AT_ONCE)
@pytest.mark.parametrize("count", [1, 2])
def test_it_opens_in_the_same_step(case: str, count: int) -> None:
    rig = Rig(count).charging()
    at_s = rig.now_s
    OPENS_AT_ONCE[case](rig)
    assert rig.switched[-1] == (at_s, (False,) * count)
    assert rig.closing.power_path is PowerPath.OPEN


def test_a_stop_opens_under_load_after_6_s_however_often_it_is_repeated() -> None:
    rig = Rig().charging().order("stop")
    stop_at_s = rig.now_s
    for _ in range(5):
        rig.wait(1.0).order("stop")
    assert rig.is_on
    rig.wait(2.0)
    assert rig.switched[-1] == (stop_at_s + UNDER_LOAD_S, (False,))


def test_allowed_again_within_the_6_s_it_stays_closed() -> None:
    rig = Rig().charging().order("stop").wait(3.0).order("allow").wait(60.0)
    assert rig.is_on


def test_it_does_not_close_before_it_was_seen_open() -> None:
    rig = Rig(opens_s=2.0).charging().see(stuck={0: True}).see(state="B")
    moves = len(rig.switched)
    rig.see(state="C").wait(1.5)
    assert len(rig.switched) == moves
    rig.see(stuck={})
    rig.step()
    assert len(rig.switched) == moves + 1


# --- two contactors ---


def test_the_second_contactor_closes_after_the_first_is_seen_closed() -> None:
    rig = Rig(2).charging()
    assert [coils for _, coils in rig.switched] == [(True, False), (True, True)]


def test_the_second_one_opens_when_the_first_drops_out() -> None:
    rig = Rig(2).charging().see(stuck={0: False})
    rig.step()
    assert rig.closing.coils == (True, False)
    rig.wait(0.6)
    assert rig.closing.coils == (False, False)
    assert rig.closing.faults == {"contactor_did_not_close"}


@pytest.mark.parametrize("stuck", [0, 1])
def test_either_contactor_that_stays_closed_is_welded(stuck: int) -> None:
    rig = Rig(2).charging().see(stuck={stuck: True}).see(state="B")
    assert rig.closing.faults == frozenset()
    assert rig.closing.power_path is PowerPath.CLOSED
    rig.wait(0.6)
    assert rig.closing.faults == {"welded_contactor"}


# --- faults ---


def test_a_contactor_that_stays_welded_is_a_fault_though_the_ev_left() -> None:
    rig = Rig().charging().see(stuck={0: True}).see(state="B").wait(1.0)
    rig.see(state="A").wait(60.0)
    assert rig.closing.faults == {"welded_contactor"}
    rig.order("allow").see(state="C").wait(60.0)
    assert not rig.is_on


STANDING = {
    "rcd": lambda r: r.see(rcd=True),
    "dc_fault": lambda r: r.see(dc_fault=True),
    "contactor_did_not_close": lambda r: r.see(stuck={0: False}).wait(1.0),
    "welded_contactor": lambda r: r.see(stuck={0: True}).see(state="B").wait(1.0),
}


@pytest.mark.parametrize("fault", STANDING)
def test_nothing_recloses_by_itself_before_the_ev_was_unplugged(fault: str) -> None:
    rig = Rig().charging()
    STANDING[fault](rig)
    assert rig.closing.faults == {fault}
    rig.see(rcd=False, dc_fault=False, stuck={}).order("allow").wait(600.0)
    rig.see(state="B").see(state="C").wait(600.0)
    assert (rig.is_on, rig.closing.faults) == (False, {fault})
    rig.see(state="A").see(state="B").see(state="C").wait(2.0)
    assert (rig.is_on, rig.closing.faults) == (True, frozenset())


def test_a_fault_that_is_still_there_stays_though_the_ev_left() -> None:
    rig = Rig().charging().see(rcd=True, state="A")
    assert rig.closing.faults == {"rcd"}


def test_lines_that_are_lost_say_nothing_and_come_back_off() -> None:
    rig = Rig().charging()
    rig.closing.drop()
    assert (rig.is_on, rig.closing.power_path) == (False, PowerPath.UNKNOWN)
    rig.see(aux=[False])
    assert not rig.is_on


# --- the test of the DC monitor ---


def test_the_dc_monitor_is_tried_before_each_closing() -> None:
    rig = Rig(tests=True)
    seen = []
    for _ in range(2):
        rig.order("allow").see(state="C")
        rig.wait(CLOSES_AFTER_S)
        seen.append((rig.is_on, rig.closing.faults))
        rig.see(state="B")
    assert seen == [(True, frozenset())] * 2


def test_a_monitor_that_does_not_trip_lets_nothing_close() -> None:
    rig = Rig(tests=True).see(monitor_works=False).order("allow").see(state="C").wait(10.0)
    assert (rig.switched, rig.closing.faults, rig.closing.test) == ([], {"rcd_self_test"}, False)


def test_a_monitor_that_does_not_come_back_lets_nothing_close() -> None:
    rig = Rig(tests=True).order("allow")
    view = View(PilotState.C, True, (False,), 16.0, dc_fault=False)
    tripped = View(PilotState.C, True, (False,), 16.0, dc_fault=True)
    closing = rig.closing
    closing.step(view, 200.0)
    closing.step(view, 200.0 + CLOSES_AFTER_S)
    assert closing.test
    closing.step(tripped, 200.6)
    assert not closing.test
    assert closing.coils == (False,)
    closing.step(tripped, 200.6 + TEST_WITHIN_S)
    assert closing.faults == {"rcd_self_test"}


def test_a_test_that_is_broken_off_is_no_dc_fault() -> None:
    rig = Rig(tests=True).see(monitor_works=False).order("allow").see(state="C")
    rig.wait(CLOSES_AFTER_S + 0.1)
    assert rig.closing.test
    rig.see(state="B", dc_fault=True).wait(0.3).see(dc_fault=False)
    assert rig.closing.faults == frozenset()


# --- the lock ---


def drive(motor: LockMotor, feedback: list[bool], *, path_open: bool = True, seconds: float = 10.0):
    """Steps at deadlines; the bolt follows the outputs. Returns [(time, closing, opening)]."""
    now_s, seen = START_S, []
    while now_s <= START_S + seconds:
        if motor.closing or motor.opening:
            feedback[0] = motor.closing if feedback[1] else feedback[0]
        motor.step(feedback[0], path_open, now_s)
        assert not (motor.closing and motor.opening)
        seen.append((round(now_s - START_S, 3), motor.closing, motor.opening))
        at_s = motor.deadline(now_s)
        if at_s is None:
            break
        now_s = at_s
    return seen


def test_a_lock_closes_by_one_pulse_and_says_so() -> None:
    motor = LockMotor(0.6)
    motor.order(True, START_S)
    seen = drive(motor, [False, True])
    assert seen == [(0.0, True, False), (0.6, False, False), (0.7, False, False)]
    assert motor.settled is True


def test_a_jammed_lock_is_tried_three_times_with_rests_and_then_told() -> None:
    motor = LockMotor(0.6)
    motor.order(True, START_S)
    seen = drive(motor, [False, False])
    pulses = sum(1 for (_, before, _), (_, after, _) in pairwise(seen) if before and not after)
    assert pulses == TRIES
    starts = [at_s for at_s, closing, _ in seen if closing]
    assert starts == [0.0, 1.2, 2.4], "0.6 s of pulse, 0.1 s to settle, 0.5 s of rest"
    assert (motor.settled, motor.closing, motor.opening) == (False, False, False)


def test_it_opens_only_while_the_power_path_is_open() -> None:
    motor = LockMotor(0.6)
    motor.step(True, False, START_S)
    motor.order(False, START_S)
    drive(motor, [True, True], path_open=False)
    assert (motor.opening, motor.settled) == (False, None)
    drive(motor, [True, True], path_open=True)
    assert motor.settled is False


def test_a_new_order_replaces_one_on_its_way() -> None:
    motor = LockMotor(0.6)
    motor.order(True, START_S)
    motor.step(False, True, START_S)
    motor.order(False, START_S + 0.1)
    assert (motor.closing, motor.opening) == (False, False)
    motor.step(False, True, START_S + 0.1)
    assert motor.settled is False


def test_a_bolt_that_moves_by_itself_is_noticed() -> None:
    motor = LockMotor(0.6)
    motor.order(True, START_S)
    drive(motor, [False, True])
    motor.step(False, True, START_S + 50)
    assert motor.settled is False
