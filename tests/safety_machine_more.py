"""More of the real world for the safety machine: boards with inputs, heat, orders of the CSMS and
the technician that come in the middle of anything."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule
from msgspec.structs import replace

from agent.core import events as ev
from agent.core.events import IdToken
from agent.core.local_limit import LimitTold
from drivers.sim.connector import Ev
from tests.safety_machine_parts import BAD_CARD, GOOD_CARDS
from tests.safety_machine_rig import INPUTS, Rig

PLACES = st.sampled_from([(1, 1), (2, 1), (1, 2), (2, 2)])
"""Where an EVSE has one connector only, that one is meant."""
WAITS = st.sampled_from([0.0, 0.02, 0.3, 1.0, 2.0, 5.0, 11.0])
CARDS = st.sampled_from([*sorted(GOOD_CARDS), BAD_CARD])
BOARDS = st.sampled_from(sorted(Rig.boards))
POINTS = st.sampled_from(
    [{"PowerPathClosed"}, {"EVConnected"}, {"Authorized"}, {"EVConnected", "Authorized"}]
)
RESET_S, HELD_S = 70.0, 80.0
"""A reset waits no longer for its last path; an order that was refused is given again, load that
comes back by and by is there."""
BUTTON = IdToken("", "NoAuthorization")


class More:
    """Rules beside those of `safety_machine.machine`."""

    rig: Rig
    _then: Any

    # --- a charge that works ----------------------------------------------------------------------

    def _mend(self, place):
        """No fault stands, all reports arrive, the disk works."""
        rig = self.rig
        rig.store.delay_s, rig.store.refuses = 0.0, False
        rig.hear(*rig.deaf)
        for board in rig.boards:
            rig.do(rig.find_board, board)
            for name, calm in INPUTS.items():
                rig.do(rig.turn, board, name, calm)
        for fault in ("rcd", "ground", "pilot_lost", "meter_lost"):
            rig.do(rig.board.clear_fault, *place, fault)
        if not rig.welded:
            rig.do(rig.post, ev.Serviced(*place))

    def _new_ev(self, place, kind=None):
        rig = self.rig
        rig.do(rig.board.plug_out, *place)
        rig.wait(8.0)
        if not rig.welded:
            rig.do(rig.post, ev.Serviced(*place))
        rig.do(rig.board.plug_in, *place, kind or Ev(ready_after_s=0.1), 32.0)
        rig.wait(2.0)

    def _good_card(self, place):
        if self.rig.station.evses[place[0]].free:
            card = IdToken(min(GOOD_CARDS), "ISO14443")
            self.rig.do(self.rig.post, ev.TokenPresented(card, (place[0],)))

    def _ease(self, place):
        """Nothing holds a charge back there."""
        rig = self.rig
        self._mend(place)
        rig.places[place].lock_jammed = False
        for evse_id in (0, place[0]):
            rig.do(rig.post, ev.CurrentLimited(evse_id, None))
            rig.do(rig.post, ev.AvailabilityRequested(evse_id, 0, True))
        if place in rig.heat_c:
            rig.do(rig.heat, place, 40.0)

    def _good_charge(self, place, kind=None):
        """As much as can be had flows."""
        self._ease(place)
        self._new_ev(place, kind)
        self._good_card(place)
        self.rig.wait(3.0)

    def everybody_is_served(self):
        """Nothing of the day refuses an EV for ever: all is mended, who comes gets power."""
        rig = self.rig
        rig.office.online = True
        rig.do(rig.post, ev.CsmsReached())
        rig.wait(RESET_S)
        for place in ((1, 1), (2, 1)):
            rig.welded.discard(place)
            rig.tripped.discard(place)
            self._ease(place)
            for evse_id in (0, place[0]):
                rig.do(rig.post, LimitTold(evse_id, None))  # a word for ever outlasts a silence
            rig.wait(1.0)
            rig.do(rig.post, ev.Serviced(*place))
            self._new_ev(place)
            self._good_card(place)
            waited_s = 0.0
            while place not in rig.standing and waited_s < HELD_S:
                rig.wait(5.0)
                waited_s += 5.0
            if place not in rig.standing:
                rig.wrong.append(f"served: nobody gets power at {place}, though all is mended")
            rig.do(rig.board.plug_out, *place)
            rig.wait(12.0)

    # --- the board ------------------------------------------------------------------------------

    @rule(
        board=BOARDS,
        name=st.sampled_from(sorted(INPUTS)),
        lasts_s=st.sampled_from([0.006, 0.5, 8.0, None]),
        wait_s=WAITS,
    )
    def an_input_turns(self, board, name, lasts_s, wait_s):
        """Emergency stop, residual current, mains: an edge, a while, or for good."""
        calm = INPUTS[name]
        self.rig.do(self.rig.turn, board, name, not calm)
        if lasts_s is not None:
            self.rig.wait(lasts_s)
            self.rig.do(self.rig.turn, board, name, calm)
        self._then(wait_s)

    @rule(place=PLACES, lasts_s=st.sampled_from([0.006, 0.5]), wait_s=st.sampled_from([11.0, 61.0]))
    def a_residual_current(self, place, lasts_s, wait_s):
        """Amid a charge; then the RCD is set again."""
        rig, place = self.rig, self.rig.at(place)
        self._good_charge(place)
        rig.do(rig.turn, f"board{place[0]}", "rcd", True)
        rig.wait(lasts_s)
        rig.do(rig.turn, f"board{place[0]}", "rcd", False)
        self._then(wait_s)
        if rig.board.connector(*place).ev_connected:
            self._good_card(place)
        self._then(3.0)

    @rule(board=BOARDS, lasts_s=st.sampled_from([0.5, 8.0, 70.0]), wait_s=WAITS)
    def a_board_is_lost(self, board, lasts_s, wait_s):
        self.rig.do(self.rig.lose_board, board)
        self.rig.wait(lasts_s)
        self.rig.do(self.rig.find_board, board)
        self._then(wait_s)

    @rule(
        place=PLACES,
        is_new=st.booleans(),
        temperature_c=st.sampled_from([59.0, 66.0, 79.0, 85.0]),
        wait_s=WAITS,
    )
    def heat(self, place, is_new, temperature_c, wait_s):
        place = self.rig.at(place)
        if is_new:
            self._good_charge(place)
        self.rig.do(self.rig.heat, place, temperature_c)
        self._then(wait_s)

    @rule(place=PLACES, in_person=st.booleans(), wait_s=st.sampled_from([6.0, 31.0]))
    def the_mains_return(self, place, in_person, wait_s):
        """An EV is plugged in; the CSMS, or somebody who is there, wants it to charge."""
        rig, place = self.rig, self.rig.at(place)
        self._ease(place)
        self._new_ev(place)
        rig.restart(cold=True)
        rig.wait(1.0)
        if in_person:
            self._good_card(place)
        else:
            token = IdToken(min(GOOD_CARDS), "Central")
            rig.do(rig.post, ev.StartRequested(place[0], token, None, 7))
        self._then(wait_s)

    @rule(place=PLACES, trouble=st.sampled_from(["lock", "lock", "rcd", "pressed"]))
    def trouble_while_the_disk_is_slow(self, place, trouble):
        """The core hears of it only when the disk has answered."""
        rig, place = self.rig, self.rig.at(place)
        self._good_charge(place)
        rig.store.delay_s = 3.0
        rig.do(rig.post, ev.AvailabilityRequested(place[0], 0, True))
        rig.wait(0.02)
        if trouble == "lock":
            rig.do(rig.lock_moves, place, False)
        elif trouble == "rcd":
            rig.do(rig.board.raise_fault, *place, "rcd")
        else:
            rig.do(rig.press, place[0], True)
        self._then(2.0)
        rig.do(rig.board.clear_fault, *place, "rcd")
        rig.do(rig.press, place[0], False)
        rig.store.delay_s = 0.0

    @rule(place=PLACES, lasts_s=st.sampled_from([2.5, 6.5]), wait_s=WAITS)
    def a_limit_lifted_while_the_disk_refuses(self, place, lasts_s, wait_s):
        """An offer waits to be raised while everything is stopped."""
        rig, place = self.rig, self.rig.at(place)
        self._good_charge(place)
        rig.do(rig.post, ev.CurrentLimited(place[0], 6.0))
        rig.wait(0.3)
        rig.do(rig.post, ev.CurrentLimited(place[0], None))
        rig.wait(0.3)
        rig.store.refuses = True
        rig.do(rig.post, ev.AvailabilityRequested(place[0], 0, True))
        rig.wait(lasts_s)
        rig.store.refuses = False
        self._then(wait_s)

    @rule(place=PLACES, wait_s=WAITS)
    def another_ev_at_once(self, place, wait_s):
        """One cable out, the next in, before anybody has looked."""
        rig, place = self.rig, self.rig.at(place)
        rig.do(rig.board.plug_out, *place)
        rig.do(rig.board.plug_in, *place, Ev(ready_after_s=0.05), 20.0)
        self._then(wait_s)

    @rule(wait_s=st.sampled_from([0.3, 2.0, 7.0]), by_card=st.booleans())
    def one_supply_for_two(self, wait_s, by_card):
        """One EV is told to stop, and goes on as long as it is let; another one waits for it."""
        rig = self.rig
        self._ease((2, 1))
        self._new_ev((2, 1), Ev(current_a=32.0, ready_after_s=0.1))
        self._good_charge((1, 1), Ev(ignores_pilot=True, current_a=6.0))
        if by_card:
            card = IdToken(min(GOOD_CARDS), "ISO14443")
            rig.do(rig.post, ev.TokenPresented(card, (1,)))
        else:
            rig.do(rig.post, ev.CurrentLimited(1, 0.0))
        rig.wait(0.3)
        self._good_card((2, 1))
        self._then(wait_s)
        rig.wait(7.0)
        rig.do(rig.post, ev.CurrentLimited(1, None))

    # --- the CSMS and the technician --------------------------------------------------------------

    @rule(place=PLACES, lasts_s=st.sampled_from([5.0, 20.0]))
    def nobody_steers(self, place, lasts_s):
        """The CSMS falls silent amid a charge, and comes back."""
        place = self.rig.at(place)
        self._good_charge(place)
        self.rig.do(self.rig.post, ev.CsmsLost())
        self.rig.wait(lasts_s)
        self.rig.do(self.rig.post, ev.CsmsReached())
        self._then(0.3)

    @rule(evse_id=st.sampled_from([0, 1, 2]), card=CARDS, wait_s=WAITS)
    def remote_start(self, evse_id, card, wait_s):
        if card in GOOD_CARDS:
            token = IdToken(card, "Central")
            self.rig.do(self.rig.post, ev.StartRequested(evse_id, token, None, 7))
        self._then(wait_s)

    @rule(evse_id=st.sampled_from([1, 2]), wait_s=WAITS)
    def start_button(self, evse_id, wait_s):
        """Where no card is needed."""
        if not self.rig.policy.auth_enabled:
            self.rig.do(self.rig.post, ev.TokenPresented(BUTTON, (evse_id,)))
        self._then(wait_s)

    @rule(place=PLACES, wait_s=WAITS)
    def unlock(self, place, wait_s):
        self.rig.do(self.rig.post, ev.UnlockRequested(*self.rig.at(place)))
        self._then(wait_s)

    @rule(evse_id=st.sampled_from([0, 1, 2]), on_idle=st.booleans(), wait_s=WAITS)
    def reset(self, evse_id, on_idle, wait_s):
        self.rig.do(self.rig.post, ev.ResetRequested(on_idle, evse_id))
        self._then(wait_s)

    @rule(start=POINTS, stop=POINTS, side=st.booleans(), invalid=st.booleans(), wait_s=WAITS)
    def variables(self, start, stop, side, invalid, wait_s):
        """They change while charges run."""
        self.rig.policy = replace(
            self.rig.policy,
            tx_start_point=frozenset(start),
            tx_stop_point=frozenset(stop),
            stop_tx_on_ev_side_disconnect=side,
            stop_tx_on_invalid_id=invalid,
        )
        self.rig.do(self.rig.post, ev.PolicyChanged(self.rig.policy))
        self._then(wait_s)

    @rule(limits_a=st.lists(st.sampled_from([6.0, 9.0, 12.0, 17.3, 25.0]), min_size=3, max_size=6))
    def a_restless_profile(self, limits_a):
        """The limit moves each second."""
        for limit_a in limits_a:
            self.rig.do(self.rig.post, ev.CurrentLimited(1, limit_a))
            self.rig.wait(1.0)
        self.rig.do(self.rig.post, ev.CurrentLimited(1, None))
        self._then(11.0)
