"""Random days of a station for the rig: EVs, cards, faults, stale values, slow disks, jumps."""

import os

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from msgspec.structs import replace

from agent.core import events as ev
from agent.core.events import IdToken, TokenInfo
from agent.core.local_limit import LimitTold
from agent.core.policy import Policy
from agent.settings import EnergyManager, Safety
from drivers.contract import PilotState
from drivers.sim.connector import Ev
from tests.safety_machine_more import CARDS, PLACES, POINTS, WAITS, More
from tests.safety_machine_rig import Rig

STEPS = int(os.environ.get("CHARGEPOINT_SAFETY_STEPS", "10000"))
"""`make safety-long` asks for a million."""
STEPS_A_DAY = 40
"""So many come true of a day of fifty at the least."""

EVS = st.sampled_from(
    [
        Ev(),
        Ev(ready_after_s=0.05),
        Ev(current_a=32.0, ready_after_s=0.1),
        Ev(wants="D"),
        Ev(ignores_pilot=True, current_a=6.0),
    ]
)


class Progress:
    """Steps that came true."""

    def __init__(self) -> None:
        self.steps = 0

    def step(self) -> None:
        self.steps += 1


def machine(progress: Progress) -> type[RuleBasedStateMachine]:
    class Machine(More, RuleBasedStateMachine):
        @initialize(
            socket=st.booleans(),
            supply_a=st.sampled_from([10.0, 20.0, 40.0, 63.0]),
            start=POINTS,
            stop=POINTS,
            side=st.booleans(),
            invalid=st.booleans(),
            rcd=st.booleans(),
            manager=st.sampled_from([None, None, EnergyManager(silent_s=30, failsafe_a=9.0)]),
            is_careful=st.booleans(),
            is_free=st.sampled_from([False, False, False, True]),
            connectors=st.sampled_from([1, 1, 2]),
        )
        def begin(
            self,
            socket,
            supply_a,
            start,
            stop,
            side,
            invalid,
            rcd,
            manager,
            is_careful,
            is_free,
            connectors,
        ):
            policy = Policy(
                tx_start_point=frozenset(start),
                tx_stop_point=frozenset(stop),
                stop_tx_on_ev_side_disconnect=side,
                stop_tx_on_invalid_id=invalid,
                local_authorize_offline=False,
                auth_enabled=not is_free,
            )
            safety = Safety(rcd_needs_service=rcd, wake_up_s=30)
            if is_careful:
                safety = replace(
                    safety,
                    random_delay_s=60,
                    csms_silent_s=10,
                    failsafe_a=8.0,
                    derate_from_c=60,
                    stop_at_c=80,
                )
            self.rig = Rig(
                socket=socket,
                supply_a=supply_a,
                policy=policy,
                safety=safety,
                energy_manager=manager,
                connectors=connectors,
            )
            self.rig.wait(1.0)

        def _then(self, wait_s: float) -> None:
            progress.step()
            self.rig.wait(wait_s)

        # --- people and EVs -------------------------------------------------------------------

        @rule(place=PLACES, kind=EVS, cable_a=st.sampled_from([13.0, 20.0, 32.0]), wait_s=WAITS)
        def plug_in(self, place, kind, cable_a, wait_s):
            place = self.rig.at(place)
            cable = cable_a if self.rig.socket else None
            if not self.rig.board.connector(*place).ev_connected:
                self.rig.do(self.rig.board.plug_in, *place, kind, cable)
            self._then(wait_s)

        @rule(place=PLACES, wait_s=WAITS)
        def plug_out(self, place, wait_s):
            place = self.rig.at(place)
            self.rig.do(self.rig.board.plug_out, *place)
            self._then(wait_s)

        @rule(place=PLACES, wants=st.sampled_from(["B", "C", "C", "D"]), wait_s=WAITS)
        def ev_state(self, place, wants, wait_s):
            place = self.rig.at(place)
            if self.rig.board.connector(*place).ev is not None:
                self.rig.do(self.rig.board.ev_state, *place, wants)
            self._then(wait_s)

        @rule(card=CARDS, wait_s=WAITS)
        def swipe(self, card, wait_s):
            self.rig.do(self.rig.board.swipe, "reader", card)
            self._then(wait_s)

        @rule(
            place=PLACES,
            kind=EVS,
            card=CARDS,
            cable_a=st.sampled_from([13.0, 32.0]),
            wait_s=st.sampled_from([0.3, 2.0, 11.0]),
        )
        def a_good_charge(self, place, kind, card, cable_a, wait_s):
            """The way most things go, so that the others meet power that flows."""
            place = self.rig.at(place)
            rig = self.rig
            self._mend(place)
            if not rig.board.connector(*place).ev_connected:
                rig.do(rig.board.plug_in, *place, kind, cable_a if rig.socket else None)
            rig.wait(1.0)
            if rig.station.evses[place[0]].free:
                rig.do(self.rig.post, ev.TokenPresented(IdToken(card, "ISO14443"), (place[0],)))
            self._then(wait_s)

        @rule(evse_id=st.sampled_from([1, 2]), wait_s=WAITS)
        def remote_stop(self, evse_id, wait_s):
            transaction_id = self.rig.station.transaction_id(evse_id)
            if transaction_id is not None:
                self.rig.do(self.rig.post, ev.StopRequested(transaction_id))
            self._then(wait_s)

        @rule(evse_id=st.sampled_from([1, 2]), wait_s=WAITS)
        def judged_once_more(self, evse_id, wait_s):
            transaction = self.rig.station.evses[evse_id].transaction
            if transaction is not None and transaction.token is not None:
                names = transaction.transaction_id, transaction.token
                self.rig.do(self.rig.post, ev.TransactionAnswered(*names, TokenInfo("Invalid")))
            self._then(wait_s)

        @rule(
            evse_id=st.sampled_from([0, 1, 2]),
            limit_a=st.sampled_from([None, None, 0.0, 6.0, 17.3]),
            wait_s=WAITS,
        )
        def limit(self, evse_id, limit_a, wait_s):
            self.rig.do(self.rig.post, ev.CurrentLimited(evse_id, limit_a))
            self._then(wait_s)

        @rule(
            place=PLACES,
            is_new=st.booleans(),
            of_all=st.booleans(),
            limit_a=st.sampled_from([None, 0.0, 6.5, 14.2, 40.0]),
            lifetime_s=st.sampled_from([None, None, 2.0, 20.0]),
            wait_s=WAITS,
        )
        def energy_manager_speaks(self, place, is_new, of_all, limit_a, lifetime_s, wait_s):
            place = self.rig.at(place)
            if is_new:
                self._new_ev(place)
                self._good_card(place)
                self.rig.wait(3.0)
            word = LimitTold(0 if of_all else place[0], limit_a, lifetime_s)
            self.rig.do(self.rig.post, word)
            self._then(wait_s)

        @rule(evse_id=st.sampled_from([0, 1]), operative=st.booleans(), wait_s=WAITS)
        def availability(self, evse_id, operative, wait_s):
            self.rig.do(self.rig.post, ev.AvailabilityRequested(evse_id, 0, operative))
            self._then(wait_s)

        # --- faults ---------------------------------------------------------------------------

        @rule(
            place=PLACES,
            fault=st.sampled_from(["rcd", "ground", "pilot_lost", "meter_lost"]),
            lasts_s=st.sampled_from([0.01, 0.5, 4.0, 8.0, None]),
            wait_s=WAITS,
        )
        def fault(self, place, fault, lasts_s, wait_s):
            place = self.rig.at(place)
            self.rig.do(self.rig.board.raise_fault, *place, fault)
            if lasts_s is not None:
                self.rig.wait(lasts_s)
                self.rig.do(self.rig.board.clear_fault, *place, fault)
            self._then(wait_s)

        @rule(
            place=PLACES,
            after_s=st.sampled_from([0.3, 1.0]),
            lasts_s=st.sampled_from([0.1, 4.0]),
            trouble=st.sampled_from(["E", "A", "rcd", "pilot_lost", "pressed"]),
        )
        def trouble_while_storing(self, place, after_s, lasts_s, trouble):
            """An order waits for the disk while its reason goes away, and perhaps comes back."""
            place = self.rig.at(place)
            rig = self.rig
            self._new_ev(place)
            rig.store.delay_s = 1.5
            self._good_card(place)
            rig.wait(after_s)
            if trouble in ("E", "A"):
                rig.do(rig.glitch, place, PilotState(trouble))
                rig.wait(lasts_s)
                rig.do(rig.glitch, place, PilotState.B)
            elif trouble == "pressed":
                rig.do(rig.press, place[0], True)
                rig.wait(lasts_s)
                rig.do(rig.press, place[0], False)
            else:
                rig.do(rig.board.raise_fault, *place, trouble)
                rig.wait(lasts_s)
                rig.do(rig.board.clear_fault, *place, trouble)
            self._then(3.0)
            rig.store.delay_s = 0.0

        @rule(evse_id=st.sampled_from([1, 2]), lasts_s=st.sampled_from([1.0, 8.0]), wait_s=WAITS)
        def fault_input(self, evse_id, lasts_s, wait_s):
            self.rig.do(self.rig.press, evse_id, True)
            self.rig.wait(lasts_s)
            self.rig.do(self.rig.press, evse_id, False)
            self._then(wait_s)

        @rule(place=PLACES, wait_s=WAITS)
        def weld(self, place, wait_s):
            place = self.rig.at(place)
            self.rig.do(self.rig.board.weld, *place)
            self._then(wait_s)

        @rule(place=PLACES, repaired=st.booleans(), wait_s=WAITS)
        def service(self, place, repaired, wait_s):
            place = self.rig.at(place)
            if repaired:
                self.rig.do(self.rig.board.clear_fault, *place, "welded_contactor")
                self.rig.wait(1.0)
            self.rig.do(self.rig.post, ev.Serviced(*place))
            self._then(wait_s)

        @rule(place=PLACES, cold=st.booleans())
        def welded_and_forgotten(self, place, cold):
            """The contacts weld under load, come loose by themselves, and the station restarts."""
            place = self.rig.at(place)
            rig = self.rig
            self._new_ev(place)
            self._good_card(place)
            rig.wait(3.0)
            rig.do(rig.board.weld, *place)
            rig.do(rig.board.plug_out, *place)
            rig.wait(15.0)
            rig.do(rig.board.clear_fault, *place, "welded_contactor")
            rig.wait(1.0)
            rig.restart(cold=cold)
            self._new_ev(place)
            self._good_card(place)
            self._then(8.0)

        @rule(place=PLACES, jammed=st.booleans(), moves=st.booleans(), wait_s=WAITS)
        def lock(self, place, jammed, moves, wait_s):
            place = self.rig.at(place)
            self.rig.places[place].lock_jammed = jammed
            if moves:
                self.rig.do(self.rig.lock_moves, place, False)
            self._then(wait_s)

        # --- stale values ---------------------------------------------------------------------

        @rule(
            kind=st.sampled_from(["pilot", "meter"]),
            place=PLACES,
            is_new=st.booleans(),
            lasts_s=st.sampled_from([3.0, 20.0, 40.0, None]),
        )
        def nothing_heard(self, kind, place, is_new, lasts_s):
            place = self.rig.at(place)
            if is_new:
                self._new_ev(place)
                self._good_card(place)
                self.rig.wait(3.0)
            self.rig.deaf.add(self.rig.device(kind, place))
            self._then(lasts_s or 1.0)
            if lasts_s is not None:
                self.rig.hear(self.rig.device(kind, place))

        @rule(place=PLACES, times=st.sampled_from([1, 20]))
        def frozen(self, place, times):
            """The same report again and again, and nothing else."""
            place = self.rig.at(place)
            self.rig.deaf.add(self.rig.device("pilot", place))
            for _ in range(times):
                self.rig.deaf.discard(self.rig.device("pilot", place))
                self.rig.do(self.rig.again, place)
                self.rig.deaf.add(self.rig.device("pilot", place))
                self.rig.wait(1.0)
            self.rig.hear(self.rig.device("pilot", place))
            self._then(0.0)

        @rule(place=PLACES, state=st.sampled_from(["A", "B", "E", "F", "unknown"]), wait_s=WAITS)
        def glitch(self, place, state, wait_s):
            place = self.rig.at(place)
            self.rig.do(self.rig.glitch, place, PilotState(state))
            self._then(wait_s)

        # --- disk, clock, process -------------------------------------------------------------

        @rule(delay_s=st.sampled_from([0.0, 0.3, 1.5, 3.0, 12.0]), wait_s=WAITS)
        def disk(self, delay_s, wait_s):
            self.rig.store.delay_s = delay_s
            self._then(wait_s)

        @rule(lasts_s=st.sampled_from([0.5, 4.0, 20.0]), wait_s=WAITS)
        def disk_refuses(self, lasts_s, wait_s):
            self.rig.store.refuses = True
            self.rig.wait(lasts_s)
            self.rig.store.refuses = False
            self._then(wait_s)

        @rule(by_s=st.sampled_from([-1e6, -3600.0, 2.0, 86400.0]), synced=st.booleans())
        def clock_jumps(self, by_s, synced):
            self.rig.utc_error_s += by_s
            self.rig.is_synced = synced
            self._then(0.02)

        @rule(online=st.booleans(), wait_s=WAITS)
        def link(self, online, wait_s):
            self.rig.office.online = online
            self.rig.do(self.rig.post, ev.CsmsReached() if online else ev.CsmsLost())
            self._then(wait_s)

        @rule(seconds=st.sampled_from([0.5, 3.0, 11.0, 61.0]))
        def time_passes(self, seconds):
            self._then(seconds)

        @rule(cold=st.booleans(), wait_s=WAITS)
        def restart(self, cold, wait_s):
            self.rig.restart(cold=cold)
            self._then(wait_s)

        def teardown(self):
            if not hasattr(self, "rig"):
                return
            try:
                if not self.rig.is_broken:
                    self.rig.settle()
                    self.everybody_is_served()
            finally:
                self.rig.close()

    return Machine


def play(days: int, *, derandomize: bool = True, number: int | None = None) -> Progress:
    """Runs the machine; raises what the judge found. `number`: other days for each."""
    progress = Progress()
    factory = machine(progress)
    run_state_machine_as_test(
        factory if number is None else seed(number)(factory),
        settings=settings(
            max_examples=days,
            stateful_step_count=50,
            derandomize=derandomize and number is None,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )
    return progress
