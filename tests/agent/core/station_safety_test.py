"""What the core adds to safety beside the guard: races with the contactor, latches, pauses."""

from agent.core import effects as ef


def kinds(effects: list[object], kind: type) -> list[object]:
    return [effect for effect in effects if isinstance(effect, kind)]


# --- a contactor that is on its way ---------------------------------------------------------------


def test_a_path_that_was_open_at_the_stop_may_still_close_so_the_session_row_stays(play) -> None:
    p = play()
    p.pilot("B")
    p.swipe()
    p.wait(6)
    p.pilot("C")  # the EV asks, the contacts move at this moment
    ended = p.swipe()
    assert kinds(ended, ef.StopPower)
    assert "transaction/1" in p.saved
    p.pilot("C", closed=True)
    p.wait(1)
    assert "transaction/1" in p.saved
    p.pilot("B", closed=False)
    p.wait(1)
    assert "transaction/1" not in p.saved


def test_two_seconds_after_the_stop_an_open_path_is_believed(play) -> None:
    p = play()
    p.pilot("B")
    p.swipe()
    p.wait(6)
    p.pilot("C")
    p.swipe()
    p.wait(1.9)
    assert "transaction/1" in p.saved
    p.wait(0.2)
    assert "transaction/1" not in p.saved


def test_the_plug_stays_locked_while_the_path_may_still_close(play) -> None:
    p = play(fixed_cable=False)
    p.pilot("B", cable_a=32.0)
    p.swipe()
    p.wait(6)
    p.pilot("C", cable_a=32.0)
    stopped = p.swipe()
    assert not kinds(stopped, ef.LockPlug)
    assert ef.LockPlug(1, 1, False) in p.wait(3)
