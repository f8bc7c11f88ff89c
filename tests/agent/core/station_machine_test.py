"""Thousands of random steps on the station: what must hold in every one of them."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from agent.core import events as ev
from agent.core.events import IdToken, StopCause, TokenInfo

POINTS = ("EVConnected", "Authorized", "PowerPathClosed", "EnergyTransfer")
PLACES = st.sampled_from([(1, 1), (2, 1), (2, 2)])
CARDS = st.sampled_from(["A", "B", "C"])
GROUP = IdToken("FAMILY", "Central")
FAULTS = st.sampled_from(["meter_lost", "pilot_lost", "emergency_stop", "restart_loop"])
POINT_SETS = st.frozensets(st.sampled_from(POINTS), min_size=1, max_size=2)
SERIALS = st.sampled_from(["M1", "M1", "M2"])
LIMITS = st.sampled_from([None, None, 0.0, 6.0, 17.3])
INFOS = {"A": TokenInfo("Accepted", GROUP), "B": TokenInfo("Accepted", GROUP)}


def machine(play_type: type) -> type[RuleBasedStateMachine]:
    class Machine(RuleBasedStateMachine):
        @initialize(
            start=POINT_SETS,
            stop=POINT_SETS,
            auth=st.booleans(),
            invalid=st.booleans(),
            side=st.booleans(),
            fixed=st.booleans(),
            supply_a=st.sampled_from([5.0, 10.0, 20.0, 40.0, 63.0, 63.0]),
        )
        def begin(self, start, stop, auth, invalid, side, fixed, supply_a):
            self.play = play_type(
                [(1,), (1, 2)],
                supply_a=supply_a,
                fixed_cable=fixed,
                tx_start_point=start,
                tx_stop_point=stop,
                auth_enabled=auth,
                stop_tx_on_invalid_id=invalid,
                stop_tx_on_ev_side_disconnect=side,
                offline_unknown_id=True,
            )
            self.play.csms = dict(INFOS)

        @rule(
            place=PLACES,
            state=st.sampled_from(["A", "B", "B", "C", "C", "C", "D", "E", "F", "unknown"]),
            closed=st.sampled_from([True, True, False, False, False, None]),
            faults=st.sampled_from([(), (), (), (), ("rcd",), ("welded_contactor",)]),
            cable_a=st.sampled_from([None, None, 13.0, 32.0]),
        )
        def pilot(self, place, state, closed, faults, cable_a):
            self.play.pilot(state, place, closed=closed, faults=faults, cable_a=cable_a)

        @rule(place=PLACES, value=CARDS, lets_go=st.booleans())
        def a_good_charge(self, place, value, lets_go):
            """The way most things go, so that the others meet power that flows."""
            play = self.play
            for fault in sorted(play.faults.get(place, ())):
                play.clear_fault(fault, (place[0], 0))
            play.meter_answers = True
            play.do(ev.AvailabilityRequested(place[0], 0, True))
            play.pilot("B", place)
            play.do(ev.Serviced(*place))
            play.wait(12)
            if play.station.evses[place[0]].free:
                play.swipe(value, (place[0],))
            play.wait(12)
            play.pilot("C", place, closed=place in play.ledger.allowed)
            play.wait(3)
            if lets_go:
                play.pilot("B", place)

        @rule(evse_id=st.sampled_from([1, 2]), step=st.sampled_from([0.0, 5.0, -50.0]))
        def meter(self, evse_id, step):
            self.play.energy_wh[evse_id] += step
            self.play.meter(evse_id)

        @rule(
            answers=st.sampled_from([True, True, False]), serial=st.sampled_from(["M1", "M1", "M2"])
        )
        def meter_habits(self, answers, serial):
            self.play.meter_answers, self.play.meter_serial = answers, serial

        @rule(value=CARDS, evse_ids=st.sampled_from([(), (1,), (2,)]))
        def swipe(self, value, evse_ids):
            self.play.swipe(value, evse_ids)

        @rule(evse_id=st.sampled_from([0, 1, 2]), number=st.integers(1, 9))
        def remote_start(self, evse_id, number):
            token = IdToken("APP", "Central")
            if evse_id == 0 or self.play.station.evses[evse_id].free:
                self.play.do(ev.StartRequested(evse_id, token, None, number))

        @rule(evse_id=st.sampled_from([1, 2]))
        def remote_stop(self, evse_id):
            transaction_id = self.play.station.transaction_id(evse_id)
            unplaced = self.play.station.granting.unplaced()
            if unplaced is not None:
                transaction_id = unplaced.transaction.transaction_id
            if transaction_id is not None:
                self.play.do(ev.StopRequested(transaction_id))

        @rule(evse_id=st.sampled_from([1, 2]), status=st.sampled_from(["Invalid", "Accepted"]))
        def judged_once_more(self, evse_id, status):
            unplaced = self.play.station.granting.unplaced()
            holder = self.play.station.evses[evse_id] if unplaced is None else unplaced
            if holder.transaction is not None and holder.transaction.token is not None:
                names = holder.transaction.transaction_id, holder.transaction.token
                self.play.do(ev.TransactionAnswered(*names, TokenInfo(status)))

        @rule(place=PLACES, fault=FAULTS, lasts_s=st.sampled_from([0.5, 3.0, 70.0, None]))
        def fault(self, place, fault, lasts_s):
            self.play.raise_fault(fault, place)
            if lasts_s is not None:
                self.play.wait(lasts_s)
                self.play.clear_fault(fault, place)

        @rule(
            place=PLACES,
            cause=st.sampled_from(
                ["no fresh meter reading", "over_current: x", "welded_contactor: x"]
            ),
        )
        def guard_stop(self, place, cause):
            self.play.guard_stops(cause, place)

        @rule(place=PLACES)
        def refused(self, place):
            self.play.do(ev.OrderRefused(*place, "no fresh view of the pilot controller"))

        @rule(
            evse_id=st.sampled_from([0, 1, 2]),
            limit_a=st.sampled_from([None, None, 0.0, 6.0, 17.3]),
        )
        def limit(self, evse_id, limit_a):
            self.play.do(ev.CurrentLimited(evse_id, limit_a))

        @rule(
            place=st.sampled_from([(0, 0), (1, 0), (1, 1), (2, 0), (2, 2)]), operative=st.booleans()
        )
        def availability(self, place, operative):
            self.play.do(ev.AvailabilityRequested(*place, operative))

        @rule(online=st.booleans())
        def link(self, online):
            self.play.do(ev.CsmsReached() if online else ev.CsmsLost())

        @rule(seconds=st.sampled_from([0.5, 3.0, 11.0, 61.0, 200.0]))
        def time(self, seconds):
            self.play.wait(seconds)

        @rule(same_boot=st.booleans())
        def restart(self, same_boot):
            if same_boot:
                self.play.start(cause=StopCause.REBOOT)
            else:
                self.play.reboot()

        def teardown(self):
            """Whatever happened: EVs leave, meters answer, and no transaction stays open."""
            if not hasattr(self, "play"):
                return
            self.play.meter_answers = True
            self.play.do(ev.FaultCleared(1, 0, "meter_lost"))
            for place in ((1, 1), (2, 1), (2, 2)):
                self.play.pilot("A", place)
            self.play.wait(200)
            for evse in self.play.station.evses.values():
                assert evse.transaction is None
                assert evse.grant is None
            assert not self.play.station.granting.floating
            assert not self.play.saved.keys() - {"availability", "meta/restart", "latched"}
            for records in self.play.ledger.told.values():
                assert records[-1].event_type == "Ended"
            assert not self.play.ledger.allowed

    return Machine


@pytest.mark.timeout(120)
def test_no_order_of_events_breaks_what_must_hold(play) -> None:
    run_state_machine_as_test(
        machine(play),
        settings=settings(
            max_examples=400,
            stateful_step_count=40,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
