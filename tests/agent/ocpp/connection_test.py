"""The connection as a pure thing: dials, boots, order of sending, failed rows; by tables."""

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest

from agent.core import effects as ef
from agent.core import events as ev
from agent.core.events import Now, OutboxRow
from agent.ocpp.block import OutgoingCall, Stream
from agent.ocpp.connection import BOOT_AGAIN_S, Connection, Slot
from drivers.contract import Permit

SLOTS = (Slot("ws://a/CP", "CP", 1), Slot("ws://b/CP", "CP", 1))
DEFAULTS = {
    "HeartbeatInterval": "300",
    "RetryBackOffWaitMinimum": "5",
    "RetryBackOffRandomRange": "0",
    "RetryBackOffRepeatTimes": "3",
    "WebSocketPingInterval": "30",
    "NetworkProfileConnectionAttempts": "3",
    "MessageTimeout": "30",
    "MessageAttempts": "3",
    "MessageAttemptInterval": "10",
}
BODY = '{"eventType":"Started","timestamp":"@1.000"}'


class Driver:
    """A connection, a clock, and what it sent."""

    def __init__(
        self,
        slots: tuple[Slot, ...] = SLOTS[:1],
        random: float = 0.5,
        saved: dict[str, str] | None = None,
        **variables: str,
    ) -> None:
        values = DEFAULTS | variables
        self.connection = Connection(slots, lambda component, name, instance: values[name], saved)
        self.connection.start({"reason": "PowerUp"})
        self.mono_s = 0.0
        self.random = random
        self.ids = iter(f"id-{n}" for n in range(10_000))
        self.sent: list[tuple[float, str, str, Any]] = []
        """(time, message id, action, payload)"""
        self.dials: list[tuple[float, int]] = []
        self.effects: list[object] = []

    @property
    def now(self) -> Now:
        return Now(
            self.mono_s, 1e9, True, "b1", Permit(0), lambda: self.random, lambda: next(self.ids)
        )

    def take(self, effects: Iterable[object]) -> list[object]:
        taken = [*effects, *self.connection.send_next(self.now)]
        for effect in taken:
            if isinstance(effect, ef.SendFrame):
                _, message_id, action, payload = json.loads(effect.text)
                self.sent.append((self.mono_s, message_id, action, payload))
            elif isinstance(effect, ef.Dial):
                self.dials.append((self.mono_s, effect.slot))
        self.effects += taken
        return taken

    def run(self, for_s: float) -> None:
        """Ticks at each deadline that comes within the time."""
        end_s = self.mono_s + for_s
        for _ in range(10_000):
            due_s = self.connection.deadline(self.now)
            if due_s is None or due_s > end_s:
                self.mono_s = end_s
                return
            self.mono_s = max(self.mono_s, due_s)
            self.take(self.connection.tick(self.now))
        raise AssertionError("the deadlines do not move on")

    def close(self) -> list[object]:
        return self.take(self.connection.closed("gone", self.now))

    def boot(self, status: str = "Accepted", interval_s: float = 300) -> list[object]:
        self.answer({})
        return self.take(self.connection.booted(status, interval_s, self.now))

    def online(self) -> None:
        self.dial_and_open()
        self.boot()
        self.head()

    def dial_and_open(self) -> None:
        if self.connection.link == "down":
            while self.connection.link != "dialling":
                self.mono_s = max(self.mono_s, self.connection.deadline(self.now) or 0.0)
                self.take(self.connection.tick(self.now))
        self.take(self.connection.opened(self.now))

    def answer(self, payload: Any, message_id: str | None = None) -> list[object]:
        self.connection.heard(self.now)
        message_id = message_id or self.sent[-1][1]
        return self.take(self.connection.response(message_id, payload, self.now))

    def refuse(self, code: str = "InternalError") -> list[object]:
        self.connection.heard(self.now)
        return self.take(self.connection.refused(self.sent[-1][1], code, self.now))

    def head(self, row: OutboxRow | None = None, waiting: int = 0) -> list[object]:
        self.connection.head(ev.OutboxHead(row, waiting or int(row is not None)))
        return self.take([])

    def actions(self) -> list[str]:
        return [action for _, _, action, _ in self.sent]


def row(row_id: int = 1, *, attempts: int = 0, created_s: float = 1e6, **more: Any) -> OutboxRow:
    values: dict[str, Any] = {
        "message_id": f"row-{row_id}",
        "action": "TransactionEvent",
        "body": BODY,
        "boot_id": "b1",
        "offline": False,
    }
    return OutboxRow(row_id=row_id, attempts=attempts, created_s=created_s, **values | more)


# --- back-off (OCPP-J 5.3) ------------------------------------------------------------------------


def waits_between_failing_dials(driver: Driver, count: int) -> list[float]:
    """Loop times from the end of an attempt, which fails at once, to the next."""
    waits = []
    for _ in range(count):
        ended_s = driver.mono_s
        driver.close()
        while driver.connection.link == "down":
            driver.mono_s = driver.connection.deadline(driver.now) or 0.0
            driver.take(driver.connection.tick(driver.now))
        waits.append(driver.mono_s - ended_s)
    return waits


def test_after_a_lost_link_the_wait_is_the_minimum_then_doubles_repeat_times() -> None:
    driver = Driver()
    driver.online()
    assert waits_between_failing_dials(driver, 6) == [5, 10, 20, 40, 40, 40]


def test_a_first_connection_that_fails_waits_the_same() -> None:
    driver = Driver()
    driver.run(0)
    assert driver.dials == [(0, 0)]
    assert waits_between_failing_dials(driver, 5) == [5, 10, 20, 40, 40]


def test_each_increase_gets_a_new_random_part_and_the_last_wait_stays() -> None:
    driver = Driver(RetryBackOffRandomRange="8", RetryBackOffRepeatTimes="2")
    driver.online()
    assert waits_between_failing_dials(driver, 5) == [9, 22, 48, 48, 48]


def test_the_back_off_begins_anew_after_a_success() -> None:
    driver = Driver()
    driver.online()
    waits_between_failing_dials(driver, 4)
    driver.take(driver.connection.opened(driver.now))
    assert waits_between_failing_dials(driver, 2) == [5, 10]


@pytest.mark.parametrize(("minimum", "least_s"), [("0", 1), ("1", 1), ("7", 7)])
def test_who_accepts_and_closes_at_once_is_never_dialled_sooner(
    minimum: str, least_s: float
) -> None:
    driver = Driver(RetryBackOffWaitMinimum=minimum, random=0.0)
    for _ in range(20):
        driver.dial_and_open()
        driver.close()
    times = [at_s for at_s, _ in driver.dials]
    assert min(b - a for a, b in pairwise(times)) >= least_s


# --- slots (B10) ----------------------------------------------------------------------------------


def dialled_slots(driver: Driver, count: int) -> list[int]:
    waits_between_failing_dials(driver, count)
    return [slot for _, slot in driver.dials[-count:]]


def test_each_slot_gets_its_attempts_then_the_next_and_around() -> None:
    driver = Driver(SLOTS, NetworkProfileConnectionAttempts="2")
    driver.run(0)
    assert [0, *dialled_slots(driver, 7)] == [0, 0, 1, 1, 0, 0, 1, 1]


def test_when_all_failed_the_slot_that_worked_last_comes_first() -> None:
    driver = Driver((*SLOTS, Slot("ws://c", "CP", 1)), NetworkProfileConnectionAttempts="1")
    driver.run(0)
    assert dialled_slots(driver, 1) == [1]
    driver.dial_and_open()
    driver.connection.heard(driver.now)
    assert dialled_slots(driver, 6) == [1, 0, 2, 1, 0, 2]


def test_who_accepts_but_never_says_anything_counts_as_failed() -> None:
    driver = Driver(SLOTS, NetworkProfileConnectionAttempts="2")
    for _ in range(2):
        driver.dial_and_open()
        driver.close()
    driver.dial_and_open()
    assert driver.dials[-1][1] == 1


def test_a_lost_link_to_a_living_csms_is_dialled_in_its_slot_again() -> None:
    driver = Driver(SLOTS, NetworkProfileConnectionAttempts="1")
    driver.online()
    for _ in range(5):
        driver.close()
        driver.dial_and_open()
        driver.connection.heard(driver.now)
    assert {slot for _, slot in driver.dials} == {0}
    assert driver.actions().count("BootNotification") == 1


def test_another_slot_is_booted_and_so_is_the_way_back() -> None:
    driver = Driver(SLOTS, NetworkProfileConnectionAttempts="1")
    driver.online()
    dialled_slots(driver, 2)  # slot 0 fails, slot 1 is dialled
    assert driver.dials[-1][1] == 1
    driver.take(driver.connection.opened(driver.now))
    assert driver.actions()[-1] == "BootNotification"
    assert not driver.connection.online
    driver.boot()
    assert driver.connection.online
    assert driver.connection.freshly_booted
    dialled_slots(driver, 2)
    assert driver.dials[-1][1] == 0
    driver.take(driver.connection.opened(driver.now))
    assert driver.actions().count("BootNotification") == 3


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
