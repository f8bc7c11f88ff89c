"""The connection as a pure thing: boots, and the order of sending; by tables."""

import pytest

from agent.core import effects as ef
from agent.ocpp.block import OutgoingCall, Stream
from agent.ocpp.booting import BOOT_AGAIN_S
from tests.agent.ocpp.connection_bench import Driver, row

# --- boot -----------------------------------------------------------------------------------------


def test_nothing_but_the_boot_leaves_before_it_was_accepted() -> None:
    driver = Driver()
    driver.connection.enqueue(OutgoingCall("StatusNotification", {}), 4)
    driver.dial_and_open()
    driver.head(row())
    driver.run(29)
    assert driver.actions() == ["BootNotification"]


def test_a_plain_reconnect_sends_no_second_boot() -> None:
    driver = Driver()
    driver.online()
    driver.close()
    driver.dial_and_open()
    assert driver.connection.online
    assert not driver.connection.freshly_booted
    assert driver.actions() == ["BootNotification"]


@pytest.mark.parametrize("status", ["Pending", "Rejected"])
@pytest.mark.parametrize(("interval_s", "wait_s"), [(100, 100), (0, BOOT_AGAIN_S)])
def test_who_is_not_accepted_boots_again_after_the_interval(
    status: str, interval_s: float, wait_s: float
) -> None:
    driver = Driver()
    driver.dial_and_open()
    driver.boot(status, interval_s)
    driver.run(wait_s - 0.1)
    assert driver.actions() == ["BootNotification"]
    driver.run(0.1)
    assert driver.actions() == ["BootNotification"] * 2


@pytest.mark.parametrize("status", ["Pending", "Rejected"])
def test_a_reconnect_does_not_shorten_the_interval(status: str) -> None:
    driver = Driver()
    driver.dial_and_open()
    driver.boot(status, 100)
    driver.close()
    driver.dial_and_open()
    driver.run(100 - driver.mono_s - 0.1)
    assert driver.actions() == ["BootNotification"]
    driver.run(0.1)
    assert driver.actions() == ["BootNotification"] * 2


def test_a_refused_boot_is_asked_again_in_a_minute() -> None:
    driver = Driver()
    driver.dial_and_open()
    driver.refuse()
    assert not driver.connection.accepted
    driver.run(59)
    assert driver.actions() == ["BootNotification"]
    driver.run(1)
    assert driver.actions() == ["BootNotification"] * 2


def test_an_unanswered_boot_on_a_dead_socket_dials_again() -> None:
    driver = Driver()
    driver.dial_and_open()
    driver.run(31)
    assert any(isinstance(effect, ef.Hangup) for effect in driver.effects)
    assert driver.connection.link == "closing"
    driver.close()
    driver.dial_and_open()
    assert driver.actions() == ["BootNotification"] * 2


def parts(count: int) -> Stream:
    """A stream of parts 0 to count - 1."""

    def next_part(cursor: int) -> tuple[str, dict[str, int], int | None]:
        return "NotifyReport", {"n": cursor}, cursor + 1 if cursor + 1 < count else None

    return Stream(0, next_part)


def test_while_pending_only_what_the_csms_asked_for_leaves() -> None:
    driver = Driver()
    driver.dial_and_open()
    driver.boot("Pending", 1000)
    driver.connection.enqueue(parts(2), 9)
    driver.connection.enqueue(parts(3), 9, precedes_boot=True)
    driver.take([])
    for _ in range(5):
        if driver.connection.in_flight is not None:
            driver.answer({})
    assert driver.actions() == ["BootNotification"] + ["NotifyReport"] * 3
    driver.run(1000)
    assert driver.actions()[-1] == "BootNotification"
    driver.boot()
    assert driver.actions()[-1] == "NotifyReport"


def test_while_rejected_nothing_leaves_at_all() -> None:
    driver = Driver()
    driver.dial_and_open()
    driver.boot("Rejected", 1000)
    driver.connection.enqueue(parts(3), 9, precedes_boot=True)
    driver.take([])
    assert driver.actions() == ["BootNotification"]


# --- order of sending -----------------------------------------------------------------------------


def test_one_call_is_in_flight_and_the_waiting_driver_goes_next() -> None:
    driver = Driver()
    driver.online()
    driver.head(row(1), waiting=10_000)
    driver.connection.enqueue(OutgoingCall("StatusNotification", {}), 4)
    driver.connection.enqueue(OutgoingCall("Authorize", {}), 1)
    driver.take([])
    assert driver.actions() == ["BootNotification", "TransactionEvent"]
    driver.answer({})
    driver.head(row(2), waiting=9_999)
    assert driver.actions()[-1] == "Authorize"
    driver.answer({})
    assert driver.actions()[-1] == "StatusNotification"
    driver.answer({})
    assert driver.actions()[-1] == "TransactionEvent"


def test_events_and_heartbeats_pass_between_the_parts_of_a_report() -> None:
    driver = Driver(HeartbeatInterval="10")
    driver.online()
    driver.connection.enqueue(parts(4), 9)
    driver.take([])
    for number in range(1, 4):
        driver.head(row(number))
        driver.answer({})
        assert driver.actions()[-1] == "TransactionEvent"
        driver.answer({})
        assert driver.actions()[-1] == "NotifyReport"
    driver.mono_s += 11
    driver.connection.enqueue(parts(2), 9)
    driver.answer({})
    assert driver.actions()[-1] == "Heartbeat"


def test_a_report_passes_between_many_events() -> None:
    driver = Driver()
    driver.online()
    driver.head(row(1))
    driver.connection.enqueue(parts(3), 9)
    for number in range(2, 8):
        driver.answer({})
        driver.head(row(number))
    assert driver.actions()[1:] == ["TransactionEvent", "NotifyReport"] * 3 + ["TransactionEvent"]


@pytest.mark.parametrize("is_silent", [False, True])
def test_a_part_that_fails_does_not_keep_the_rest(is_silent: bool) -> None:
    driver = Driver()
    driver.online()
    driver.connection.enqueue(parts(3), 9)
    driver.take([])
    if is_silent:
        driver.run(20)
        driver.connection.heard(driver.now)
        driver.run(11)
    else:
        driver.refuse()
    driver.answer({})
    driver.answer({})
    assert [p["n"] for _, _, action, p in driver.sent if action == "NotifyReport"] == [0, 1, 2]


def test_a_stream_ends_with_its_link() -> None:
    driver = Driver()
    driver.online()
    driver.connection.enqueue(parts(3), 9)
    driver.take([])
    driver.close()
    driver.dial_and_open()
    driver.run(10)
    assert driver.actions() == ["BootNotification", "NotifyReport"]


def test_what_waits_is_answered_when_the_link_ends() -> None:
    driver = Driver()
    driver.online()
    driver.connection.enqueue(OutgoingCall("Authorize", {"n": 1}), 1)
    driver.connection.enqueue(OutgoingCall("Authorize", {"n": 2}), 1)
    driver.take([])
    driver.connection.answered.clear()
    driver.close()
    ended = driver.connection.answered
    assert [(a.action, a.payload, a.response) for a in ended] == [
        ("Authorize", {"n": 1}, None),
        ("Authorize", {"n": 2}, None),
    ]


def test_a_heartbeat_follows_a_silence_of_ours_only() -> None:
    driver = Driver(HeartbeatInterval="100")
    driver.online()
    driver.run(60)
    driver.connection.enqueue(OutgoingCall("StatusNotification", {}), 4)
    driver.take([])
    driver.answer({})
    driver.run(99)
    assert "Heartbeat" not in driver.actions()
    driver.run(1)
    assert driver.actions()[-1] == "Heartbeat"


def test_the_time_is_asked_once_a_day_however_much_is_said() -> None:
    driver = Driver(HeartbeatInterval="300")
    driver.online()
    for _ in range(25 * 60):
        driver.run(60)
        driver.connection.enqueue(OutgoingCall("StatusNotification", {}), 4)
        driver.take([])
        driver.answer({})
        if driver.connection.in_flight is not None:
            driver.answer({})
    assert driver.actions().count("Heartbeat") == 1


def test_answers_slower_than_the_heartbeat_interval_do_not_starve_the_outbox() -> None:
    driver = Driver(HeartbeatInterval="5")
    driver.online()
    for number in range(1, 5):
        driver.head(row(number))
        while driver.sent[-1][1] != f"row-{number}":
            driver.mono_s += 8
            driver.answer({})
        driver.mono_s += 8
        driver.answer({})
    assert driver.actions().count("TransactionEvent") == 4
    assert driver.actions().count("Heartbeat") <= 5
