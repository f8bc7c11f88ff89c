"""How a charge begins: plug, card, remote start, and every place where nothing may begin."""

import pytest
from msgspec.structs import replace

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import IdToken, TokenInfo
from agent.core.granting import NO_TOKEN
from drivers.contract import PilotReading, PilotState, PowerPath

GROUP = IdToken("FAMILY", "Central")
APP = IdToken("APP", "Central")
BEGIN_TO_CHARGE = [
    ("Updated", "ChargingStateChanged", "Charging"),
]


def kinds(effects: list[object], kind: type) -> list[object]:
    return [e for e in effects if isinstance(e, kind)]


def texts(effects: list[object]) -> str:
    return " | ".join(e.text for e in kinds(effects, ef.Show))


def test_plug_then_card_starts_with_the_card_and_power_follows_in_the_same_turn(play) -> None:
    p = play()
    assert kinds(p.pilot("B"), ef.Record) == []
    effects = p.swipe()
    started = kinds(effects, ef.Record)[0]
    assert (started.event_type, started.trigger_reason) == ("Started", "Authorized")
    assert (started.token.value, started.connector_id, started.seq_no) == ("CARD", 1, 0)
    assert started.samples[0].context == "Transaction.Begin"
    assert kinds(effects, ef.AllowPower) == [ef.AllowPower(1, 1, 32.0, p.permit)]
    p.pilot("C", closed=True)
    assert p.story()[1:] == BEGIN_TO_CHARGE


def test_card_then_plug_waits_for_the_cable(play) -> None:
    p = play()
    p.swipe()
    assert p.told() == []
    assert p.ledger.allowed == {}
    p.wait(30)
    p.pilot("B")
    assert p.story() == [("Started", "CablePluggedIn", "EVConnected")]
    assert p.told()[0].token.value == "CARD"


def test_the_begin_value_is_read_anew_when_the_last_one_is_old(play) -> None:
    p = play()
    p.meter()
    p.pilot("B")
    p.wait(60)
    p.meter_answers = False
    effects = p.swipe()
    assert kinds(effects, ef.ReadMeter)
    assert not kinds(effects, ef.Record | ef.AllowPower)
    asked = kinds(p.wait(10), ef.ReadMeter)
    assert 4 <= len(asked) <= 6, "asked again every 2 s"
    p.meter_answers = True
    p.wait(3)
    assert p.story() == [("Started", "Authorized", "EVConnected")]
    assert p.told()[0].samples[0].reading.at_s >= p.now_s - 5


def test_a_meter_that_never_answers_ends_the_wait_of_the_driver(play) -> None:
    p = play()
    p.meter_answers = False
    p.pilot("B")
    p.swipe()
    assert "not possible" in texts(p.wait(61))
    assert p.evse.grant is None
    p.meter_answers = True
    p.meter()
    p.wait(300)
    assert p.told() == [], "an hour later the charge does not begin by itself"
    p.swipe()
    assert len(p.told()) == 1


def test_a_card_with_no_cable_lapses_after_ev_connection_timeout(play) -> None:
    p = play(ev_connection_timeout_s=20)
    p.swipe()
    assert "present the card again" in texts(p.wait(20))
    p.pilot("B")
    p.wait(5)
    assert p.told() == []
    assert p.ledger.allowed == {}


def test_a_floating_card_goes_to_the_evse_that_is_plugged_in_next(play) -> None:
    p = play([(1,), (1,)])
    assert "plug in" in texts(p.swipe())
    p.pilot("B", (2, 1))
    assert p.told()[0].evse_id == 2
    assert not p.station.granting.floating
    p.pilot("B", (1, 1))
    assert p.station.evses[1].grant is None


def test_a_floating_card_presented_again_is_cancelled_and_lapses_otherwise(play) -> None:
    p = play([(1,), (1,)], ev_connection_timeout_s=30)
    p.swipe()
    p.swipe()
    p.pilot("B", (2, 1))
    assert p.told() == []
    p.pilot("A", (2, 1))
    p.swipe()
    assert "present the card again" in texts(p.wait(31))
    p.pilot("B", (2, 1))
    assert p.told() == []


def test_of_two_waiting_evs_the_last_plugged_in_gets_the_card(play) -> None:
    p = play([(1,), (1,)])
    p.pilot("B", (1, 1))
    p.wait(10)
    p.pilot("B", (2, 1))
    p.swipe()
    assert p.told()[0].evse_id == 2


def test_a_reader_serves_only_its_evses(play) -> None:
    p = play([(1,), (1,)])
    p.pilot("B", (2, 1))
    p.swipe("CARD", (1,))
    assert p.told() == []
    assert p.station.evses[1].grant is not None


def test_the_evse_list_of_the_csms_limits_a_card(play) -> None:
    p = play([(1,), (1,)])
    p.csms["CARD"] = TokenInfo("Accepted", evse_ids=(1,))
    p.pilot("B", (2, 1))
    p.swipe()
    assert p.station.evses[2].grant is None
    assert p.station.evses[1].grant is not None


def test_a_second_card_never_takes_over_a_running_charge(play) -> None:
    p = play()
    transaction_id = p.charging("ONE")
    assert "No free connector" in texts(p.swipe("TWO"))
    p.wait(5)
    assert p.station.transaction_id(1) == transaction_id
    assert (1, 1) in p.ledger.allowed


def test_a_refused_card_tells_the_driver_and_records_nothing(play) -> None:
    p = play()
    p.csms["CARD"] = TokenInfo("Blocked")
    p.pilot("B")
    assert "Blocked" in texts(p.swipe())
    assert p.told() == []
    assert p.ledger.allowed == {}


def test_the_card_of_a_finished_charge_starts_it_again_but_not_a_strangers(play) -> None:
    p = play([(1,), (1,)])
    p.charging("OWNER")
    p.swipe("OWNER")
    p.pilot("B")
    p.wait(5)
    assert p.told()[-1].event_type == "Ended"
    p.swipe("STRANGER")
    assert p.station.evses[1].grant is None, "no stranger pays for the EV that is still plugged"
    p.swipe("STRANGER")
    p.swipe("OWNER")
    assert p.told()[-1].event_type == "Started"
    assert p.told()[-1].evse_id == 1


@pytest.mark.parametrize("start", ["EVConnected", "PowerPathClosed", "Authorized"])
def test_after_a_local_stop_the_next_card_starts_a_new_transaction(play, start: str) -> None:
    p = play(tx_start_point=frozenset({start}), tx_stop_point=frozenset({"Authorized"}))
    first = p.charging("ONE")
    p.swipe("ONE")
    p.pilot("B")
    p.wait(60)
    assert p.told(first)[-1].event_type == "Ended"
    assert len(p.ledger.told) == 1, "not by itself, while the same EV stays plugged in"
    p.swipe("TWO")
    assert len(p.ledger.told) == 2
    assert p.story() == [("Started", "Authorized", "EVConnected")]


# --- offline --------------------------------------------------------------------------------------

ACCEPTED = TokenInfo("Accepted", cache_expiry_s=1e12)
BLOCKED = TokenInfo("Blocked")
UNKNOWN_MAY = {"offline_unknown_id": True}
OFFLINE = [
    ("a cached card", ACCEPTED, {}, True),
    ("an unknown card", None, {}, False),
    ("an unknown card where unknown ones may", None, UNKNOWN_MAY, True),
    ("a blocked card", TokenInfo("Blocked"), {}, False),
    ("a blocked card where unknown ones may", BLOCKED, UNKNOWN_MAY, False),
    ("a card whose time is over", TokenInfo("Accepted", cache_expiry_s=1.0), {}, False),
    ("a card older than LifeTime", TokenInfo("Accepted"), {"auth_cache_lifetime_s": 60}, False),
    ("a cached card where offline is closed", ACCEPTED, {"local_authorize_offline": False}, False),
    ("an unknown card where offline is closed", None,
     {"local_authorize_offline": False, "offline_unknown_id": True}, False),
    ("a cached card with the cache off", ACCEPTED, {"auth_cache_enabled": False}, False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("_case", "cached", "policy", "starts"), OFFLINE, ids=lambda v: str(v)[:40]
)
def test_offline(play, _case: str, cached: TokenInfo | None, policy: dict, starts: bool) -> None:
    p = play(online=False, **policy)
    if cached is not None:
        p.cache["CARD"] = cached
    p.pilot("B")
    effects = p.swipe()
    assert not kinds(effects, ef.AskCsms)
    assert bool(p.told()) == bool(starts) == ((1, 1) in p.ledger.allowed)


@pytest.mark.parametrize("pre", [True, False])
def test_online_a_cached_card_is_asked_for_unless_local_pre_authorize(play, pre: bool) -> None:
    p = play(local_pre_authorize=pre)
    p.cache["CARD"] = ACCEPTED
    p.pilot("B")
    assert bool(kinds(p.swipe(), ef.AskCsms)) is not pre
    assert len(p.told()) == 1


def test_a_csms_that_does_not_answer_is_judged_as_offline(play) -> None:
    p = play()
    p.csms_answers = False
    p.cache["CARD"] = ACCEPTED
    p.pilot("B")
    p.swipe()
    assert p.told() == []
    p.do(ev.TokenUnanswered(IdToken("CARD", "ISO14443")))
    assert len(p.told()) == 1


def test_a_question_nobody_answered_does_not_lock_the_card_out(play) -> None:
    p = play()
    p.csms_answers = False
    p.pilot("B")
    p.swipe()
    assert p.swipe() == [], "one question is enough"
    p.wait(121)
    p.csms_answers = True
    p.swipe()
    assert len(p.told()) == 1


@pytest.mark.parametrize("token_type", ["Central", "NoAuthorization"])
def test_tokens_no_reader_shows_are_never_cached(play, token_type: str) -> None:
    p = play()
    p.charging()
    token = IdToken("X", token_type)
    info = TokenInfo("Accepted")
    known = ev.TransactionAnswered(p.station.transaction_id(1), token, info)
    assert not kinds(p.do(known), ef.SaveToken)
    assert not kinds(p.do(ev.TokenAnswered(token, info)), ef.SaveToken)
    assert kinds(p.do(ev.TokenAnswered(IdToken("X", "ISO14443"), info)), ef.SaveToken)


# --- remote ---------------------------------------------------------------------------------------


def test_remote_start_before_the_cable(play) -> None:
    p = play()
    p.do(ev.StartRequested(1, APP, None, 7))
    p.wait(10)
    p.pilot("B")
    assert p.story() == [("Started", "RemoteStart", "EVConnected")]
    assert (p.told()[0].remote_start_id, p.told()[0].token) == (7, APP)


def test_remote_start_after_the_cable_tells_its_id_once(play) -> None:
    p = play()
    p.pilot("B")
    p.do(ev.StartRequested(1, APP, None, 7))
    p.pilot("C", closed=True)
    p.wait(130)
    assert [r.remote_start_id for r in p.told()] == [7] + [None] * (len(p.told()) - 1)
    assert len(p.told()) > 3


def test_remote_start_joins_the_transaction_that_ev_connected_began(play) -> None:
    p = play(tx_start_point=frozenset({"EVConnected"}))
    p.pilot("B")
    before = p.station.transaction_id(1)
    assert p.told()[0].token is None
    p.do(ev.StartRequested(1, APP, None, 7))
    assert p.station.transaction_id(1) == before
    assert p.story()[-1] == ("Updated", "RemoteStart", "EVConnected")
    assert (p.told()[-1].remote_start_id, p.told()[-1].token) == (7, APP)


@pytest.mark.parametrize(("token", "asked"), [(APP, False), (IdToken("X", "ISO14443"), True)])
def test_authorize_remote_start_asks_unless_the_token_is_central(play, token, asked) -> None:
    p = play(authorize_remote_start=True)
    p.pilot("B")
    assert bool(kinds(p.do(ev.StartRequested(1, token, None, 7)), ef.AskCsms)) is asked
    assert len(p.told()) == 1


def test_a_remote_start_of_a_group_never_stops_that_groups_charge(play) -> None:
    p = play(authorize_remote_start=True)
    p.csms["ONE"] = TokenInfo("Accepted", GROUP)
    p.charging("ONE")
    p.csms["TWO"] = TokenInfo("Accepted", GROUP)
    p.do(ev.StartRequested(1, IdToken("TWO", "ISO14443"), None, 7))
    assert p.evse.ending is None
    assert (1, 1) in p.ledger.allowed


# --- start points ---------------------------------------------------------------------------------

PLUG_FIRST = {
    "EVConnected": [
        ("Started", "CablePluggedIn", "EVConnected"),
        ("Updated", "Authorized", "EVConnected"),
        *BEGIN_TO_CHARGE,
    ],
    "Authorized": [("Started", "Authorized", "EVConnected"), *BEGIN_TO_CHARGE],
    "PowerPathClosed": [("Started", "Authorized", "EVConnected"), *BEGIN_TO_CHARGE],
    "EnergyTransfer": [("Started", "ChargingStateChanged", "Charging")],
}
CARD_FIRST = {
    "EVConnected": [("Started", "CablePluggedIn", "EVConnected"), *BEGIN_TO_CHARGE],
    "Authorized": [
        ("Started", "Authorized", "Idle"),
        ("Updated", "CablePluggedIn", "EVConnected"),
        *BEGIN_TO_CHARGE,
    ],
    "PowerPathClosed": [("Started", "CablePluggedIn", "EVConnected"), *BEGIN_TO_CHARGE],
    "EnergyTransfer": [("Started", "ChargingStateChanged", "Charging")],
}


@pytest.mark.parametrize("point", PLUG_FIRST)
@pytest.mark.parametrize("card_first", [False, True])
def test_start_points(play, point: str, card_first: bool) -> None:
    p = play(tx_start_point=frozenset({point}))
    acts = [lambda: p.pilot("B"), p.swipe]
    for act in reversed(acts) if card_first else acts:
        act()
        p.wait(2)
    p.pilot("C")
    p.pilot("C", closed=True)
    assert p.story() == (CARD_FIRST if card_first else PLUG_FIRST)[point]
    tokens = [r.token.value for r in p.told() if r.token]
    assert tokens == ["CARD"], "told once"
    places = [r.connector_id for r in p.told() if r.connector_id is not None]
    assert places == [1], "told once"


def test_a_session_that_never_met_its_start_point_leaves_no_trace(play) -> None:
    p = play(tx_start_point=frozenset({"EnergyTransfer"}))
    p.pilot("B")
    p.swipe()
    assert "transaction/1" in p.saved
    assert (1, 1) in p.ledger.allowed
    p.pilot("A")
    p.wait(10)
    assert p.told() == []
    assert "transaction/1" not in p.saved


def test_energy_before_the_start_point_is_told_all_the_same(play) -> None:
    p = play(tx_start_point=frozenset({"EnergyTransfer"}))
    p.pilot("B")
    p.swipe()
    p.pilot("B", closed=True)
    p.wait(2)
    p.energy_wh[1] += 250
    p.pilot("A")
    p.wait(10)
    assert [r.event_type for r in p.told()] == ["Started", "Ended"]
    assert p.told()[-1].samples[0].reading.energy_wh == 100_250


def test_an_ev_that_does_not_take_its_offer_is_suspending_after_a_while(play) -> None:
    p = play()
    p.pilot("B")
    p.swipe()
    p.wait(14)
    assert p.story()[-1][2] == "EVConnected"
    p.wait(2)
    assert p.story()[-1] == ("Updated", "ChargingStateChanged", "SuspendedEV")


# --- without authorisation ------------------------------------------------------------------------


def test_without_authorisation_every_ev_charges_and_a_new_one_again(play) -> None:
    p = play(auth_enabled=False)
    for _ in range(2):
        p.pilot("B")
        assert p.told()[0].token == NO_TOKEN
        p.wait(6)
        p.pilot("C", closed=True)
        p.pilot("A")
        p.wait(12)
        assert p.told()[-1].event_type == "Ended"
    assert len(p.ledger.told) == 2


def test_without_authorisation_an_ev_plugged_in_during_an_ending_charges(play) -> None:
    p = play(auth_enabled=False)
    p.pilot("B")
    p.wait(6)
    p.pilot("C", closed=True)
    p.meter_answers = False
    p.wait(6)
    p.pilot("A")
    p.wait(1)
    p.pilot("B")
    assert len(p.ledger.told) == 1
    p.meter_answers = True
    p.wait(20)
    assert len(p.ledger.told) == 2
    assert (1, 1) in p.ledger.allowed


def test_without_authorisation_charging_goes_on_after_a_power_cut(play) -> None:
    p = play(auth_enabled=False)
    p.pilot("B")
    p.wait(6)
    p.pilot("C", closed=True)
    p.reboot()
    p.pilot("B")
    p.wait(20)
    assert [r.event_type for r in next(iter(p.ledger.told.values()))][-1] == "Ended"
    assert len(p.ledger.told) == 2
    assert (1, 1) in p.ledger.allowed


# --- availability, places -------------------------------------------------------------------------


@pytest.mark.parametrize("place", [(0, 0), (1, 0), (1, 1)])
def test_nothing_starts_where_nothing_may(play, place: tuple[int, int]) -> None:
    p = play()
    p.do(ev.AvailabilityRequested(*place, False))
    assert p.statuses()[-1] == "Unavailable"
    p.pilot("B")
    p.swipe()
    assert p.told() == []
    p.pilot("A")
    p.do(ev.AvailabilityRequested(*place, True))
    assert p.statuses()[-1] == "Available"
    p.pilot("B")
    p.swipe()
    assert len(p.told()) == 1


def test_operative_again_restores_what_each_level_had(play) -> None:
    p = play([(1,), (1,)])
    p.do(ev.AvailabilityRequested(2, 0, False))
    p.do(ev.AvailabilityRequested(0, 0, False))
    p.do(ev.AvailabilityRequested(0, 0, True))
    assert p.station.status((1, 1)) == "Available"
    assert p.station.status((2, 1)) == "Unavailable"
    p.do(ev.AvailabilityRequested(0, 0, False))
    p.start()
    assert p.station.status((1, 1)) == "Unavailable"
    p.do(ev.AvailabilityRequested(0, 0, True))
    assert p.station.status((1, 1)) == "Available"
    assert p.station.status((2, 1)) == "Unavailable"


def test_a_running_charge_goes_on_and_the_connector_is_unavailable_after_it(play) -> None:
    p = play()
    p.charging()
    p.do(ev.AvailabilityRequested(1, 0, False))
    p.wait(60)
    assert (1, 1) in p.ledger.allowed
    p.swipe()
    p.pilot("B")
    p.wait(5)
    assert p.statuses()[-2:] == ["Occupied", "Unavailable"]


def test_a_card_accepted_before_it_became_unavailable_does_not_charge_later(play) -> None:
    p = play()
    p.swipe()
    p.do(ev.AvailabilityRequested(1, 0, False))
    assert "not possible" in texts(p.pilot("B"))
    p.do(ev.AvailabilityRequested(1, 0, True))
    p.wait(120)
    assert p.told() == []


def test_two_connectors_of_an_evse_serve_one_ev_at_a_time(play) -> None:
    p = play([(1, 2)])
    first = p.charging("ONE", (1, 2))
    p.pilot("B", (1, 1))
    assert p.story(first)[-1][1] != "CablePluggedIn", "the other cable is not this transaction's"
    p.swipe("TWO")
    assert list(p.ledger.allowed) == [(1, 2)]
    p.pilot("A", (1, 1))
    p.wait(5)
    assert p.told(first)[-1].event_type != "Ended"
    p.pilot("B", (1, 1))
    p.swipe("ONE")
    p.pilot("B", (1, 2))
    p.wait(5)
    p.swipe("TWO")
    p.wait(6)
    assert list(p.ledger.allowed) == [(1, 1)], "the EV that waits, not the one that is done"


def test_a_faulted_sibling_does_not_spoil_a_plugged_connector_nor_help_it(play) -> None:
    p = play([(1, 2)])
    p.raise_fault("lock", (1, 2))
    p.pilot("B", (1, 1))
    p.swipe()
    assert list(p.ledger.allowed) == [(1, 1)]
    q = play([(1, 2)])
    q.raise_fault("lock", (1, 1))
    q.pilot("B", (1, 1))
    assert "No free" in texts(q.swipe())


@pytest.mark.parametrize(
    "event",
    [
        ev.FaultRaised(9, 0, "x"),
        ev.GuardStopped(1, 9, "x"),
        ev.OrderRefused(9, 1, "x"),
        ev.AvailabilityRequested(9, 0, False),
    ],
)
def test_a_place_that_does_not_exist_is_logged_and_nothing_else(play, event) -> None:
    effects = play().do(event)
    assert [type(e) for e in effects] == [ef.Log]
    assert effects[0].level == 3


def test_a_status_is_told_with_the_time_the_plug_went_in(play) -> None:
    p = play()
    p.pilot("A")
    p.wait(100)
    plug = ev.PilotChanged(1, 1, PilotReading(p.now_s - 7.0, PilotState.B, PowerPath.OPEN))
    effects = p.station.handle(plug, replace(p.now(), happened_s=p.now_s - 7.0))
    (status,) = [e for e in effects if isinstance(e, ef.StatusChanged)]
    assert (status.status, status.at_s) == ("Occupied", p.now_s - 7.0)
