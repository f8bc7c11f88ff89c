"""The oldest row of the outbox: sent, refused, set aside (E13), and what it says of its time."""

from typing import Any

import pytest

from agent.core import effects as ef
from agent.ocpp.block import OutgoingCall
from tests.agent.ocpp.connection_bench import Driver, row

# --- rows of the outbox ---------------------------------------------------------------------------


def test_a_row_goes_with_its_answer_and_keeps_its_id_over_a_lost_link() -> None:
    driver = Driver()
    driver.online()
    driver.head(row(7))
    driver.close()
    driver.dial_and_open()
    driver.head(row(7))
    assert [sent[1] for sent in driver.sent[1:]] == ["row-7", "row-7"]
    assert driver.answer({})[0] == ef.SettleRow(7)


def test_an_answered_row_is_not_sent_again_by_a_head_that_is_older_than_the_answer() -> None:
    driver = Driver()
    driver.online()
    driver.head(row(1))
    driver.answer({})
    driver.head(row(1))
    assert driver.actions().count("TransactionEvent") == 1
    driver.head(row(2))
    assert driver.sent[-1][1] == "row-2"


def test_a_refused_row_waits_longer_each_time_and_is_set_aside_at_last() -> None:
    driver = Driver()
    driver.online()
    driver.head(row(1))
    began_s = driver.mono_s
    assert driver.refuse()[0] == ef.CountAttempt(1, "InternalError")
    driver.head(row(1, attempts=1))
    driver.run(10)
    driver.refuse()
    driver.head(row(1, attempts=2))
    driver.run(20)
    assert ef.SetAside(1, "InternalError") in driver.refuse()
    times = [at_s - began_s for at_s, _, action, _ in driver.sent if action == "TransactionEvent"]
    assert times == [0, 10, 30]
    driver.head(row(2))
    assert driver.sent[-1][1] == "row-2"


def test_other_calls_leave_while_a_row_waits() -> None:
    driver = Driver()
    driver.online()
    driver.head(row(1))
    driver.refuse()
    driver.head(row(1, attempts=1))
    driver.connection.enqueue(OutgoingCall("Authorize", {}), 1)
    driver.take([])
    assert driver.actions()[-1] == "Authorize"


def test_a_timeout_on_a_living_socket_counts_and_on_a_dead_one_it_does_not() -> None:
    driver = Driver()
    driver.online()
    driver.head(row(1))
    driver.run(10)
    driver.connection.heard(driver.now)
    driver.run(20)
    assert driver.effects[-1] == ef.CountAttempt(1, "no answer in time")
    driver.head(row(1, attempts=1))
    driver.run(10)
    driver.effects.clear()
    driver.run(30)
    assert [type(effect) for effect in driver.effects] == [ef.Hangup]


def through_timeouts(driver: Driver, rounds: int, *, is_mute: bool = False) -> list[int]:
    """Row ids that were set aside while rows are not answered and pings are."""
    attempts, number = 0, 1
    for _ in range(rounds):
        if driver.connection.link == "closing":
            driver.close()
            driver.dial_and_open()
        driver.head(row(number, attempts=attempts))
        driver.effects.clear()
        for _ in range(10):
            driver.run(7)
            if driver.connection.link == "up":
                driver.connection.heard(driver.now)  # a proxy answers the pings
                is_asked = driver.sent[-1][2] == "Heartbeat" and driver.connection.in_flight
                if is_asked and not is_mute:
                    driver.answer({})
        attempts += any(isinstance(e, ef.CountAttempt) for e in driver.effects)
        if any(isinstance(e, ef.SetAside) for e in driver.effects):
            number, attempts = number + 1, 0
    return list(range(1, number))


def test_silence_behind_a_living_socket_refuses_nothing() -> None:
    driver = Driver(HeartbeatInterval="86400")
    driver.online()
    assert through_timeouts(driver, 40, is_mute=True) == []
    driver.answer({}, "row-1")
    assert ef.SettleRow(1) in driver.effects


def test_a_row_nobody_answers_is_set_aside_once_a_heartbeat_is_answered() -> None:
    driver = Driver(HeartbeatInterval="86400")
    driver.online()
    assert through_timeouts(driver, 12)[:2] == [1, 2]
    assert driver.actions().count("Heartbeat") >= 2


def test_a_row_that_alone_is_never_answered_does_not_stall_the_queue() -> None:
    driver = Driver(HeartbeatInterval="5")
    driver.online()
    assert through_timeouts(driver, 12)[:2] == [1, 2]


def test_a_late_answer_settles_a_row_that_waits_to_be_sent_again() -> None:
    driver = Driver()
    driver.online()
    driver.head(row(1))
    driver.run(10)
    driver.connection.heard(driver.now)
    driver.run(20)
    driver.head(row(1, attempts=1))
    assert driver.answer({}, "row-1")[0] == ef.SettleRow(1)
    driver.run(100)
    assert driver.actions().count("TransactionEvent") == 1


def test_an_answer_to_nobody_is_dropped_and_logged() -> None:
    driver = Driver()
    driver.online()
    driver.head(row(1))
    (effect,) = driver.take(driver.connection.response("who?", {}, driver.now))
    assert isinstance(effect, ef.Log)
    assert driver.connection.in_flight is not None


@pytest.mark.parametrize(
    ("changes", "offline"),
    [
        ({}, False),
        ({"offline": True}, True),
        ({"boot_id": "b0"}, True),
        ({"created_s": -1.0}, True),
    ],
)
def test_offline_is_what_happened_or_waited_offline(changes: dict[str, Any], offline: bool) -> None:
    driver = Driver()
    driver.online()
    driver.head(row(1, **changes))
    assert driver.sent[-1][3].get("offline", False) is offline


def test_only_a_transaction_event_says_offline() -> None:
    driver = Driver()
    driver.online()
    driver.head(row(1, action="SecurityEventNotification", offline=True))
    assert "offline" not in driver.sent[-1][3]


def test_open_stamps_are_closed_at_the_sending() -> None:
    driver = Driver()
    driver.online()
    driver.head(row(1))
    assert driver.sent[-1][3]["timestamp"] == "2001-09-09T01:46:41.000Z"


def test_open_stamps_of_an_earlier_boot_are_closed_with_its_clock() -> None:
    saved = {"clock/boots": '[{"boot_id":"b0","offset_s":9e8,"known":true}]'}
    driver = Driver(saved=saved)
    driver.online()
    driver.head(row(1, boot_id="b0"))
    assert driver.sent[-1][3]["timestamp"] == "1998-07-09T16:00:01.000Z"
