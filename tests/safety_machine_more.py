"""More of the real world for the safety machine: boards with inputs, heat, orders of the CSMS and
the technician that come in the middle of anything."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule
from msgspec.structs import replace

from agent.core import events as ev
from agent.core.events import IdToken
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
BUTTON = IdToken("", "NoAuthorization")


class More:
    """Rules beside those of `safety_machine.machine`."""

    rig: Rig
    _then: Any
    _new_ev: Any
    _good_card: Any

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

    @rule(board=BOARDS, lasts_s=st.sampled_from([0.5, 8.0, 70.0]), wait_s=WAITS)
    def a_board_is_lost(self, board, lasts_s, wait_s):
        self.rig.do(self.rig.lose_board, board)
        self.rig.wait(lasts_s)
        self.rig.do(self.rig.find_board, board)
        self._then(wait_s)

    @rule(place=PLACES, temperature_c=st.sampled_from([59.0, 66.0, 79.0, 85.0]), wait_s=WAITS)
    def heat(self, place, temperature_c, wait_s):
        self.rig.do(self.rig.heat, self.rig.at(place), temperature_c)
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
        for place in ((1, 1), (2, 1)):
            self._new_ev(place)
        rig.do(rig.board.plug_out, 1, 1)
        rig.wait(8.0)
        rig.do(rig.board.plug_in, 1, 1, Ev(ignores_pilot=True, current_a=6.0), 32.0)
        rig.wait(1.0)
        self._good_card((1, 1))
        rig.wait(9.0)
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
