"""Open transactions that a process finds when it starts."""

import json

import pytest

from agent.core import effects as ef
from agent.core.events import StopCause
from tests.agent.core.told import end_of, kinds

# --- restarts -------------------------------------------------------------------------------------


def back_to_life(p) -> None:
    p.pilot("B")
    p.wait(2)
    p.meter()


def test_after_a_power_cut_the_open_transaction_ends_with_a_fresh_value(play) -> None:
    p = play()
    p.charging()
    p.wait(200)
    last_wh = p.energy_wh[1]
    p.reboot()
    assert p.told()[-1].event_type == "Updated"
    back_to_life(p)
    assert end_of(p) == ("Ended", "AbnormalCondition", "PowerLoss", "EVConnected")
    assert p.told()[-1].samples[0].reading.energy_wh == last_wh
    assert p.ledger.allowed == {}
    p.wait(120)
    assert len(p.ledger.told) == 1, "charging on needs a new authorisation"


def test_after_a_restart_in_the_same_boot_the_reason_is_reboot(play) -> None:
    p = play()
    p.charging()
    p.start(cause=StopCause.REBOOT)
    back_to_life(p)
    assert end_of(p)[:3] == ("Ended", "AbnormalCondition", "Reboot")


@pytest.mark.parametrize("change", ["serial", "register"])
def test_another_meter_or_a_lower_register_is_never_the_end_value(play, change: str) -> None:
    p = play()
    p.charging()
    p.wait(200)
    last = [r for r in p.told() if r.samples][-1].samples[0].reading
    p.reboot()
    if change == "serial":
        p.meter_serial, p.energy_wh[1] = "M2", 999_999.0
    else:
        p.energy_wh[1] = 50.0
    back_to_life(p)
    assert p.told()[-1].samples[0].reading.energy_wh == last.energy_wh
    assert any("last stored reading" in e.text for e in kinds(p.effects, ef.Log))


def test_stored_times_are_moved_to_the_clock_of_the_new_boot(play) -> None:
    p = play()
    p.charging()
    p.wait(200)
    last = [r for r in p.told() if r.samples][-1].samples[0].reading
    then_utc_s = last.at_s + p.utc_offset_s
    p.reboot(off_s=500.0)
    p.meter_answers = False
    p.wait(31)
    found = p.told()[-1].samples[0].reading
    assert found.at_s + p.utc_offset_s == pytest.approx(then_utc_s, abs=0.001)


@pytest.mark.parametrize("path_seen", [False, True])
def test_a_meter_that_never_answers_after_a_restart_ends_it_with_the_last_value(
    play, path_seen: bool
) -> None:
    p = play()
    p.charging()
    p.wait(200)
    last = [r for r in p.told() if r.samples][-1].samples[0].reading
    p.reboot()
    p.meter_answers = False
    if path_seen:
        p.pilot("B")
    p.wait(31)
    assert end_of(p)[:3] == ("Ended", "AbnormalCondition", "PowerLoss")
    assert p.told()[-1].samples[0].reading.energy_wh == last.energy_wh
    assert p.statuses()[-1] == ("Occupied" if path_seen else "Faulted")


def test_a_session_that_was_only_saved_leaves_no_trace_after_a_restart(play) -> None:
    p = play(tx_start_point=frozenset({"EnergyTransfer"}))
    p.pilot("B")
    p.swipe()
    p.reboot()
    back_to_life(p)
    p.wait(40)
    assert p.told() == []
    assert "transaction/1" not in p.saved


@pytest.mark.parametrize("gone", ["evse", "connector"])
def test_a_transaction_of_a_place_that_was_taken_out_of_the_file_ends(play, gone: str) -> None:
    p = play([(1,), (1, 2)])
    transaction_id = p.charging("ONE", (2, 2))
    p.site = play([(1,)] if gone == "evse" else [(1,), (1,)]).site
    p.reboot()
    for evse_id in p.station.evse_ids:
        p.pilot("A", (evse_id, 1))
    p.wait(2)
    assert end_of(p, transaction_id)[:3] == ("Ended", "AbnormalCondition", "PowerLoss")
    assert "transaction/2" not in p.saved


def test_an_unreadable_row_is_kept_and_the_charger_goes_on(play) -> None:
    p = play(saved={"transaction/1": "{broken"})
    assert p.saved == {"lost/transaction/1": "{broken"}
    p.charging()


def test_the_saved_row_holds_what_the_next_process_needs(play) -> None:
    p = play()
    p.charging()
    p.wait(100)
    row = json.loads(p.saved["transaction/1"])
    assert row["next_seq_no"] == len(p.told())
    assert row["last"]["energy_wh"] == p.told()[-1].samples[0].reading.energy_wh
